"""BORIS's aggregated events: one row per bout."""

import pytest

from sheep.errors import ConfigError
from tests.unit.annotations.files import read, table

COLUMNS = (
    "Observation id",
    "Observation type",
    "Source",
    "Time offset (s)",
    "Coding duration",
    "Media duration (s)",
    "Subject",
    "Observation duration by subject by observation",
    "Behavior",
    "Modifier #1",
    "Behavior type",
    "Start (s)",
    "Stop (s)",
    "Duration (s)",
    "Media file name",
)


def row(start: object, stop: object, behaviour: str = "lying", kind: str = "STATE", **other: str) -> dict[str, str]:
    values = {
        "Observation id": "o1",
        "Source": "player #1:cam1.mp4",
        "Time offset (s)": "0.0",
        "Coding duration": "60",
        "Media duration (s)": "60.000",
        "Subject": "m1",
        "Behavior": behaviour,
        "Behavior type": kind,
        "Start (s)": str(start),
        "Stop (s)": str(stop),
        "Media file name": "cam1.mp4",
    }
    return values | {next(one for one in COLUMNS if one.replace(" ", "_") == name): other[name] for name in other}


@pytest.mark.parametrize("separator", ["\t", ",", ";"])
def test_bouts_and_points_are_read(separator: str) -> None:
    rows = [row("1.0", "2.5"), row("4.0", "5.0"), row("3.0", "3.0", "lick", "POINT"), row("6", "NA", "lick", "POINT")]
    [coding] = read("x.csv", table(COLUMNS, rows, separator))
    assert (coding.media, coding.media_s, coding.animal, coding.scored) == ("cam1.mp4", 60.0, "m1", None)
    assert (coding.bouts, coding.points) == ({"lying": ((1.0, 2.5), (4.0, 5.0))}, {"lick": (3.0, 6.0)})


def test_the_coding_duration_says_what_was_watched() -> None:
    [coding] = read("x.csv", table(COLUMNS, [row(1, 9, Coding_duration="10")]))
    assert coding.scored == ((0.0, 10.0),)


@pytest.mark.parametrize("late_s", [0.008, 0.02])
def test_a_stop_shortly_behind_the_end_is_cut(late_s: float) -> None:
    assert read("x.csv", table(COLUMNS, [row(1, 60 + late_s)]))[0].bouts == {"lying": ((1.0, 60.0),)}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(2, 2)], "row 2.*expected it after its start at 2 s"),
        ([row(3, 2)], "row 2.*expected it after its start at 3 s"),
        ([row(1, 65)], "row 2.*expected 0 to 60 s"),
        ([row(1, "NA")], r"row 2, Stop \(s\): 'NA', expected one number"),
        ([row(1, 2, "")], "row 2.*no behaviour"),
        ([row(1, 2), row(1, 2)], "row 3.*the same event as in x.csv, row 2"),
        ([], "no bout below the header"),
    ],
)
def test_a_wrong_row_is_named(rows: list[dict[str, str]], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read("x.csv", table(COLUMNS, rows))
    assert "x.csv" in str(caught.value)
