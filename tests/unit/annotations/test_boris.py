"""Annotation and cohort files: what is read, matched and sampled, and how every mistake is reported."""

import pyarrow as pa
import pytest
from sheep.annotations.boris import parse_boris

from sheep.annotations.cohort import check_cohort, read_cohort
from sheep.annotations.intervals import Annotation, label_frames, match
from sheep.errors import ConfigError
from sheep.schemas import LABEL_FRAMES, LABELS, validate

COLUMNS = [
    "Observation id",
    "Observation date",
    "Description",
    "Observation duration",
    "Observation type",
    "Source",
    "Time offset (s)",
    "Media duration (s)",
    "FPS",
    "pen",
    "Subject",
    "Behavior",
    "Behavioral category",
    "Modifier #1",
    "Behavior type",
    "Time",
    "Media file name",
    "Image index",
    "Image file path",
    "Comment",
]


def _row(
    time: object,
    status: str,
    behaviour: str = "eating",
    subject: str = "Ewe1",
    modifier: str = "",
    media: str = "C:\\films\\day1.avi",
    **other: str,
) -> dict[str, str]:
    values = {
        "Observation id": "obs1",
        "Observation duration": "8.000",
        "Observation type": "Media file(s)",
        "Source": f"player #1:{media}",
        "Time offset (s)": "0.0",
        "Media duration (s)": "10.000",
        "FPS": "25.000",
        "Subject": subject,
        "Behavior": behaviour,
        "Modifier #1": modifier,
        "Behavior type": status,
        "Time": str(time),
        "Media file name": media,
    }
    return values | other


def _export(*rows: dict[str, str], separator: str = "\t") -> str:
    lines = [COLUMNS] + [[row.get(column, "") for column in COLUMNS] for row in rows]
    return "\ufeff" + "\r\n".join(separator.join(line) for line in lines) + "\r\n"


def _keys(times: list[float], video: str = "day1.mp4", animal: str = "Ewe1") -> pa.Table:
    return pa.table(
        {
            "video": [video] * len(times),
            "animal": [animal] * len(times),
            "frame": list(range(len(times))),
            "time_s": times,
        }
    )


@pytest.mark.parametrize("separator", ["\t", ",", ";"])
def test_current_columns_are_read(separator: str) -> None:
    text = _export(
        _row("1.000", "START"),
        _row("2.000", "START", "standing", "Ewe2"),
        _row("3.500", "STOP"),
        _row("4.000", "STOP", "standing", "Ewe2"),
        _row("6.000", "START"),
        _row("7.000", "STOP"),
        separator=separator,
    )
    ewe1, ewe2 = parse_boris(text, name="x.tsv")
    assert (ewe1.video, ewe1.animal, ewe1.observed) == ("C:\\films\\day1.avi", "Ewe1", (0.0, 10.0))
    assert ewe1.bouts["eating"] == [(1.0, 3.5), (6.0, 7.0)]
    assert ewe1.bouts["standing"] == []
    assert ewe2.bouts["standing"] == [(2.0, 4.0)]


def test_older_columns_below_a_preamble_are_read() -> None:
    text = "\n".join(
        [
            "Observation id\tobs1",
            "Player #1\t/films/day1.avi",
            "",
            "Independent variables",
            "pen\t4",
            "",
            "Time\tMedia file path\tTotal length\tFPS\tSubject\tBehavior\tBehavioral "
            "category\tModifiers\tComment\tStatus",
            "0.5\t/films/day1.avi\t10.0\t25\tEwe1\tlying\t\t\t\tSTART",
            "2.5\t/films/day1.avi\t10.0\t25\tEwe1\tlying\t\t\t\tSTOP",
        ]
    )
    (found,) = parse_boris(text, name="old.tsv")
    assert (found.video, found.bouts["lying"]) == ("/films/day1.avi", [(0.5, 2.5)])


