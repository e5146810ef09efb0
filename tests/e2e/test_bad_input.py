"""User mistakes are refused before anything runs, with one message that names them; a bad video never stops the
others."""

import csv
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sheep import pipeline
from sheep.config import AdvancedCropConfig, StudyConfig
from sheep.errors import ConfigError, ContractError
from sheep.io import storage
from sheep.io.manifest import read_manifest
from sheep.study import Study
from tests import stages

if TYPE_CHECKING:
    from tests.conftest import S3Server

ROOT = Path(__file__).parents[2]


@pytest.fixture
def study(tiny_study: StudyConfig, tmp_path: Path) -> StudyConfig:
    """The tiny study over a copy of its archive, which the test may damage; nothing is written yet."""
    archive = tmp_path / "archive"
    shutil.copytree(tiny_study.archive.root, archive)
    return replace(tiny_study, out=str(tmp_path / "out"), archive=replace(tiny_study.archive, root=str(archive)))


def at(study: StudyConfig, *parts: str) -> Path:
    return Path(study.archive.root, *parts)


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def remove(*paths: Path) -> None:
    for path in paths:
        path.unlink()


def drop_line(path: Path, start: str) -> None:
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(start)]
    assert len(kept) == len(lines) - 1
    path.write_text("".join(kept))


def prompt_outside(study: StudyConfig) -> None:
    path = at(study, "prompts.csv")
    lines = path.read_text().splitlines()
    lines[2] = "sheep02_1.mp4,sheep02,0,point,5000,10,,,,"
    path.write_text("\n".join(lines) + "\n")


MISTAKES: dict[str, tuple[Callable[[StudyConfig], object], str]] = {
    "no videos": (
        lambda study: remove(*at(study, "videos").iterdir()),
        r"archive/videos: no videos among 0 files, expected files ending in \.mp4.* Check",
    ),
    "no prompt file": (
        lambda study: remove(at(study, "prompts.csv")),
        r"prompts\.csv: no prompt file there, expected one\. Check",
    ),
    "a prompt for no video": (
        lambda study: rewrite(at(study, "prompts.csv"), "sheep03_1.mp4", "sheep3_1.mp4"),
        r"prompts\.csv: prompts for 1 videos that are not there, first 'sheep3_1\.mp4'; the archive has .* Correct",
    ),
    "a video without prompt": (
        lambda study: drop_line(at(study, "prompts.csv"), "sheep03_1.mp4"),
        r"prompts\.csv: 1 of 6 videos have no prompt, first 'sheep03_1\.mp4', expected one for each\. Add",
    ),
    "a prompt outside the frame": (
        prompt_outside,
        r"prompts\.csv: point \(5000\.0, 10\.0\) of 'sheep02' in sheep02_1\.mp4 is outside the frame, expected x in "
        r"0\.\.128",
    ),
    "annotations for no video": (
        lambda study: rewrite(at(study, "annotations", "sheep02_1.csv"), "sheep02_1.mp4", "ewe_2.mp4"),
        r"sheep02_1\.csv, .* no video for 'videos/ewe_2\.mp4', expected one with the same name.* Rename",
    ),
    "no annotations": (
        lambda study: shutil.rmtree(at(study, "annotations")),
        r"archive/annotations: no annotations, expected files such as BORIS exports\. Check",
    ),
    "an unknown behaviour": (
        lambda study: rewrite(at(study, "annotations", "sheep03_1.csv"), ",standing,", ",stands,"),
        r"sheep03_1\.csv, row \d+: behaviour 'stands', expected one of head_down, lying.* Did you mean 'standing'\?",
    ),
    "annotations that are not text": (
        lambda study: at(study, "annotations", "sheep02_1.csv").write_bytes(b"\x81Subject\x00Behavior"),
        r"sheep02_1\.csv: not a text file in UTF-8, UTF-16 or Windows-1252\. Export it again as UTF-8",
    ),
    "a cohort row for no video": (
        lambda study: rewrite(at(study, "cohort.csv"), "sheep03_1.mp4", "sheep3_1.mp4"),
        r"cohort: rows for videos that are not there: 'sheep3_1\.mp4'; videos without a row: 'sheep03_1\.mp4'.* "
        r"Correct",
    ),
    "a video without cohort row": (
        lambda study: drop_line(at(study, "cohort.csv"), "sheep06_1.mp4"),
        r"videos without a row: 'sheep06_1\.mp4'; expected the same videos in both\. Correct the cohort file",
    ),
    "too few annotated animals": (
        lambda study: remove(*(at(study, "annotations", f"sheep0{n}_1.csv") for n in (3, 4))),
        r"archive: 2 annotated animals, expected at least 3: one for each of search\.num_folds = 3\. Annotate",
    ),
}


@pytest.mark.usefixtures("still_tracker")
@pytest.mark.parametrize("case", MISTAKES)
def test_a_user_mistake_is_named_before_anything_runs(case: str, study: StudyConfig) -> None:
    make, message = MISTAKES[case]
    make(study)
    with pytest.raises(ConfigError) as caught:
        pipeline.run(Study(study))
    assert re.search(message, str(caught.value)), str(caught.value)
    assert set(storage.find(study.out)) <= {"crop/_stage.json"}  # at most the settings: no row, no ledger entry


