"""Dataclasses survive JSON; if a file does not fit its class, the error names the field."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pytest

from sheep.errors import ContractError
from sheep.io.typed_json import from_json, object_json, to_json


@dataclass(frozen=True, kw_only=True, slots=True)
class Inner:
    value: float
    with_: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Outer:
    rows: tuple[Inner, ...]
    by_fold: Mapping[int, float]
    view: Literal["crop", "frame"]
    found: bool
    count: int
    note: str | None = None
    plain: Mapping[str, object] | None = None


OUTER = Outer(
    rows=(Inner(value=0.25, with_="a"), Inner(value=2.0, with_="b")),
    by_fold={-1: 0.5, 3: 1.0},
    view="crop",
    found=True,
    count=4,
)
VALUES = {
    "rows": [{"value": 0.25, "with": "a"}, {"value": 2.0, "with": "b"}],
    "by_fold": {"-1": 0.5, "3": 1.0},
    "view": "crop",
    "found": True,
    "count": 4,
    "note": None,
    "plain": None,
}


def test_a_dataclass_survives_a_file() -> None:
    assert object_json(OUTER) == VALUES
    assert from_json(Outer, json.loads(json.dumps(VALUES, allow_nan=False)), "file") == OUTER
    noted = replace(OUTER, note="n", plain={"any": [1, {"value": None}]})  # `object` stays as it is in JSON
    assert from_json(Outer, to_json(noted), "file") == noted


def test_a_missing_number_is_null_in_the_file_and_nan_in_memory() -> None:
    missing = Inner(value=math.nan, with_="a")
    assert to_json(missing) == {"value": None, "with": "a"}
    assert math.isnan(from_json(Inner, {"value": None, "with": "a"}, "file").value)
    whole = from_json(Inner, {"value": 3, "with": "a"}, "file").value
    assert (whole, type(whole)) == (3.0, float)


def test_numpy_and_tuples_become_plain() -> None:
    assert to_json([np.float32(0.5), np.int64(2), np.bool_(True), (1, math.inf), {3: "x"}]) == [
        *(0.5, 2, True, [1, None]),
        {"3": "x"},
    ]
    with pytest.raises(TypeError, match="got ndarray"):
        to_json(np.zeros(2))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"count": True}, r"facts\.count: got True, expected int"),
        ({"count": 1.5}, r"facts\.count: got 1\.5, expected int"),
        ({"found": 1}, r"facts\.found: got 1, expected bool"),
        ({"view": "side"}, r"facts\.view: got 'side', expected .*crop"),
        ({"rows": [{"value": "0.5", "with": "a"}]}, r"facts\.rows\[0\]\.value: got '0\.5', expected float"),
        ({"rows": [{"value": 0.5}]}, r"facts\.rows\[0\]: got \['value'\], expected value, with"),
        ({"rows": {}}, r"facts\.rows: got \{\}, expected"),
        ({"by_fold": {"0": None, "1": "x"}}, r"facts\.by_fold\.1: got 'x', expected float"),
        ({"extra": 1}, r"facts: got \['by_fold', 'count', 'extra'.*expected by_fold, count, found"),
    ],
)
def test_a_wrong_value_is_refused_and_its_field_named(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        from_json(Outer, {**VALUES, **changed}, "facts")
