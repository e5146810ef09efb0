"""Damaged and reformatted files: each gives the same labels, or a ConfigError that names the file.

Never fewer labels in silence, and never another exception. Left out is what no reader can tell: whole rows taken out of
a table with one row per bout, or from the end of one with a row per frame; a cut in the very last cell; exchanged
values in XML or JSON. The tables here end in a column of comments, and one animal's events start before and end after
the others.
"""

import codecs
import json
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sheep.annotations.cohort import check_cohort, read_cohort
from sheep.annotations.ethogram import Behaviour, Ethogram, read_ethogram
from sheep.annotations.labelled import Annotation, resolve
from sheep.annotations.matching import Matcher
from sheep.annotations.readers import read_files
from sheep.errors import ConfigError
from tests.unit.annotations.files import event, table, tabular

ETHOGRAM = Ethogram(
    (
        Behaviour(name="lying", group="posture"),
        Behaviour(name="standing", group="posture"),
        Behaviour(name="eating"),
        Behaviour(name="lick", kind="point"),
    )
)
VIDEOS = {"pen/cam1.mp4": ["m1", "Zo\xeb"], "pen/cam2.mp4": ["m2"]}
FUZZ = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

EVENTS = [
    event("1.0", "START", Comment="looks up; down"),
    event("2.0", "START", "eating", "Zo\xeb", Comment="hay, grass"),
    event("3.0", "START", "eating"),
    event("4.5", "POINT", "lick"),
    event("20.25", "STOP", "eating", Comment='5" long'),
    event("30.5", "STOP"),
    event("40.5", "STOP", "eating", "Zo\xeb"),
]
INTERVALS = [
    {"video": "cam1.mp4", "animal": "m1", "label": "lying", "start_s": "1.0", "stop_s": "30.5", "observer": "A"},
    {"video": "cam1.mp4", "animal": "Zo\xeb", "label": "eating", "start_s": "2", "stop_s": "40.5", "observer": "A"},
    {"video": "cam2.mp4", "animal": "m2", "label": "standing", "start_s": "0", "stop_s": "7", "observer": "B"},
]
PLAIN = ("video", "animal", "label", "start_s", "stop_s", "observer", "comment")
PROJECT = {
    "behaviors_conf": {
        str(i): {"type": "Point event" if name == "lick" else "State event", "code": name}
        for i, name in enumerate(("lying", "standing", "eating", "lick"))
    },
    "observations": {
        "o1": {
            "file": {"1": ["cam1.mp4"]},
            "type": "MEDIA",
            "time offset": 0.0,
            "events": [
                [float(one["Time"]), one["Subject"], one["Behavior"], "", one.get("Comment", "")] for one in EVENTS
            ],
            "media_info": {"length": {"cam1.mp4": 60.0}, "fps": {"cam1.mp4": 25.0}},
            "observation time interval": [0.5, 45],
        }
    },
}
ELAN = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT FORMAT="3.0">
<HEADER TIME_UNITS="milliseconds"><MEDIA_DESCRIPTOR MEDIA_URL="file:///v/pen/cam1.mp4" MIME_TYPE="video/mp4"/></HEADER>
<TIME_ORDER>
<TIME_SLOT TIME_SLOT_ID="a" TIME_VALUE="1000"/>
<TIME_SLOT TIME_SLOT_ID="b"/>
<TIME_SLOT TIME_SLOT_ID="c" TIME_VALUE="30500"/>
</TIME_ORDER>
<TIER TIER_ID="Zo\xeb">
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="x" TIME_SLOT_REF1="a" TIME_SLOT_REF2="b">
<ANNOTATION_VALUE>lying</ANNOTATION_VALUE>
</ALIGNABLE_ANNOTATION></ANNOTATION>
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="y" TIME_SLOT_REF1="b" TIME_SLOT_REF2="c">
<ANNOTATION_VALUE>standing</ANNOTATION_VALUE>
</ALIGNABLE_ANNOTATION></ANNOTATION>
</TIER>
</ANNOTATION_DOCUMENT>
"""
ONE_HOT = "".join(
    f"{line},\n"
    for line in [
        "frame,lying,standing,eating",
        *(f"{i},{int(i < 9)},{int(i > 12)},{int(5 < i < 15)}" for i in range(20)),
    ]
)
TABLES = {
    "events.tsv": tabular(*EVENTS),
    "intervals.csv": table(PLAIN, INTERVALS, ","),
    "cam2_labels.csv": ONE_HOT,
}
"""File -> its text, with a row for the header."""
DOCUMENTS = {"project.boris": json.dumps(PROJECT, indent=1, ensure_ascii=False), "elan.eaf": ELAN}
MAY_LOSE_ROWS = ("events.tsv", *DOCUMENTS)
"""Files in which a row that is missing can be told."""
COHORT = (
    "video,animal,group,note\npen/cam1.mp4,Zo\xeb,control,one\npen/cam2.mp4,m2,treated,two\npen/cam3.mp4,m3,control,\n"
)
LABELS = (
    "name,group,aliases,kind,ignore,note\nlying,posture,Lying|rest,,,a\nstanding,posture,,state,no,b\n"
    "eating,,feed,state,,c\nlick,,,point,,\n"
)

Labels = list[tuple[object, ...]]


def labels_of(name: str, data: bytes) -> Labels:
    """Every annotation of a folder with this file, as resolved."""
    matcher = Matcher(VIDEOS)
    codings = read_files([name], lambda _: data).codings
    found = resolve(codings, lambda one: matcher.find(one.media, one.where, stem=one.stem), VIDEOS, ETHOGRAM)

    def parts(one: Annotation, used: bool) -> tuple[object, ...]:
        return used, one.video, one.animal, one.unit, sorted(one.scored.items()), sorted(one.bouts.items())

    return sorted([*(parts(one, True) for one in found.used), *(parts(one, False) for one in found.others)], key=repr)


def cohort_of(data: bytes) -> Labels:
    found = read_cohort(data, name="cohort.csv")
    check_cohort(found, ["pen/cam1.mp4", "pen/cam2.mp4", "pen/cam3.mp4"])
    return sorted(tuple(row.values()) for row in found.to_pylist())


def ethogram_of(data: bytes) -> Labels:
    found = read_ethogram(data, name="ethogram.csv")
    for used in ("lying", "standing", "eating", "lick", "rest", "feed"):
        found.find(used, "ethogram.csv")
    return sorted((one.name, one.group, one.kind, one.ignore) for one in found.behaviours)


EXPECTED = {
    **{name: labels_of(name, text.encode()) for name, text in {**TABLES, **DOCUMENTS}.items()},
    "cohort.csv": cohort_of(COHORT.encode()),
    "ethogram.csv": ethogram_of(LABELS.encode()),
}


def same_or_refused(read: Callable[[bytes], Labels], name: str, data: bytes) -> None:
    message = ""
    try:
        found = read(data)
    except ConfigError as error:
        message = str(error)
    if message:
        assert name.partition(".")[0] in message
    else:
        assert found == EXPECTED[name]


def test_the_undamaged_files_hold_labels() -> None:
    assert all(EXPECTED.values())


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


@st.composite
def damaged(draw: st.DrawFn, text: str, *, may_lose_rows: bool = True, may_swap: bool = True) -> bytes:
    """A text with a line taken out, repeated or moved, a stray quotation mark, or an early end."""
    kinds = ["repeat", "quote", "quote", "two quotes", "cut", "upper line", "separator in a line", "nul"]
    kinds += ["delete"] * may_lose_rows + ["swap"] * may_swap
    kind = draw(st.sampled_from(kinds))
    lines = _lines(text)
    place = draw(st.integers(0, len(lines) - 1))
    at = draw(st.integers(0, len(text) - 1))
    if kind == "delete":
        del lines[place]
    elif kind == "repeat":
        lines.insert(draw(st.integers(0, len(lines))), lines[place])
    elif kind == "swap":
        other = draw(st.integers(0, len(lines) - 1))
        lines[place], lines[other] = lines[other], lines[place]
    elif kind == "upper line":
        lines[place] = lines[place].upper()
    elif kind == "separator in a line":
        old, new = draw(st.permutations("\t,;"))[:2]
        lines[place] = lines[place].replace(old, new)
    elif kind in ("quote", "two quotes", "nul"):
        mark = "\0" if kind == "nul" else '"'
        text = text[:at] + mark + text[at:]
        if kind == "two quotes":
            at = draw(st.integers(0, len(text)))
            text = text[:at] + mark + text[at:]
        lines = [text]
    else:
        end = len(text) - 1
        if not may_lose_rows:  # within a row, which is then too short
            end = text.rindex("\n", 0, end) + text[text.rindex("\n", 0, end) :].rindex(",") - 1
            at = max(at % end, text.rindex("\n", 0, end) + 2)
        lines = [text[: min(at, end)]]
    return "".join(lines).encode()


@st.composite
def reformatted(draw: st.DrawFn, text: str, separator: str) -> bytes:
    """A table as another program writes it."""
    header, _, body = text.partition("\n")
    header = draw(st.sampled_from([header, header.upper(), header.lower(), header.title(), f" {header} "]))
    lines = [header, *body.splitlines()]
    other = draw(st.sampled_from([separator, "\t", ";"]))
    quoted = draw(st.booleans())
    cells = [
        [
            f'"{cell.replace(chr(34), chr(34) * 2)}"' if quoted or other in cell else cell
            for cell in line.split(separator)
        ]
        for line in lines
    ]
    lines = [other.join(line) for line in cells]
    for _ in range(draw(st.integers(0, 3))):
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(["", other * 2, "  "])))
    if draw(st.booleans()):
        lines.insert(0, f"sep={other}")
    text = draw(st.sampled_from(["\n", "\r\n", "\r"])).join([*lines, ""])
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be"]))
    mark = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}.get(encoding, b"")
    return mark + text.encode(encoding)


@FUZZ
@given(data=st.data())
@pytest.mark.parametrize("name", [*TABLES, *DOCUMENTS])
def test_a_damaged_annotation_file_gives_the_same_labels_or_is_refused(name: str, data: st.DataObject) -> None:
    text = {**TABLES, **DOCUMENTS}[name]
    changed = data.draw(damaged(text, may_lose_rows=name in MAY_LOSE_ROWS, may_swap=name in TABLES))
    same_or_refused(lambda content: labels_of(name, content), name, changed)


@FUZZ
@given(data=st.data())
@pytest.mark.parametrize("name", TABLES)
def test_a_reformatted_annotation_table_gives_the_same_labels(name: str, data: st.DataObject) -> None:
    text = TABLES[name]
    changed = data.draw(reformatted(text, "\t" if name.endswith("tsv") else ","))
    if name == "cam2_labels.csv":  # a blank row may be an unscored frame
        same_or_refused(lambda content: labels_of(name, content), name, changed)
    else:
        assert labels_of(name, changed) == EXPECTED[name]


@FUZZ
@given(changed=damaged(COHORT))
def test_a_damaged_cohort_gives_the_same_groups_or_is_refused(changed: bytes) -> None:
    same_or_refused(cohort_of, "cohort.csv", changed)


@FUZZ
@given(changed=reformatted(COHORT, ","))
def test_a_reformatted_cohort_gives_the_same_groups(changed: bytes) -> None:
    assert cohort_of(changed) == EXPECTED["cohort.csv"]


@FUZZ
@given(changed=damaged(LABELS))
def test_a_damaged_ethogram_gives_the_same_labels_or_is_refused(changed: bytes) -> None:
    same_or_refused(ethogram_of, "ethogram.csv", changed)


@FUZZ
@given(changed=reformatted(LABELS, ","))
def test_a_reformatted_ethogram_gives_the_same_labels(changed: bytes) -> None:
    assert ethogram_of(changed) == EXPECTED["ethogram.csv"]


@FUZZ
@given(
    name=st.sampled_from(
        ["x.csv", "x.tsv", "x.txt", "x.json", "x.eaf", "x.boris", "x.boris.gz", "x.xlsx", "x.ods", "x.nwb"]
    ),
    data=st.binary(max_size=60) | st.text(max_size=60).map(str.encode),
)
def test_any_bytes_are_ignored_with_a_reason_or_refused(name: str, data: bytes) -> None:
    message = ""
    try:
        found = read_files([name], lambda _: data)
    except ConfigError as error:
        message = str(error)
    if message:
        assert name in message
    else:
        assert found.codings == ()
        assert found.files[0].notes