def test_bouts_with_different_modifiers_pair_alone_and_are_joined() -> None:
    text = _export(
        _row(1, "START", modifier="hay"),
        _row(2, "START", modifier="grass"),
        _row(3, "STOP", modifier="hay"),
        _row(4, "STOP", modifier="grass"),
    )
    assert parse_boris(text, name="x")[0].bouts["eating"] == [(1.0, 4.0)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([_row(1, "POINT")], "row 2.*expected START or STOP"),
        ([_row(1, "START", "Head down")], "row 2.*Did you mean 'head_down'"),
        ([_row(1, "START", "grooming")], "row 2.*'grooming'.*expected a behaviour of head_down"),
        ([_row(1, "START"), _row(2, "STOP"), _row(3, "START")], "row 4.*unpaired, expected a STOP after it"),
        ([_row(1, "STOP")], "row 2.*unpaired, expected a START before it"),
        ([_row(1, "START"), _row(2, "START")], "row 3.*unpaired, expected a STOP of x.tsv, row 2 first"),
        ([_row(5, "START"), _row(2, "STOP")], "row 3.*expected rising times"),
        ([_row(1, "START"), _row(4, "STOP"), _row(3, "START"), _row(5, "STOP")], "row 4.*expected rising times"),
        ([_row(2, "START"), _row(2, "STOP")], "row 3.*lasts 0 s"),
        ([_row(1, "START"), _row(10.5, "STOP")], "row 3.*expected 0 to 10.0 s"),
        ([_row(-1, "START")], "row 2.*expected 0 to 10.0 s"),
        ([_row("00:00:01", "START")], "row 2: time is '00:00:01'.*seconds"),
        ([_row(1, "START", subject="No focal subject")], "row 2.*no subject"),
        ([_row(1, "START", media="", Source="")], "row 2.*no media file"),
        ([_row(1, "START", **{"Media duration (s)": "10.0;12.0"})], "row 2.*one media file per observation"),
        ([_row(1, "START", **{"Time offset (s)": "5"})], "row 2.*time offset 5"),
        ([_row(1, "START"), _row(2, "STOP", **{"Observation id": "obs2"})], "row 3.*Export one observation"),
        ([], "no event below the header"),
    ],
)
def test_a_wrong_event_is_named(rows: list[dict[str, str]], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_boris(_export(*rows), name="x.tsv")
    assert "x.tsv" in str(caught.value)


def test_other_files_are_refused() -> None:
    with pytest.raises(ConfigError, match="no header row with Subject and Behavior"):
        parse_boris("a,b\n1,2\n", name="x.csv")
    with pytest.raises(ConfigError, match="Tabular events"):
        parse_boris(
            "Subject,Behavior,Behavior type,Start (s),Stop (s),Media file,Total length\n", name="aggregated.csv"
        )


def _annotation(
    video: str = "day1.avi",
    animal: str = "Ewe1",
    observed: tuple[float, float] = (0.0, 10.0),
    **bouts: list[tuple[float, float]],
) -> Annotation:
    return Annotation(video=video, animal=animal, observed=observed, bouts={**{label: [] for label in LABELS}, **bouts})


def test_annotations_are_matched_by_stem_whatever_folder_and_ending() -> None:
    found = match(
        [_annotation("C:\\films\\day1.avi"), _annotation("/films/day2.b.mov")], ["pen/day1.mp4", "day2.b.mp4", "x.mp4"]
    )
    assert {video: [item.video for item in items] for video, items in found.items()} == {
        "pen/day1.mp4": ["pen/day1.mp4"],
        "day2.b.mp4": ["day2.b.mp4"],
    }


def test_unmatched_ambiguous_and_repeated_annotations_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'Day1.avi'.*'day1.mp4', 'day2.mp4'"):
        match([_annotation("Day1.avi")], ["day2.mp4", "day1.mp4"])
    with pytest.raises(ConfigError, match=r"matches several videos, 'a/day1.mp4', 'b/day1.mp4'"):
        match([_annotation()], ["a/day1.mp4", "b/day1.mp4"])
    with pytest.raises(ConfigError, match="annotated twice"):
        match([_annotation(), _annotation("day1.mov")], ["day1.mp4"])


def test_intervals_are_half_open_and_unscored_is_null() -> None:
    item = _annotation("day1.mp4", observed=(0.0, 4.0), eating=[(1.0, 2.0), (2.0, 3.0)], lying=[(1.0, 2.0)])
    keys = pa.concat_tables(
        [_keys([0.0, 1.0, 2.0, 3.0, 4.0]), _keys([1.0], animal="Ewe2"), _keys([1.0], video="day2.mp4")]
    )
    frames = validate(label_frames(keys, [item]), LABEL_FRAMES, "test")
    assert frames["eating"].to_pylist() == [0, 1, 1, 0, None, None, None]
    assert frames["lying"].to_pylist() == [0, 1, 0, 0, None, None, None]
    assert frames["moving"].to_pylist() == [0, 0, 0, 0, None, None, None]
    assert frames["animal"].to_pylist() == keys["animal"].to_pylist()


def test_rounded_times_label_the_frames_they_were_taken_from() -> None:
    # BORIS writes milliseconds: at 30 Hz every bout from frame i to frame j must label exactly i to j - 1
    times = [i / 30 for i in range(60)]
    for first, stop in ((1, 2), (2, 4), (5, 47), (0, 59)):
        item = _annotation("day1.mp4", eating=[(round(first / 30, 3), round(stop / 30, 3))])
        found = label_frames(_keys(times), [item])["eating"].to_pylist()
        assert [i for i, value in enumerate(found) if value] == list(range(first, stop))


def test_annotated_animal_that_is_not_tracked_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'ewe1' in 'day1.mp4' is not tracked.*'Ewe1'"):
        label_frames(_keys([0.0]), [_annotation("day1.mp4", "ewe1")])
    with pytest.raises(ConfigError, match="annotated twice"):
        label_frames(_keys([0.0]), [_annotation("day1.mp4"), _annotation("day1.mp4")])


def test_a_cohort_is_read_and_compared_with_the_videos() -> None:
    cohort = read_cohort(
        "\ufeffvideo, animal, group, note\nv1.mp4,a,control,x\nv1.mp4,b,treated,\nv2.mp4,a,control,\n", name="c"
    )
    assert cohort.to_pylist()[1] == {"video": "v1.mp4", "animal": "b", "group": "treated"}
    check_cohort(cohort, ["v2.mp4", "v1.mp4"])
    with pytest.raises(ConfigError, match=r"not there: 'v2.mp4'.*without a row: 'v3.mp4'"):
        check_cohort(cohort, ["v1.mp4", "v3.mp4"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,animal\nv,a\n", "expected the columns video, animal, group"),
        ("video,animal,group\nv,a,\n", "row 2.*expected a value"),
        ("video,animal,group\nv,a,c\nv,a,c\n", "row 3.*occurs twice"),
        ("video,animal,group\nv,a,c\nw,a,t\n", "row 3.*'t' and in 'c'"),
        ("", "expected the columns"),
    ],
)
def test_a_broken_cohort_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_cohort(text, name="cohort.csv")
