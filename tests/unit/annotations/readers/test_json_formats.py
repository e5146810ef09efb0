"""JABS and Label Studio: annotations as JSON."""

import json
from typing import Any

import pytest

from sheep.annotations.readers.base import SourceFile
from sheep.annotations.readers.folder import read_file
from sheep.errors import ConfigError
from tests.unit.annotations.files import read


def block(start: int, end: int, present: object = True) -> dict[str, object]:
    return {"start": start, "end": end, "present": present}


def jabs(labels: object, **other: object) -> str:
    return json.dumps({"version": 1, "file": "cam1.mp4", "num_frames": 60, "labels": labels, **other})


def test_jabs_blocks_have_inclusive_ends_and_score_only_themselves() -> None:
    [coding] = read("x.json", jabs({"0": {"lying": [block(25, 49), block(50, 59, False)], "eating": [block(0, 9)]}}))
    assert (coding.media, coding.stem, coding.animal, coding.unit) == ("cam1.mp4", False, "", "frame")
    assert coding.bouts == {"lying": ((25.0, 50.0),), "eating": ((0.0, 10.0),)}
    assert coding.absent == {"lying": ((50.0, 60.0),), "eating": ()}


def test_jabs_identities_are_animals_and_labels_as_drawn_are_used() -> None:
    drawn = {"0": {"lying": [block(0, 9)]}, "1": {"lying": [block(0, 4)]}}
    first, second = read("x.json", jabs({"0": {"lying": [block(0, 3)]}}, unfragmented_labels=drawn))
    assert (first.animal, first.bouts, second.animal) == ("0", {"lying": ((0.0, 10.0),)}, "1")
    names = {"0": "m1", "1": "m2"}
    assert [one.animal for one in read("x.json", jabs(drawn, external_identities=names))] == ["m1", "m2"]


def test_jabs_without_a_file_is_named_after_its_video() -> None:
    [coding] = read("cam1_jabs.json", jabs({"0": {"lying": [block(0, 9)]}}, file=None))
    assert (coding.media, coding.stem) == ("cam1_jabs", True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (jabs({"0": {"lying": [block(9, 3)]}}), "identity 0, 'lying': block of frames 9 to 3"),
        (jabs({"0": {"lying": [block(9, 60)]}}), "block of frames 9 to 60"),
        (jabs({"0": {"lying": [block(-1, 3)]}}), "block of frames -1 to 3"),
        (jabs({"0": {"lying": [block(0, 3, "yes")]}}), "present 'yes'"),
        (jabs({"0": {"lying": [{"start": 1}]}}), "KeyError 'end', expected JABS labels"),
        (jabs({"0": [1]}), "expected JABS labels"),
        ("{", "no JSON"),
        ("[" * 100_000, "nested too deeply"),
        (b"\xff\xff", "no JSON"),
    ],
)
def test_wrong_json_is_refused(content: str | bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read("x.json", content)
    assert "x.json" in str(caught.value)


def region(start: int, end: int, label: str = "lying") -> dict[str, object]:
    return {"type": "timelinelabels", "value": {"ranges": [{"start": start, "end": end}], "timelinelabels": [label]}}


def annotation(*regions: object, **other: object) -> dict[str, object]:
    return {"result": list(regions), **other}


def task(*annotations: object, **data: object) -> dict[str, Any]:
    return {"id": 7, "data": data or {"video": "cam1.mp4"}, "annotations": list(annotations), "predictions": []}


def test_label_studios_frames_count_from_one_and_include_both_ends() -> None:
    given = task(annotation(region(1, 1), region(25, 50), region(51, 60), region(3, 4, "eating"), completed_by=5))
    [coding] = read("x.json", json.dumps([given]))
    assert (coding.media, coding.animal, coding.unit, coding.observer) == ("cam1.mp4", "", "frame", "5")
    assert coding.bouts == {"lying": ((0.0, 1.0), (24.0, 60.0)), "eating": ((2.0, 4.0),)}


def test_each_annotation_of_label_studio_is_an_observers() -> None:
    given = task(annotation(region(1, 2)), annotation(), annotation(region(1, 9), was_cancelled=True))
    file = SourceFile("x.json", json.dumps(given).encode())
    tool, [first, second] = read_file(file)
    assert tool == "Label Studio (timeline labels)"
    assert (first.observer, second.observer, second.bouts) == ("annotation 1", "annotation 2", {})
    assert file.notes == ["task 7: skipped annotations left out"]
    file = SourceFile("x.json", json.dumps([task()]).encode())
    assert (read_file(file)[1], file.notes) == ([], ["task 7: no annotation"])


@pytest.mark.parametrize(
    ("video", "media"),
    [
        ("pen/cam1.mp4", "pen/cam1.mp4"),
        ("/data/upload/3/0a1b2c3d-cam1.mp4", "cam1.mp4"),
        ("/data/local-files/?d=pen/cam%201.mp4", "pen/cam 1.mp4"),
        ("https://x.org/a/cam%201.mp4?token=1", "cam 1.mp4"),
        ("s3://bucket/pen/cam1.mp4", "cam1.mp4"),
    ],
)
def test_label_studios_addresses_name_the_video(video: str, media: str) -> None:
    assert read("x.json", json.dumps([task(annotation(region(1, 2)), video=video)]))[0].media == media
    assert read("x.json", json.dumps([task(annotation(region(1, 2)), clip=video)]))[0].media == media


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (task(annotation(region(0, 3))), "task 7: frames 0 to 3, expected a range from 1"),
        (task(annotation(region(5, 3))), "task 7: frames 5 to 3"),
        (
            task(annotation({"type": "videorectangle", "value": {}})),
            "regions of type videorectangle, expected timeline",
        ),
        (task(annotation({"type": "timelinelabels", "value": {}})), "KeyError 'ranges'"),
        (task(annotation(region(1, 2)), a="x.mp4", b="y.mp4"), "expected the video in `video`"),
        (task({"id": 1}), "KeyError 'result'"),
    ],
)
def test_a_wrong_export_of_label_studio_is_refused(given: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        read("x.json", json.dumps([given]))
    assert "x.json" in str(caught.value)
