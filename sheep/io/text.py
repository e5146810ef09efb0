"""Text files supplied by users: errors of the parsers become errors that name the file."""

import contextlib
import csv
from collections.abc import Iterator

from sheep.errors import ConfigError


@contextlib.contextmanager
def parsed(name: str) -> Iterator[None]:
    """Turn errors of the standard library's parsers, raised for hostile or damaged text, into a ConfigError.

    Args:
        name: the file, for the message.

    Raises:
        ConfigError: a CSV field above csv's limit (131,072 characters), a bare carriage return or NUL in one, or JSON
            nested deeper than Python's recursion limit.
    """
    try:
        yield
    except csv.Error as error:
        raise ConfigError(
            f"{name}: cannot be read as CSV ({error}), expected lines of short fields. Look for an unclosed quotation "
            "mark, or export the file again."
        ) from error
    except RecursionError as error:
        raise ConfigError(f"{name}: nested too deeply, expected a plain file. Export it again.") from error
