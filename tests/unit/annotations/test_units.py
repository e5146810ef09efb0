"""The optional unit of analysis in the cohort file."""

import pytest

from sheep.annotations.units import ANIMALS, read_units
from sheep.errors import ConfigError


def test_animals_are_their_own_units_without_a_column() -> None:
    assert read_units(b"video,animal,group\nv.mp4,a,c\n", name="cohort.csv") == ANIMALS
    assert ANIMALS.of("a") == "a"


@pytest.mark.parametrize("column", ["unit", "pen", "Pen"])
def test_a_pen_column_names_the_units(column: str) -> None:
    units = read_units(f"video;animal;group;{column}\nv;a;c;1\nw;a;c;1\nw;b;c;1\nx;d;t;2\n".encode(), name="cohort.csv")
    assert units.word == column.lower()
    assert units.unit_of == {"a": "1", "b": "1", "d": "2"}
    assert units.of("other") == "other"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("video,animal,group,pen\nv,a,c,1\nw,b,c,\n", r"cohort.csv, row 3: pen of 'b' is empty"),
        ("video,animal,group,pen\nv,a,c,1\nw,a,c,2\n", r"row 3: animal 'a' is in pen '2' and in '1'"),
        ("video,animal,group,pen\nv,a,c,1\nw,b,t,1\n", r"row 3: pen '1' is in group 't' and in 'c'"),
        ("video,animal,group,pen,unit\nv,a,c,1,1\n", r"cohort.csv: columns unit and pen, expected one"),
    ],
)
def test_what_contradicts_itself_is_refused(rows: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_units(rows.encode(), name="cohort.csv")
