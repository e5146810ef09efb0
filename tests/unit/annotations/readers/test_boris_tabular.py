"""BORIS's tabular events: what is read, and how every mistake is reported."""

import pytest

from sheep.errors import ConfigError
from tests.unit.annotations.files import TABULAR, bout, event, read, tabular, xlsx


@pytest.mark.parametrize("separator", ["\t", ",", ";"])
def test_current_columns_are_read(separator: str) -> None:
    rows = [
        event("1.000", "START"),
        event("2.000", "START", "standing", "m2"),
        event("3.500", "STOP"),
        event("4.000", "STOP", "standing", "m2"),
        *bout("6.000", "7.000"),
    ]
    m1, m2 = read("x.tsv", "\ufeff" + tabular(*rows, separator=separator).replace("\n", "\r\n"))
    assert (m1.media, m1.media_s, m1.animal, m1.observer) == ("cam1.mp4", 60.0, "m1", "o1")
    assert (m1.unit, m1.scored, m1.stem, m1.only_scored) == ("s", None, False, False)
    assert m1.bouts == {"lying": ((1.0, 3.5), (6.0, 7.0))}
    assert m2.bouts == {"standing": ((2.0, 4.0),)}


def test_a_spreadsheet_is_read_as_the_text_is() -> None:
    rows = bout(1, 2)
    lines: list[list[object]] = [list(TABULAR)]
    lines += [[float(row[c]) if c in ("Time", "FPS") else row.get(c, "") for c in TABULAR] for row in rows]
    [coding] = read("x.xlsx", xlsx(lines))
    assert coding.bouts == {"lying": ((1.0, 2.0),)}


def test_older_columns_below_a_preamble_are_read() -> None:
    lines = [
        "Observation id\to1",
        "Player #1\t/films/cam1.avi",
        "",
        "Independent variables",
        "pen\t4",
        "",
        "Time\tMedia file path\tTotal length\tFPS\tSubject\tBehavior\tBehavioral category\tModifiers\tComment\tStatus",
        "0.5\t/films/cam1.avi\t10.0\t25\tm1\tlying\t\t\t\tSTART",
        "2.5\t/films/cam1.avi\t10.0\t25\tm1\tlying\t\t\t\tSTOP",
    ]
    [coding] = read("old.tsv", "\n".join(lines))
    assert (coding.media, coding.media_s, coding.bouts) == ("/films/cam1.avi", 10.0, {"lying": ((0.5, 2.5),)})


def test_the_column_with_start_and_stop_counts_where_the_type_is_a_column_of_its_own() -> None:
    text = (
        "Time,Media file path,Total length,Subject,Behavior,Behavior type,Status\n"
        "1,cam1.mp4,10,m1,lying,STATE,START\n2,cam1.mp4,10,m1,lying,STATE,STOP\n3,cam1.mp4,10,m1,lick,POINT,POINT\n"
    )
    [coding] = read("x.csv", text)
    assert (coding.bouts, coding.points) == ({"lying": ((1.0, 2.0),)}, {"lick": (3.0,)})


def test_bouts_with_different_modifiers_pair_alone_and_are_joined() -> None:
    rows = [
        event(1, "START", Modifier_1="hay"),
        event(2, "START", Modifier_1="grass"),
        event(3, "STOP", Modifier_1="hay"),
        event(4, "STOP", Modifier_1="grass"),
    ]
    assert read("x.csv", tabular(*rows))[0].bouts == {"lying": ((1.0, 4.0),)}


@pytest.mark.parametrize("duration", ["10", "10.000", "00:00:10"])
def test_a_shorter_observation_scores_only_its_part(duration: str) -> None:
    [coding] = read("x.csv", tabular(*bout(1, 9, Observation_duration=duration)))
    assert coding.scored == ((0.0, 10.0),)


