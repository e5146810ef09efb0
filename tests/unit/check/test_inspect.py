"""What a check finds in a tiny archive that is spoiled in one way at a time: each fault at once, without a model."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sheep.check.inspect import inspect, require
from sheep.check.text import table
from sheep.config import StudyConfig
from sheep.errors import ConfigError
from sheep.study import Study


@pytest.fixture
def study(tiny_study: StudyConfig, tmp_path: Path) -> StudyConfig:
    """The tiny study over a copy of its archive."""
    shutil.copytree(tiny_study.archive.root, tmp_path / "archive")
    archive = dataclasses.replace(tiny_study.archive, root=str(tmp_path / "archive"))
    return dataclasses.replace(tiny_study, out=str(tmp_path / "out"), archive=archive)


def edit(study: StudyConfig, file: str, old: str, new: str) -> None:
    """Replace text in a file of the archive, where it has to occur."""
    path = Path(study.archive.root, file)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def with_settings(study: StudyConfig, stage: str, **fields: Any) -> StudyConfig:
    """Replace fields of one stage's settings."""
    changed = dataclasses.replace(getattr(study, stage), **fields)
    return dataclasses.replace(study, **{stage: changed})


def test_a_good_study_has_nothing_to_correct_and_its_facts_add_up(study: StudyConfig) -> None:
    report = require(Study(study))
    assert report.errors == ()
    assert all("control" in warning and "treated" in warning for warning in report.warnings)  # too few animals
    assert report.num_videos == 6
    assert [(one.group, one.num_animals, one.num_annotated, one.num_videos) for one in report.groups] == [
        ("control", 3, 2, 3),
        ("treated", 3, 2, 3),
    ]
    assert [one.label for one in report.labels][:2] == ["head_down", "lying"]
    assert report.exclusive == (("head_down", "head_up"), ("lying", "standing"))
    for one in report.labels:  # two videos of 3.2 s in each group
        assert one.minutes_scored == pytest.approx({"control": 6.4 / 60, "treated": 6.4 / 60}, abs=0.01)
        assert all(0 <= share <= 1 for share in one.share.values())
    text = table(report)
    assert "BORIS tabular events" in text
    assert "standard deviations of the animals" in text


def test_three_animals_a_group_find_only_differences_of_three_standard_deviations(study: StudyConfig) -> None:
    """Of the usual tables: two-sided t test, 3 + 3 animals, 80 % power at 5 %: 3.07 standard deviations."""
    assert inspect(Study(study)).detectable_sd == pytest.approx(3.07, abs=0.02)


def prompt_on_a_skipped_frame(study: StudyConfig) -> StudyConfig:
    """Prompt on frame 4, and track every third frame."""
    edit(study, "prompts.csv", "sheep02_1.mp4,sheep02,0", "sheep02_1.mp4,sheep02,4")
    return with_settings(study, "crop", stride_frames=3)


def another_cut_in_a_subfolder(study: StudyConfig) -> StudyConfig:
    """Move a video that was annotated directly in the video folder, on media of another length; call that `films`."""
    videos = Path(study.archive.root, "videos").rename(Path(study.archive.root, "films"))
    (videos / "day1").mkdir()
    for coded in Path(study.archive.root, "annotations").glob("*.csv"):
        edit(study, f"annotations/{coded.name}", "videos/", "films/")
    (videos / "sheep01_1.mp4").rename(videos / "day1" / "sheep01_1.mp4")
    for file in ("prompts.csv", "cohort.csv"):
        edit(study, file, "sheep01_1.mp4,", "day1/sheep01_1.mp4,")
    edit(study, "annotations/sheep01_1.csv", ",3.200,", ",600.000,")
    return with_settings(study, "archive", videos="films")


