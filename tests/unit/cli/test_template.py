"""A new study's folder: every file is read by the reader of its kind, and the check asks for the videos."""

import dataclasses
from pathlib import Path

import pytest

from sheep import prompts
from sheep.annotations.cohort import read_cohort
from sheep.annotations.ethogram import FILE, read_ethogram
from sheep.annotations.readers import read_files
from sheep.check.inspect import inspect
from sheep.cli import template
from sheep.config import ArchiveConfig, StudyConfig
from sheep.errors import ConfigError
from sheep.study import Study


def test_each_template_is_read_by_the_reader_of_its_kind(tmp_path: Path) -> None:
    template.write(str(tmp_path / "new"))
    root = tmp_path / "new"
    [prompt] = prompts.read((root / "prompts.csv").read_bytes(), name="prompts.csv")
    cohort = read_cohort((root / "cohort.csv").read_text(), name="cohort.csv").to_pylist()
    assert cohort == [{"video": prompt.video, "animal": prompt.animal, "group": "control"}]
    ethogram = read_ethogram((root / FILE).read_bytes(), name=FILE)
    folder = read_files(["example.csv", "scored.csv"], lambda name: (root / "annotations" / name).read_bytes())
    assert {name for coding in folder.codings for name in coding.bouts} <= set(ethogram.labels)
    assert [(one.media, one.animal) for one in folder.codings] == [(prompt.video, prompt.animal)] * 2


def test_the_check_asks_for_videos_until_there_are_some(tmp_path: Path) -> None:
    template.write(str(tmp_path))
    study = StudyConfig(name="new", archive=ArchiveConfig(root=str(tmp_path)))
    assert any("no videos" in error for error in inspect(Study(dataclasses.replace(study))).errors)


def test_files_that_exist_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "cohort.csv").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds cohort\.csv, expected none"):
        template.write(str(tmp_path))
    assert (tmp_path / "cohort.csv").read_text() == "mine"
    assert not (tmp_path / "prompts.csv").exists()
