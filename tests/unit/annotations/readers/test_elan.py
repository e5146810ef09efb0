"""ELAN documents, and ELAN's tab-delimited text."""

import pytest

from sheep.annotations.readers.base import SourceFile
from sheep.annotations.readers.folder import read_file
from sheep.errors import ConfigError
from tests.unit.annotations.files import read, read_with_tool

VIDEO = '<MEDIA_DESCRIPTOR MEDIA_URL="file:///v/cam%201.mp4" MIME_TYPE="video/mp4"/>'
SLOTS = '<TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1000"/><TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="2000"/>'


def mark(name: str, start: str, stop: str, text: str = "lying") -> str:
    return (
        f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="{name}" TIME_SLOT_REF1="{start}" TIME_SLOT_REF2="{stop}">'
        f"<ANNOTATION_VALUE>{text}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>"
    )


def reference(name: str, parent: str, text: str) -> str:
    return (
        f'<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="{name}" ANNOTATION_REF="{parent}">'
        f"<ANNOTATION_VALUE>{text}</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>"
    )


def tier(name: str, *marks: str, attributes: str = "") -> str:
    return f'<TIER TIER_ID="{name}" LINGUISTIC_TYPE_REF="x" {attributes}>{"".join(marks)}</TIER>'


def eaf(*tiers: str, media: str = VIDEO, slots: str = SLOTS, units: str = "milliseconds") -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ANNOTATION_DOCUMENT FORMAT="3.0">'
        f'<HEADER TIME_UNITS="{units}">{media}</HEADER><TIME_ORDER>{slots}</TIME_ORDER>{"".join(tiers)}'
        "</ANNOTATION_DOCUMENT>"
    )


def test_a_tier_with_text_is_an_animal() -> None:
    tool, [coding] = read_with_tool("x.eaf", eaf(tier("m1", mark("a1", "ts1", "ts2"))))
    assert (tool, coding.media, coding.stem, coding.animal, coding.observer) == (
        "ELAN",
        "/v/cam 1.mp4",
        False,
        "m1",
        "",
    )
    assert (coding.unit, coding.scored, coding.bouts) == ("s", None, {"lying": ((1.0, 2.0),)})


def test_a_tier_without_text_is_a_behaviour() -> None:
    [coding] = read("x.eaf", eaf(tier("lying", mark("a1", "ts1", "ts2", ""))))
    assert (coding.animal, coding.bouts) == ("", {"lying": ((1.0, 2.0),)})
    [coding] = read("x.eaf", eaf(tier("lying", mark("a1", "ts1", "ts2", ""), attributes='PARTICIPANT="m1"')))
    assert (coding.animal, coding.bouts) == ("m1", {"lying": ((1.0, 2.0),)})


def test_participant_and_annotator_name_animal_and_observer() -> None:
    first = tier("posture", mark("a1", "ts1", "ts2"), attributes='PARTICIPANT="m1" ANNOTATOR="A"')
    second = tier("feeding", mark("a2", "ts1", "ts2", "eating"), attributes='PARTICIPANT="m1" ANNOTATOR="A"')
    third = tier("posture B", mark("a3", "ts1", "ts2"), attributes='PARTICIPANT="m1" ANNOTATOR="B"')
    one, other = read("x.eaf", eaf(first, second, third))
    assert (one.animal, one.observer, set(one.bouts)) == ("m1", "A", {"lying", "eating"})
    assert (other.animal, other.observer, set(other.bouts)) == ("m1", "B", {"lying"})


def test_slots_without_time_divide_the_time_evenly() -> None:
    slots = (
        '<TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="0"/><TIME_SLOT TIME_SLOT_ID="ts2"/><TIME_SLOT TIME_SLOT_ID="other" '
        'TIME_VALUE="100"/><TIME_SLOT TIME_SLOT_ID="ts3"/><TIME_SLOT TIME_SLOT_ID="ts4" TIME_VALUE="3000"/>'
    )
    marks = [mark("a1", "ts1", "ts2"), mark("a2", "ts2", "ts3", "eating"), mark("a3", "ts3", "ts4", "standing")]
    [coding] = read("x.eaf", eaf(tier("m1", *marks), slots=slots))
    assert coding.bouts == {"lying": ((0.0, 1.0),), "eating": ((1.0, 2.0),), "standing": ((2.0, 3.0),)}


def test_a_reference_has_the_time_and_the_animal_of_its_parent() -> None:
    below = tier("note", reference("a3", "a2", "left"), attributes='PARENT_REF="side"')
    side = tier("side", reference("a2", "a1", "sternal"), attributes='PARENT_REF="m1"')
    [coding] = read("x.eaf", eaf(below, side, tier("m1", mark("a1", "ts1", "ts2"))))
    assert coding.animal == "m1"
    assert coding.bouts == dict.fromkeys(("left", "sternal", "lying"), ((1.0, 2.0),))


def test_times_count_from_the_media_files_origin() -> None:
    media = '<MEDIA_DESCRIPTOR MEDIA_URL="file:///a.wav" MIME_TYPE="audio/x-wav"/>' + VIDEO.replace(
        "/>", ' TIME_ORIGIN="500"/>'
    )
    file = SourceFile("x.eaf", eaf(tier("m1", mark("a1", "ts1", "ts2")), media=media).encode())
    assert read_file(file)[1][0].bouts == {"lying": ((1.5, 2.5),)}
    assert file.notes == ["times moved by the media file's time origin of 0.5 s"]


