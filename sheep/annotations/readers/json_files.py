"""JSON annotation files: parsed once, and what is not as a tool writes it becomes a ConfigError."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from sheep.annotations.readers.base import SourceFile
from sheep.errors import ConfigError
from sheep.io.text import parsed

Object = Mapping[str, Any]
"""A JSON object; its keys are the tool's."""


def load(file: SourceFile) -> Any:
    """Parse a .json file.

    Args:
        file: any file.

    Returns:
        The value; None where the file has another ending.

    Raises:
        ConfigError: it is not JSON.
    """
    if file.ending != ".json":
        return None
    try:
        with parsed(file.name):
            return json.loads(file.data)
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{file.name}: no JSON ({error}). Export it again.") from error


def load_object(file: SourceFile) -> Object | None:
    """Parse a .json file that holds an object; None for any other.

    Args:
        file: any file.

    Raises:
        ConfigError: it is not JSON.
    """
    found = load(file)
    return found if isinstance(found, dict) else None


@contextlib.contextmanager
def reading(file: SourceFile, what: str) -> Iterator[None]:
    """Name the file where its JSON lacks a key or has a value of another type.

    Args:
        file: being read.
        what: what was expected, for the message.

    Raises:
        ConfigError: in place of the errors of Python.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(
            f"{file.name}: {type(error).__name__} {error}, expected {what}. Export it again with a current version."
        ) from error