@pytest.mark.parametrize(
    "name", ["facebook/sam2.1-hiera-enormous", "weights/sam2", "s3x", "/nowhere/sam2.1_hiera_tiny.pt"]
)
def test_unknown_sam2_weights_leave_nothing_behind(study: StudyConfig, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"weights '{name}': nothing is there, expected 'pocket', .*facebook/sam2"):
        stages.crop(replace(study, crop=replace(study.crop, sam2=name)))
    assert storage.find(study.out) == {}


@pytest.mark.usefixtures("still_tracker")
def test_an_unknown_backbone_leaves_nothing_behind(study: StudyConfig) -> None:
    stages.crop(study)
    wrong = replace(study, finetune=replace(study.finetune, backbone="dinov2_small"))
    for stage in (lambda: stages.embed(wrong, [("frozen", "crop")]), lambda: stages.finetune(wrong, "crop")):
        with pytest.raises(ConfigError, match=r"weights 'dinov2_small': nothing is there, .*\(owner/name\)\. Correct"):
            stage()
    assert not [name for name in storage.find(study.out) if not name.startswith("crop/")]


def damage_video(study: StudyConfig, name: str, kind: str) -> None:
    path = at(study, "videos", name)
    data = path.read_bytes()
    assert data.index(b"mdat") < data.index(b"moov")
    path.write_bytes({"unreadable": b"not a video " * 99, "empty": b"", "truncated": data[: len(data) // 2]}[kind])


@pytest.mark.usefixtures("still_tracker")
def test_bad_videos_become_rows_with_reasons(study: StudyConfig, caplog: pytest.LogCaptureFixture) -> None:
    for name, kind in (("sheep02_1.mp4", "unreadable"), ("sheep03_1.mp4", "empty"), ("sheep05_1.mp4", "truncated")):
        damage_video(study, name, kind)
    cropped = stages.crop(study)
    errors = {row["video"]: row["error"] for row in cropped.errors().to_pylist()}
    assert list(errors) == ["sheep02_1.mp4", "sheep03_1.mp4", "sheep05_1.mp4"]
    assert "cannot be decoded" in errors["sheep02_1.mp4"]
    assert "is empty (0 bytes)" in errors["sheep03_1.mp4"]
    assert "cannot be decoded" in errors["sheep05_1.mp4"]
    assert {row["stage"] for row in cropped.errors().to_pylist()} == {"crop"}
    frames = cropped.read("crops", columns=["video"]).column("video").to_pylist()
    assert {name: frames.count(name) for name in frames} == dict.fromkeys(
        ["sheep01_1.mp4", "sheep04_1.mp4", "sheep06_1.mp4"], 16
    )
    listed = Path(study.out, "crop", "errors.csv")
    assert list(csv.DictReader(listed.read_text().splitlines())) == cropped.errors().to_pylist()
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="sheep.execution.base"):
        again = stages.crop(study)  # the same bad bytes are not retried ...
    assert again == cropped
    assert caplog.messages == [  # ... but they are reported again
        f"crop: 3 of 6 videos could not be used. They are listed with the reasons in {listed}"
    ]
    shutil.copy(at(study, "videos", "sheep01_1.mp4"), at(study, "videos", "sheep03_1.mp4"))
    assert len(stages.crop(study).errors()) == 2  # a new copy is processed
    assert len(listed.read_text().splitlines()) == 3
    for name in ("sheep02_1.mp4", "sheep05_1.mp4"):
        shutil.copy(at(study, "videos", "sheep01_1.mp4"), at(study, "videos", name))
    assert len(stages.crop(study).errors()) == 0
    assert not listed.exists()


@pytest.mark.usefixtures("still_tracker")
def test_too_many_bad_videos_stop_the_job(study: StudyConfig) -> None:
    for name in ("sheep02_1.mp4", "sheep03_1.mp4"):
        damage_video(study, name, "empty")
    strict = replace(study, crop=replace(study.crop, advanced=AdvancedCropConfig(max_error_frac=0.2)))
    with pytest.raises(
        ContractError, match=r"2 of 6 units failed, expected at most 20%\. First: .*sheep02_1\.mp4: is empty"
    ):
        stages.crop(strict)
    assert Path(study.out, "crop", "errors.csv").read_text().splitlines()[1].startswith("sheep02_1.mp4,crop,")
    assert not storage.exists(storage.join(study.out, "crop", "_manifest.json"))
    tracks = {path: path.stat().st_mtime_ns for path in Path(study.out).rglob("*.parquet")}
    tolerant = replace(study, crop=replace(study.crop, advanced=AdvancedCropConfig(max_error_frac=0.5, ahead_frames=0)))
    assert len(stages.crop(tolerant).errors()) == 2  # a user may raise the limit; nothing is processed again
    assert {path: path.stat().st_mtime_ns for path in Path(study.out).rglob("*.parquet")} == tracks


@pytest.mark.usefixtures("still_tracker")
def test_another_configuration_leaves_existing_output_unchanged(study: StudyConfig) -> None:
    first = stages.crop(study)
    before = {path: path.read_bytes() for path in Path(study.out).rglob("*") if path.is_file()}
    with pytest.raises(ConfigError) as caught:
        stages.crop(replace(study, crop=replace(study.crop, crop_px=64)))
    message = str(caught.value)
    assert f"holds output of configuration {first.config_digest}, this run is " in message
    assert "config.crop_px (48 -> 64)" in message
    assert "Write to another folder" in message
    assert {path: path.read_bytes() for path in Path(study.out).rglob("*") if path.is_file()} == before


@pytest.mark.slow
@pytest.mark.usefixtures("still_tracker")
def test_a_study_with_a_bad_video_ends_with_a_report(study: StudyConfig) -> None:
    damage_video(study, "sheep06_1.mp4", "truncated")
    outcome = pipeline.run(Study(study))
    page = storage.read_bytes(outcome.report).decode()
    assert "sheep06_1.mp4" in page
    assert "cannot be decoded" in page
    numbers = json.loads(storage.read_bytes(outcome.numbers))
    assert numbers
    assert outcome.text
    predicted = read_manifest(storage.join(study.out, "predict"))
    assert [entry.key for entry in predicted.entries] == [f"sheep0{n}_1.mp4" for n in range(1, 6)]


def run_job(verb: str, *flags: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", f"jobs.{verb}", "meadow", *flags],
        cwd=ROOT,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **environment},
        capture_output=True,
        text=True,
        timeout=250,
    )


@pytest.mark.slow
def test_a_job_with_bad_videos_succeeds_and_reports_them_at_its_end(study: StudyConfig) -> None:
    damage_video(study, "sheep02_1.mp4", "empty")
    flags = ["--archive.root", study.archive.root, "--out", study.out, "--crop.crop-px", "48", "--crop.frame-px", "48"]
    result = run_job("crop", *flags, "--cluster.cpus", "0.5")
    assert (result.returncode, result.stdout) == (0, f"{study.out}/crop\n"), result.stderr
    *before, message, log = result.stderr.splitlines()
    listed = f"{study.out}/crop/errors.csv"
    assert message == f"crop: 1 of 6 videos could not be used. They are listed with the reasons in {listed}"
    assert re.fullmatch(rf"log: {study.out}/logs/crop-[\d-]+\.log", log)
    assert len(before) <= 12, before
    assert any("W sheep.execution.base crop video=sheep02_1.mp4 error=" in line for line in before)  # from a worker
    [row] = csv.DictReader(Path(listed).read_text().splitlines())
    assert row["video"] == "sheep02_1.mp4"
    assert "is empty (0 bytes)" in row["error"]


def one_line(result: "subprocess.CompletedProcess[str]") -> str:
    """Return the only error line of a refused job."""
    assert result.returncode == 1, result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if "Error: " in line]
    assert len(lines) == 1, result.stderr
    return lines[0]