def test_without_media_the_document_is_named_after_its_video_and_empty_tiers_are_noted() -> None:
    file = SourceFile("pen/cam1.eaf", eaf(tier("default"), tier("m1", mark("a1", "ts1", "ts2")), media="").encode())
    _, [coding] = read_file(file)
    assert (coding.media, coding.stem) == ("pen/cam1", True)
    assert file.notes == ["tier 'default' left out: no annotation"]


GOOD = eaf(tier("m1", mark("a1", "ts1", "ts2")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD.replace("<ANN", '<!DOCTYPE x [<!ENTITY e "e">]><ANN', 1), "a document type or entity, expected none"),
        (GOOD.encode("utf-16").decode("utf-16")[:200], "no XML"),
        ("<a/>", "a, expected ANNOTATION_DOCUMENT"),
        (eaf(units="PAL-frames"), "times in PAL-frames, expected milliseconds"),
        (eaf(), "no annotation in any tier"),
        (GOOD.replace("</ANNOTATION_VALUE>", "</ANNOTATION_VALUE><ANNOTATION_VALUE>x</ANNOTATION_VALUE>"), "two texts"),
        (eaf(tier("m1", mark("a1", "ts2", "ts1"))), "tier 'm1', 2 to 1 s: expected a start"),
        (eaf(tier("m1", mark("a1", "ts1", "ts1"))), "tier 'm1', 1 to 1 s: expected a start"),
        (eaf(tier("m1", mark("a1", "ts1", "ts9"))), "no time slot 'ts9'"),
        (GOOD.replace(' TIME_VALUE="2000"', ""), "time slot 'ts2' has no time"),
        (eaf(tier("m1", reference("a2", "a1", "x"))), "annotation 'a1' refers to none with a time"),
        (eaf(tier("m1", reference("a1", "a2", "x"), reference("a2", "a1", "x"))), "refers to none with a time"),
        (eaf(tier("m1", mark("a1", "ts1", "ts2"), mark("a2", "ts1", "ts2", " "))), "no text, expected a behaviour"),
    ],
)
def test_a_wrong_document_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read("x.eaf", text)
    assert "x.eaf" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "m1\t\t1.0\t2.0\t1.0\tlying\nm2\t\t1.5\t3.0\t1.5\teating\n",
        "m1\t\t1000\t2000\t1000\tlying\nm2\t\t1500\t3000\t1500\teating\n",
        "m1\t\t00:00:01.000\t00:00:02.000\tlying\nm2\t\t00:00:01.500\t00:00:03.000\teating\n",
        "m1\t\t00:00:01.000\t1.0\t00:00:02.000\t2.0\t00:00:01.000\t1.0\tlying\n"
        "m2\t\t00:00:01.500\t1.5\t00:00:03.000\t3.0\t00:00:01.500\t1.5\teating\n",
        "posture\tm1\t1.0\t2.0\t1.0\tlying\nfeeding\tm2\t1.5\t3.0\t1.5\teating\n",
        "lying\tm1\t1.0\t2.0\t1.0\t\neating\tm2\t1.5\t3.0\t1.5\t\n",
    ],
)
def test_tab_delimited_text_without_a_header_is_read(text: str) -> None:
    tool, [m1, m2] = read_with_tool("cam1_elan.txt", text)
    assert tool == "ELAN (tab-delimited text)"
    assert (m1.media, m1.stem, m1.animal, m1.bouts) == ("cam1_elan", True, "m1", {"lying": ((1.0, 2.0),)})
    assert (m2.animal, m2.bouts) == ("m2", {"eating": ((1.5, 3.0),)})


@pytest.mark.parametrize(
    "text",
    [
        "Tier,Begin Time - ss.msec,End Time - ss.msec,Duration - ss.msec,Annotation\nm1,1.000,2.000,1.000,lying\n",
        "Tier,Participant,Begin Time - msec,End Time - msec,Annotation\nm1,,1000,2000,lying\n",
        "Tier\tBegin Time - hh:mm:ss.ms\tEnd Time - hh:mm:ss.ms\tx\nm1\t00:00:01.000\t00:00:02.000\tlying\n",
        "Begin Time - ss.msec,End Time - ss.msec,Duration - ss.msec,m1,m2\n1.000,2.000,1.000,lying,\n",
    ],
)
def test_text_with_a_header_is_read(text: str) -> None:
    [coding] = read("cam1.csv", text)
    assert (coding.media, coding.animal, coding.bouts) == ("cam1", "m1", {"lying": ((1.0, 2.0),)})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("m1\t\t1.0\t2.0\t1.0\tlying\nm1\t\t2.0\t3.0\tlying\n", "row 2: .*expected tier, participant, begin"),
        ("m1\t\t1.0\t2.0\t1.0\tlying\nm1\t\t2.0\t3.0\t9.0\tlying\n", "row 2: .*expected tier, participant, begin"),
        ("m1\t\t1.0\t2.0\t1.0\tlying\n\t\t2.0\t3.0\t1.0\tlying\n", "row 2: .*expected tier, participant, begin"),
        ("m1\t\t3.0\t2.0\tlying\n", "tier 'm1', 3 to 2 s: expected a start"),
        ('m1\t\t1.0\t2.0\tlying\nm1\t\t2.0\t3.0\t"x\n', "row 2: .*quotation mark"),
        ("Tier\tBegin Time - ss.msec\tEnd Time - ss.msec\ta\tb\nm1\t1\t2\tx\ty\n", "columns .'a', 'b'., expected one"),
        ("Tier\tBegin Time - ss.msec\tEnd Time - ss.msec\ta\n\t1\t2\tx\n", "row 2: no tier"),
    ],
)
def test_wrong_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read("x.txt", text)
    assert "x.txt" in str(caught.value)
