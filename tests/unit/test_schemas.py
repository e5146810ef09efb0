"""Tables are checked against their schema: columns, types, nulls, and one row per key."""

import pyarrow as pa
import pytest

from sheep import schemas
from sheep.errors import ContractError
from sheep.synthetic.behaviour import LABELS


def predictions(*keys: tuple[str, str, int]) -> pa.Table:
    rows = [
        {"video": v, "animal": a, "frame": f, "time_s": f / 5, "fold": 0, **dict.fromkeys(LABELS, 0.5)}
        for v, a, f in keys
    ]
    return pa.Table.from_pylist(rows, schema=schemas.predictions(LABELS))


def test_a_valid_table_is_returned() -> None:
    table = predictions(("a", "ewe", 0), ("a", "ewe", 1), ("a", "lamb", 0), ("b", "ewe", 0))
    assert schemas.validate(table, schemas.predictions(LABELS), "here") is table
    assert schemas.validate(predictions(), schemas.predictions(LABELS), "here").num_rows == 0


def test_a_missing_or_other_column_is_refused() -> None:
    table = predictions(("a", "ewe", 0))
    with pytest.raises(ContractError, match=r"^predict a: table has video: string.*expected video: string.*bug"):
        schemas.validate(table.drop_columns(["fold"]), schemas.predictions(LABELS), "predict a")
    as_double = table.set_column(5, pa.field("head_down", pa.float64(), nullable=False), pa.array([0.5]))
    with pytest.raises(ContractError, match="head_down: double"):
        schemas.validate(as_double, schemas.predictions(LABELS), "predict a")
    with pytest.raises(ContractError):
        schemas.validate(table.select(table.column_names[::-1]), schemas.predictions(LABELS), "predict a")


def test_a_null_in_a_required_column_is_refused() -> None:
    table = predictions(("a", "ewe", 0), ("a", "ewe", 1))
    holed = table.set_column(5, schemas.predictions(LABELS).field("head_down"), pa.array([None, 0.5], pa.float32()))
    with pytest.raises(ContractError, match="column 'head_down' holds 1 nulls"):
        schemas.validate(holed, schemas.predictions(LABELS), "predict a")


def test_unscored_labels_may_be_null() -> None:
    row = {"video": "a", "animal": "ewe", "frame": 0, "time_s": 0.0, **dict.fromkeys(LABELS)}
    schemas.validate(
        pa.Table.from_pylist([row], schema=schemas.label_frames(LABELS)), schemas.label_frames(LABELS), "labels"
    )


def test_a_key_that_occurs_twice_is_shown() -> None:
    table = predictions(("a", "ewe", 0), ("a", "ewe", 1), ("a", "ewe", 1))
    with pytest.raises(ContractError, match=r"predict a: 1 keys occur more than once, first .*'frame': 1"):
        schemas.validate(table, schemas.predictions(LABELS), "predict a")


def test_bouts_of_one_animal_share_no_key() -> None:
    bout = {"video": "a", "animal": "ewe", "label": "lying", "start_s": 0.0, "stop_s": 1.0, "probability": 0.5}
    table = pa.Table.from_pylist([bout, bout | {"start_s": 2.0, "stop_s": 3.0}], schema=schemas.BOUTS)
    assert schemas.validate(table, schemas.BOUTS, "predict a").num_rows == 2


@pytest.mark.parametrize(("dtype", "value"), [("float16", pa.float16()), ("float32", pa.float32())])
def test_vectors_have_one_length(dtype: str, value: pa.DataType) -> None:
    schema = schemas.embeddings(3, dtype)
    assert schema.field("embedding").type == pa.list_(value, 3)
    row = {"video": "a", "animal": "ewe", "frame": 0, "time_s": 0.0, "embedding": [1.0, 2.0]}
    with pytest.raises(pa.ArrowInvalid, match="Length of item not correct"):
        pa.Table.from_pylist([row], schema=schema)
    with pytest.raises(ContractError, match=r"fixed_size_list"):
        schemas.validate(schema.empty_table(), schemas.embeddings(4, dtype), "embed a")