def test_a_setting_out_of_range_is_a_usage_error(study: StudyConfig) -> None:
    result = run_job("crop", "--crop.stride-frames", "0", "--out", study.out)
    shown = " ".join(re.sub(r"[^\x00-\x7f]", "", result.stderr).split())  # tyro draws a box around it
    assert "crop.stride_frames: got 0, expected >= 1. Change it in the recipe or by its flag." in shown
    assert "Traceback" not in shown
    assert (result.returncode, result.stdout) == (2, "")


@pytest.mark.slow
def test_a_missing_stage_is_reported_in_one_line(study: StudyConfig) -> None:
    line = one_line(run_job("report", "--archive.root", study.archive.root, "--out", study.out))
    assert line.startswith(
        f"ConfigError: {study.out}/crop: no _manifest.json, expected a finished stage. Run the stage"
    )


@pytest.mark.slow
def test_a_refused_job_on_ray_reports_one_line_too(study: StudyConfig) -> None:
    drop_line(at(study, "prompts.csv"), "sheep03_1.mp4")
    line = one_line(run_job("crop", "--archive.root", study.archive.root, "--out", study.out))
    assert re.search(MISTAKES["a video without prompt"][1], line), line
    assert {name for name in storage.find(study.out) if not name.startswith("logs/")} == set()  # at most its log


def test_a_wrong_secret_is_named(s3: "S3Server", study: StudyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = s3.bucket()
    for path in sorted(Path(study.archive.root).rglob("*")):
        if path.is_file():
            storage.write_bytes(
                storage.join(bucket, path.relative_to(study.archive.root).as_posix()), path.read_bytes()
            )
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(ConfigError, match=rf"{bucket}.*access refused .*Check AWS_ACCESS_KEY_ID"):
        stages.crop(replace(study, archive=replace(study.archive, root=bucket)))
    s3fs.S3FileSystem.clear_instance_cache()
    assert storage.find(study.out) == {}