def test_an_observation_of_a_later_part_is_scored_from_its_first_to_its_last_event() -> None:
    [coding] = read("x.csv", tabular(*bout(22, 38, Observation_duration="20.0")))
    assert coding.scored == ((22.0, 38.0),)
    with pytest.raises(ConfigError, match=r"x\.csv, observation 'o1': events from 2 to 50 s in an observation of 20 s"):
        read("x.csv", tabular(*bout(2, 50, Observation_duration="20.0")))


@pytest.mark.parametrize("late_s", [0.008, 0.02])
def test_a_stop_shortly_behind_the_end_is_cut(late_s: float) -> None:
    [coding] = read("x.csv", tabular(*bout(1, 60 + late_s)))
    assert (coding.bouts, coding.scored) == ({"lying": ((1.0, 60.0),)}, None)


def test_a_bout_over_two_media_files_is_split_at_the_border() -> None:
    of_both = {"Source": "player #1:cam1.mp4;cam2.mp4", "Media_duration_s": "60.000;30.000"}
    start = event(50, "START", **of_both)
    stop = event(65, "STOP", media="cam2.mp4", **of_both)
    first, second = read("x.csv", tabular(start, stop))
    assert (first.media, first.media_s, first.bouts) == ("cam1.mp4", 60.0, {"lying": ((50.0, 60.0),)})
    assert (second.media, second.media_s, second.bouts) == ("cam2.mp4", 30.0, {"lying": ((0.0, 5.0),)})


def test_events_of_several_media_files_may_outlast_the_stated_duration() -> None:
    of_both = {"Source": "player #1:cam1.mp4;cam2.mp4", "Media_duration_s": "60.000;60.000"}
    first, second = read("x.csv", tabular(*bout(1, 62, Observation_duration="60.0", **of_both)))
    assert (first.bouts, first.scored) == ({"lying": ((1.0, 60.0),)}, ((1.0, 60.0),))
    assert (second.bouts, second.scored) == ({"lying": ((0.0, 2.0),)}, ((0.0, 2.0),))


def test_of_media_files_in_a_row_those_that_were_not_watched_are_left_out() -> None:
    of_both = {"Source": "player #1:cam1.mp4;cam2.mp4", "Media_duration_s": "60.000;30.000"}
    [coding] = read("x.csv", tabular(*bout(1, 9, Observation_duration="10", **of_both)))
    assert (coding.media, coding.scored) == ("cam1.mp4", ((0.0, 10.0),))


def test_of_two_players_the_first_ones_video_is_meant() -> None:
    of_both = {"Source": "player #1:cam1.mp4|player #2:cam2.mp4", "Media_duration_s": "60.000|50.000"}
    [coding] = read("x.csv", tabular(*bout(1, 2, **of_both)))
    assert (coding.media, coding.media_s) == ("cam1.mp4", 60.0)


def test_point_events_are_no_bouts() -> None:
    [coding] = read("x.csv", tabular(*bout(1, 2), event(3, "POINT", "lick")))
    assert (coding.bouts, coding.points) == ({"lying": ((1.0, 2.0),)}, {"lick": (3.0,)})


def test_clock_times_are_read() -> None:
    [coding] = read("x.csv", tabular(*bout("00:00:01.500", "0:02", Media_duration_s="00:01:00")))
    assert (coding.bouts, coding.media_s) == ({"lying": ((1.5, 2.0),)}, 60.0)


def test_times_count_from_the_observations_offset() -> None:
    [coding] = read("x.csv", tabular(*bout(11, 12, Time_offset_s="10")))
    assert coding.bouts == {"lying": ((1.0, 2.0),)}
    with pytest.raises(ConfigError, match=r"START of 'lying' at -9 s.*or the observation's time offset"):
        read("x.csv", tabular(*bout(1, 2, Time_offset_s="10")))


@pytest.mark.parametrize("subject", ["", "No focal subject"])
def test_events_without_a_subject_name_no_animal(subject: str) -> None:
    assert [one.animal for one in read("x.csv", tabular(*bout(1, 2, subject=subject)))] == [""]


