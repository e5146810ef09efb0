"""Tables that a lab writes itself."""

import pytest

from sheep.errors import ConfigError
from tests.unit.annotations.files import read


def test_bouts_in_seconds_are_read_for_each_video_animal_and_observer() -> None:
    text = (
        "video,animal,label,start_s,stop_s,observer\n"
        "cam1.mp4,m1,lying,1.0,2.0,A\ncam1.mp4,m1,lying,0:00:03,4,A\ncam1.mp4,m1,eating,1,2,B\ncam2.mp4,m2,lying,0,1,A\n"
    )
    first, second, third = read("x.csv", text)
    assert (first.media, first.animal, first.observer, first.unit, first.scored) == ("cam1.mp4", "m1", "A", "s", None)
    assert first.bouts == {"lying": ((1.0, 2.0), (3.0, 4.0))}
    assert (second.observer, second.bouts) == ("B", {"eating": ((1.0, 2.0),)})
    assert (third.media, third.animal) == ("cam2.mp4", "m2")


def test_bouts_in_frames_are_half_open() -> None:
    [coding] = read("x.csv", "video,animal,behavior,start_frame,end_frame\ncam1.mp4,m1,lying,25,50\n")
    assert (coding.unit, coding.bouts) == ("frame", {"lying": ((25.0, 50.0),)})


@pytest.mark.parametrize(
    "header",
    [
        "Media file name;Subject;Behaviour;Start (s);End (s)",
        "FILENAME;Individual;Label;Onset_s;Offset_s",
        "media;id;behavior;start time;end time",
    ],
)
def test_other_names_of_columns_are_read(header: str) -> None:
    [coding] = read("x.csv", f"{header}\ncam1.mp4;m1;lying;1,5;2\n")
    assert (coding.media, coding.animal, coding.bouts) == ("cam1.mp4", "m1", {"lying": ((1.5, 2.0),)})


def test_of_a_column_and_its_other_name_the_documented_one_counts() -> None:
    [coding] = read("x.csv", "id,video,animal,label,start_s,stop_s\n7,cam1.mp4,m1,lying,1,2\n")
    assert coding.animal == "m1"


def test_without_a_label_the_rows_say_what_was_watched() -> None:
    [coding] = read("scored.csv", "video,animal,start_s,stop_s,comment\ncam1.mp4,m1,0,10,dark\ncam1.mp4,m1,20,30,\n")
    assert (coding.only_scored, coding.scored, coding.bouts) == (True, ((0.0, 10.0), (20.0, 30.0)), {})


def test_a_column_that_may_be_the_label_is_not_overlooked() -> None:
    with pytest.raises(ConfigError, match=r"x\.csv: no column `label`, and columns of no known meaning \(event\)"):
        read("x.csv", "video,animal,event,start_s,stop_s\ncam1.mp4,m1,lying,1,2\n")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("cam1.mp4,m1,lying,2,2", "row 2: 2 to 2, expected"),
        ("cam1.mp4,m1,lying,3,2", "row 2: 3 to 2, expected"),
        ("cam1.mp4,m1,lying,-1,2", "row 2: -1 to 2, expected"),
        ("cam1.mp4,m1,lying,a,2", "row 2, start_s: 'a'"),
        ("cam1.mp4,m1,lying,1", "row 2, stop_s: ''"),
        ("cam1.mp4,m1,,1,2", "row 2: video 'cam1.mp4', label ''"),
        (",m1,lying,1,2", "row 2: video '', label 'lying'"),
        ("cam1.mp4,m1,lying,1,2,more", "row 2: 6 cells, expected at most the header's 5"),
        ("cam1.mp4,m1,lying,1,2\ncam1.mp4,m1,lying,1,2", "row 3: the same row as one above it"),
        ('cam1.mp4,m1,ly"ing,1,2', "row 2: a quotation mark in a name"),
        ("", "no row below the header"),
    ],
)
def test_a_wrong_row_is_named(row: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read("x.csv", f"video,animal,label,start_s,stop_s\n{row}\n")
    assert "x.csv" in str(caught.value)


def test_a_column_that_occurs_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"x\.csv, row 1: columns label occur more than once"):
        read("x.csv", "video,animal,label,label,start_s,stop_s\ncam1.mp4,m1,a,b,1,2\n")


def test_a_boris_table_without_its_own_columns_is_not_read_as_plain() -> None:
    text = "Observation id,Subject,Behavior,Start (s),Stop (s),Media file name\no1,m1,lying,1,2,cam1.mp4\n"
    with pytest.raises(ConfigError, match="its format is not known"):
        read("x.csv", text)
