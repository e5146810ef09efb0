"""Dataclasses to plain JSON values and back, so that a stage's file is read into the class that wrote it.

JSON has no nan: a missing number is null in a file and nan in memory. A field whose name ends in an underscore because
the name is a Python keyword (`with_`) has no underscore in JSON.
"""

import dataclasses
import math
import types
from collections.abc import Mapping
from functools import cache
from typing import Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np

from sheep.errors import ContractError

T = TypeVar("T")


def to_json(value: object) -> object:
    """Turn a value into plain JSON values.

    Args:
        value: a dataclass, mapping, sequence, number, string, bool or None, nested to any depth.

    Returns: Dicts with string keys, lists, numbers, strings, bools and None. Nan and infinity become None, numpy
        scalars become Python's, and tuples lists.

    Raises:
        TypeError: a value of another kind.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name.removesuffix("_"): to_json(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, np.generic):
        return to_json(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    raise TypeError(f"to_json: got {type(value).__name__}, expected a dataclass, mapping, sequence or plain value.")


def object_json(value: object) -> dict[str, object]:
    """Turn a dataclass or mapping into a JSON object, as `to_json` does."""
    return cast(dict[str, object], to_json(value))


def from_json(kind: type[T], value: object, where: str) -> T:
    """Read what `to_json` wrote.

    Args:
        kind: a dataclass whose fields are dataclasses, tuples `tuple[X, ...]`, mappings with string or int keys,
            optional or literal values, floats, ints, strings and bools; `object` for JSON values that stay as they are.
        value: JSON values.
        where: file and key, for messages.

    Returns:
        The dataclass. A null where a float is expected becomes nan, and a number's type is the field's.

    Raises:
        ContractError: a field is missing, not known, or of another type.
    """
    return cast(T, _read(kind, value, where))


def _read(kind: object, value: object, where: str) -> object:
    if kind is object:
        return value
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, where)
    if origin in (Union, types.UnionType):  # X | None
        [inner] = [argument for argument in arguments if argument is not type(None)]
        return None if value is None else _read(inner, value, where)
    if origin is Literal and value in arguments:
        return value
    if origin is tuple and isinstance(value, list):
        return tuple(_read(arguments[0], item, f"{where}[{place}]") for place, item in enumerate(value))
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, dict):
        of_key, of_item = arguments
        return {of_key(key): _read(of_item, item, f"{where}.{key}") for key, item in value.items()}
    if kind is float and (value is None or (isinstance(value, float | int) and not isinstance(value, bool))):
        return math.nan if value is None else float(value)
    # A bool is an int to isinstance, hence the exact type.
    if kind in (int, str, bool) and type(value) is kind:
        return value
    raise _unexpected(where, value, kind.__name__ if isinstance(kind, type) else str(kind))


def _read_dataclass(kind: type, value: object, where: str) -> object:
    fields = _fields(kind)
    if not isinstance(value, dict) or set(value) != set(fields):
        raise _unexpected(where, sorted(value) if isinstance(value, dict) else value, ", ".join(sorted(fields)))
    return kind(**{fields[key][0]: _read(fields[key][1], item, f"{where}.{key}") for key, item in value.items()})


@cache  # a ledger holds one entry for each video, and its types are resolved once
def _fields(kind: type) -> dict[str, tuple[str, object]]:
    """Key in JSON -> name and type of a dataclass's field."""
    hints = get_type_hints(kind)
    return {field.name.removesuffix("_"): (field.name, hints[field.name]) for field in dataclasses.fields(kind)}


def _unexpected(where: str, got: object, expected: str) -> ContractError:
    shown = f"{got!r}"[:200]
    return ContractError(
        f"{where}: got {shown}, expected {expected}. It is damaged or of another version: delete the stage's folder "
        "and run it again."
    )
