"""Noldus The Observer's event logs, and Solomon Coder's tables."""

import pytest

from sheep.errors import ConfigError
from tests.unit.annotations.files import read, read_with_tool, xlsx

COLUMNS = (
    "Date_Time_Absolute_dmy_hmsf",
    "Time_Relative_hms",
    "Time_Relative_sf",
    "Duration_sf",
    "Observation",
    "Event_Log",
    "Subject",
    "Behavior",
    "Modifier_1",
    "Event_Type",
    "Comment",
)


def row(
    time: object, kind: str, behaviour: str = "lying", subject: str = "m1", observation: str = "o1"
) -> list[object]:
    return ["", "00:00:01", time, 1.0, observation, "log 1", subject, behaviour, "", kind, ""]


ROWS = [row(1.25, "State start"), row(1.5, "Point", "lick"), row(2.0, "State stop")]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_an_event_log_is_read(separator: str) -> None:
    text = "\n".join(separator.join(map(str, line)) for line in [COLUMNS, *ROWS])
    tool, [coding] = read_with_tool("cam1_observer.txt", text)
    assert tool == "Noldus The Observer (event log)"
    assert (coding.media, coding.stem, coding.animal, coding.observer) == ("cam1_observer", True, "m1", "o1")
    assert (coding.bouts, coding.points) == ({"lying": ((1.25, 2.0),)}, {"lick": (1.5,)})


def test_excel_is_read() -> None:
    assert read("cam1.xlsx", xlsx([COLUMNS, *ROWS]))[0].bouts == {"lying": ((1.25, 2.0),)}


def test_of_several_observations_each_names_its_video() -> None:
    rows = [*ROWS, row(1, "State start", observation="cam2"), row(3, "State stop", observation="cam2")]
    first, second = read("log.xlsx", xlsx([COLUMNS, *rows]))
    assert (first.media, second.media, second.stem, second.bouts) == ("o1", "cam2", True, {"lying": ((1.0, 3.0),)})


def test_solomon_coders_table_is_read() -> None:
    text = "Time,Subject,Behavior,Status\n1.0,m1,lying,start\n1.5,,eating,start\n2.0,m1,lying,stop\n3,,eating,stop\n"
    tool, [m1, other] = read_with_tool("cam1_solomon.csv", text)
    assert (tool, m1.media, m1.animal, m1.bouts) == ("Solomon Coder", "cam1_solomon", "m1", {"lying": ((1.0, 2.0),)})
    assert (other.animal, other.bouts) == ("", {"eating": ((1.5, 3.0),)})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(1, "State start")], "row 2.*unpaired, expected a STOP after it"),
        ([row(1, "State stop")], "row 2.*unpaired, expected a START before it"),
        ([row(1, "Unknown")], "row 2: Event_Type 'Unknown' of 'lying', expected State start"),
        ([row(1, "State start", "")], "row 2: Event_Type 'State start' of ''"),
        ([row(-1, "Point")], "row 2: Time_Relative_sf -1 s"),
        ([row("x", "Point")], "row 2, Time_Relative_sf: 'x'"),
        ([*ROWS, ROWS[0]], "row 5.*the same event as in cam1.xlsx, row 2"),
        ([], "no event below the header"),
    ],
)
def test_a_wrong_event_is_named(rows: list[list[object]], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read("cam1.xlsx", xlsx([COLUMNS, *rows]))
    assert "cam1.xlsx" in str(caught.value)


def test_a_log_without_relative_times_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"x\.csv: no column Time_Relative_sf"):
        read("x.csv", "Observation,Subject,Behavior,Event_Type\no1,m1,lying,State start\n")