def test_both_spellings_of_no_subject_are_one() -> None:
    [coding] = read("x.csv", tabular(*bout(1, 2, subject=""), *bout(3, 4, "eating", subject="No focal subject")))
    assert coding.bouts == {"lying": ((1.0, 2.0),), "eating": ((3.0, 4.0),)}


def test_a_media_file_that_was_not_found_is_named_by_the_source() -> None:
    [coding] = read("x.csv", tabular(*(row | {"Media file name": "Not found"} for row in bout(1, 2))))
    assert coding.media == "cam1.mp4"


def test_observations_are_kept_apart() -> None:
    first, second = read("x.csv", tabular(*bout(1, 2), *bout(1, 3, Observation_id="o2")))
    assert (first.observer, second.observer) == ("o1", "o2")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([event(1, "PAUSE")], "row 2.*expected START, STOP, POINT"),
        ([event(1, "START", "")], "row 2.*no behaviour"),
        ([event(1, "POINT", Observation_id='o"1')], "row 2.*expected no quotation mark"),
        ([event(1, "START"), event(2, "STOP"), event(3, "START")], "row 4.*unpaired, expected a STOP after it"),
        ([event(1, "STOP")], "row 2.*unpaired, expected a START before it"),
        ([event(1, "START"), event(2, "START")], "row 3.*unpaired, expected a STOP of x.tsv, row 2 first"),
        ([event(5, "START"), event(2, "STOP")], "row 3.*expected rising times"),
        ([*bout(1, 4), *bout(3, 5)], "row 4.*expected rising times"),
        ([event(2, "START"), event(2, "STOP")], "row 3.*lasts 0 s"),
        ([event(1, "START"), event(65, "STOP")], "row 3.*expected 0 to 60 s, the length of cam1.mp4"),
        ([event(-1, "START")], "row 2.*expected 0 to 60 s"),
        ([event("soon", "START")], "row 2, Time: 'soon', expected one number"),
        ([event("nan", "START")], "row 2, Time: 'nan'"),
        ([event(1, "START", media="", Source="")], "row 2.*no media file"),
        ([event(1, "START", Media_duration_s="10.0;12.0")], "row 2.*expected 1 lengths"),
        (bout(1, 2, Source="player #1:cam1.mp4;cam2.mp4", Media_duration_s="60;NA"), "'cam2.mp4' has no length"),
        ([row for row in bout(1, 2) for _ in range(2)], "row 3.*the same event as in x.tsv, row 2, expected it once"),
        ([], "no event below the header"),
    ],
)
def test_a_wrong_event_is_named(rows: list[dict[str, str]], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read("x.tsv", tabular(*rows))
    assert "x.tsv" in str(caught.value)


def test_a_table_without_any_length_is_refused() -> None:
    text = tabular(*bout(1, 2)).replace("Media duration (s)", "?").replace("Observation duration", "??")
    with pytest.raises(ConfigError, match=r"x\.tsv: no length of the media"):
        read("x.tsv", text)


@pytest.mark.parametrize("separator", ["\t", ",", ";"])
def test_a_comment_with_an_unclosed_quotation_mark_is_refused(separator: str) -> None:
    rows = [*bout(1, 2), event(3, "START", Comment='"look'), event(4, "STOP"), *bout(5, 6)]
    with pytest.raises(ConfigError, match=r"x\.csv, row 4: .*quotation mark"):
        read("x.csv", tabular(*rows, separator=separator))
    rows[-1]["Comment"] = 'later"'  # closes it: the rows between are one cell
    with pytest.raises(ConfigError, match=r"x\.csv, row 4: .*quotation mark"):
        read("x.csv", tabular(*rows, separator=separator))


def test_a_quoted_comment_of_several_lines_is_read() -> None:
    rows = [event(1, "START", Comment='"one, two;\nthree"'), event(2, "STOP")]
    assert read("x.csv", tabular(*rows))[0].bouts == {"lying": ((1.0, 2.0),)}


def test_a_gigantic_cell_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"x\.csv, row 2: field larger than field limit"):
        read("x.csv", tabular(*bout(1, 2, Comment="x" * 200_000)))