SPOILED: dict[str, tuple[Callable[[StudyConfig], StudyConfig | None], str]] = {
    "a blank after a name in the cohort's group": (
        lambda study: edit(study, "cohort.csv", "sheep01,control", "sheep01,Control"),
        r"groups 'Control' and 'control' differ in case, blanks",
    ),
    "another case of an animal in an annotation": (
        lambda study: edit(study, "annotations/sheep01_1.csv", "sheep01,", "Sheep01,"),
        r"animal 'Sheep01' has no prompt in 'sheep01_1\.mp4'.* Did you mean 'sheep01'\?",
    ),
    "a misspelt animal in the cohort": (
        lambda study: edit(study, "cohort.csv", "sheep02_1.mp4,sheep02", "sheep02_1.mp4,sheep2"),
        r"no row for animal 'sheep02' in 'sheep02_1\.mp4'.* Did you mean 'sheep2'\?",
    ),
    "a blank inside of a prompt's animal": (
        lambda study: edit(study, "prompts.csv", "sheep03_1.mp4,sheep03", "sheep03_1.mp4,sheep 03"),
        r"no prompt for animal 'sheep03' in 'sheep03_1\.mp4'.* Did you mean 'sheep 03'\?",
    ),
    "one group": (
        lambda study: edit(study, "cohort.csv", "treated", "control"),
        r"groups \['control'\], expected at least two",
    ),
    "an unknown reference": (
        lambda study: with_settings(study, "compare", reference="Kontrol"),
        r"compare\.reference: got 'Kontrol', expected one of control, treated",
    ),
    "a variant written with underscores": (
        lambda study: with_settings(study, "predict", variant="guided_crop_window"),
        r"predict\.variant: got 'guided_crop_window'.* Did you mean 'guided-crop-window'\?",
    ),
    "a backbone that is not there": (
        lambda study: with_settings(study, "finetune", backbone="nowhere"),
        r"finetune\.backbone: weights 'nowhere': nothing is there",
    ),
    "a SAM-2 checkpoint that is not there": (
        lambda study: with_settings(study, "crop", sam2="nowhere.pt"),
        r"crop\.sam2: weights 'nowhere\.pt': nothing is there",
    ),
    "an image side that the patch size does not divide": (
        lambda study: with_settings(study, "embed", image_px=100),
        r"embed\.image_px: got 100, expected a multiple of 8.* Use 96 or 104",
    ),
    "a training side that the patch size does not divide": (
        lambda study: with_settings(study, "finetune", global_px=100),
        r"finetune\.global_px: got 100, expected a multiple of 8",
    ),
    "two backbones": (
        lambda study: with_settings(study, "embed", backbone="pixels"),
        r"embed\.backbone: got 'pixels', expected finetune\.backbone, 'pocket'",
    ),
    "no single frame among the windows": (
        lambda study: with_settings(study, "search", half_widths_s=(0.5, 1.0)),
        r"search\.half_widths_s: got \(0\.5, 1\.0\), expected 0 among them",
    ),
    "too few annotated animals for folds and validation": (
        lambda study: with_settings(study, "finetune", validation_animals=2),
        r"4 annotated animals, expected at least 5",
    ),
    "annotations of another cut": (
        lambda study: edit(study, "annotations/sheep01_1.csv", ",3.200,", ",600.000,"),
        r"annotated on media of 600 s, and 'sheep01_1\.mp4' lasts 3\.2 s",
    ),
    "annotations of another cut of a video that was moved since": (
        another_cut_in_a_subfolder,
        r"annotated on media of 600 s, and 'day1/sheep01_1\.mp4' lasts 3\.2 s",
    ),
    "a behaviour that the ethogram lacks": (
        lambda study: edit(study, "ethogram.csv", "standing,posture,,state,\n", ""),
        r"behaviour 'standing', expected one of head_down, .* Add it to ethogram\.csv",
    ),
    "a prompt outside of the picture": (
        lambda study: edit(
            study,
            "prompts.csv",
            "sheep02_1.mp4,sheep02,0,",
            "sheep02_1.mp4,sheep02,0,point,900,40,,,,\nsheep02_1.mp4,sheep02,2,",
        ),
        r"point \(900\.0, 40\.0\) of 'sheep02' in sheep02_1\.mp4 is outside the frame",
    ),
    "a prompt behind the last frame": (
        lambda study: edit(study, "prompts.csv", "sheep02_1.mp4,sheep02,0,", "sheep02_1.mp4,sheep02,900,"),
        r"prompt of 'sheep02' in sheep02_1\.mp4 is on frame 900, expected 0 to 15",
    ),
    "a prompt on a skipped frame": (
        lambda study: prompt_on_a_skipped_frame(study),
        r"frame 4, expected a multiple of crop\.stride_frames = 3",
    ),
}


@pytest.mark.parametrize("name", SPOILED)
def test_each_fault_is_found_before_anything_runs(name: str, study: StudyConfig) -> None:
    spoil, message = SPOILED[name]
    changed = spoil(study) or study
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        require(Study(changed))
    assert not Path(study.out).exists()


def test_all_faults_are_in_one_list(study: StudyConfig) -> None:
    wrong = with_settings(with_settings(study, "embed", image_px=100), "compare", reference="Kontrol")
    wrong = with_settings(wrong, "search", half_widths_s=(0.5, 1.0))
    with pytest.raises(ConfigError) as caught:
        require(Study(wrong))
    text = str(caught.value)
    assert "3 things to correct" in text
    for part in ("embed.image_px", "compare.reference", "search.half_widths_s"):
        assert part in text


def test_a_gpu_is_asked_for_where_none_can_come(study: StudyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster's machines may have one: there the question is Ray's."""
    asked = dataclasses.replace(study, cluster=dataclasses.replace(study.cluster, gpus=1.0))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(Path, "glob", lambda *_: iter(()))
    with pytest.raises(ConfigError, match=r"cluster\.gpus = 1: this machine has no GPU and no cluster is named"):
        require(Study(asked))
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert inspect(Study(asked)).errors == ()


def test_a_video_that_cannot_be_read_is_named_and_stops_nothing(study: StudyConfig) -> None:
    Path(study.archive.root, "videos", "sheep06_1.mp4").write_bytes(b"no video")
    [warning] = [one for one in require(Study(study)).warnings if "sheep06_1.mp4" in one]
    assert warning.endswith("The study leaves it out.")


def test_a_misspelt_row_does_not_move_a_scored_animal_into_training(study: StudyConfig) -> None:
    """Fine-tuning must not see an animal that is scored, and one cohort row says which video shows it."""
    edit(study, "cohort.csv", "sheep01_1.mp4,sheep01,", "sheep01_1.mp4,sheep1,")
    with pytest.raises(ConfigError, match="Did you mean 'sheep1'"):
        require(Study(study))


def test_an_animal_that_was_not_annotated_beside_one_that_was_is_asked_about(study: StudyConfig) -> None:
    for file, row in (
        ("prompts.csv", "sheep01_1.mp4,lamb,0,point,5,5,,,,\n"),
        ("cohort.csv", "sheep01_1.mp4,lamb,control\n"),
    ):
        path = Path(study.archive.root, file)
        path.write_text(path.read_text() + row)
    asked = "'lamb' in 'sheep01_1.mp4' is not annotated"
    assert any(asked in warning for warning in require(Study(study)).warnings)
    Path(study.archive.root, "annotations", "scored.csv").write_text(
        "video,animal,start_s,stop_s\nsheep01_1.mp4,lamb,0,3.2\n"
    )
    assert not any(asked in warning for warning in require(Study(study)).warnings)
