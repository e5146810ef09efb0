"""Stages as their drivers use them: which units are due, how weights are identified, and what a rerun does."""

import dataclasses
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from sheep import prompts, schemas
from sheep.config import StudyConfig, seed_for
from sheep.crop import quality
from sheep.embed.stage import Shown, encoder_name
from sheep.errors import ConfigError
from sheep.execution import base
from sheep.execution.local import LOCAL
from sheep.inputs import StudyInputs
from sheep.io import storage
from sheep.io.manifest import Entry
from sheep.models import weights
from sheep.synthetic.behaviour import LABELS
from tests import stages

pytestmark = pytest.mark.usefixtures("still_tracker")


@pytest.fixture
def study(tiny_study: StudyConfig, tmp_path: Path) -> StudyConfig:
    """The tiny study over a copy of its archive."""
    shutil.copytree(tiny_study.archive.root, tmp_path / "archive")
    archive = dataclasses.replace(tiny_study.archive, root=str(tmp_path / "archive"))
    return dataclasses.replace(tiny_study, out=str(tmp_path / "out"), archive=archive)


class Counted:
    """Runs units locally, and records which."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def __call__(self, work: Sequence[base.Work]) -> Iterator[Entry]:
        self.keys += [unit.key for _, unit in work]
        return iter(list(LOCAL.run_units(work)))


def crop(study: StudyConfig) -> list[str]:
    """Run the crop stage and return the videos that it processed."""
    counted = Counted()
    stages.crop(study, stages.Replaced(units=counted))
    return counted.keys


def test_only_what_changed_is_done_again(study: StudyConfig) -> None:
    videos = [f"sheep0{number}_1.mp4" for number in range(1, 7)]
    assert crop(study) == videos
    assert crop(study) == []
    file = Path(study.archive.root, "prompts.csv")
    lines = file.read_text().splitlines()
    lines[2] = "sheep02_1.mp4,sheep02,0,point,60,40,,,,"
    file.write_text("\n".join(lines) + "\n")
    assert crop(study) == ["sheep02_1.mp4"]
    shutil.copy(Path(study.archive.root, "videos", videos[0]), Path(study.archive.root, "videos", videos[4]))
    assert crop(study) == ["sheep05_1.mp4"]
    Path(study.archive.root, "videos", videos[5]).unlink()
    file.write_text("\n".join(lines[:-1]) + "\n")
    assert crop(study) == []
    found = stages.crop(study)
    assert [entry.key for entry in found.entries] == videos[:5]


def test_frames_that_need_a_prompt_are_listed_worst_first_in_the_format_of_prompt_files(study: StudyConfig) -> None:
    found = stages.crop(study)
    listed = Path(study.out, "crop", "reprompts.csv")
    assert listed.read_bytes() == quality.to_csv([])  # these sheep do not move: none is lost
    for key, frame, score in (("sheep03_1.mp4", 5, 0.3), ("sheep01_1.mp4", 10, 0.7), ("sheep02_1.mp4", 0, 0.3)):
        (part,) = [
            part for entry in found.entries if entry.key == key for part in entry.parts if part.table == "reprompts"
        ]
        row = quality.Reprompt(
            video=key, animal=key[:7], frame=frame, box=(1, 2, 30, 40), time_s=frame / 5, reason="risk", score=score
        )
        Path(found.uri, part.path).write_bytes(quality.to_csv([row]))
    listed.unlink()
    stages.crop(study)
    again = prompts.read(listed.read_bytes(), name="reprompts.csv")
    assert {(prompt.video, prompt.frame, prompt.xy) for prompt in again} == {
        (f"sheep0{number}_1.mp4", frame, (1, 2, 30, 40)) for number, frame in ((1, 10), (2, 0), (3, 5))
    }
    assert [line.split(",")[0] for line in listed.read_text().splitlines()[1:]] == [
        *("sheep01_1.mp4", "sheep02_1.mp4", "sheep03_1.mp4")
    ]


def test_a_prompt_on_a_frame_that_the_stride_skips_is_refused_at_once(study: StudyConfig) -> None:
    file = Path(study.archive.root, "prompts.csv")
    file.write_text(file.read_text().replace("sheep02_1.mp4,sheep02,0", "sheep02_1.mp4,sheep02,4"))
    strided = dataclasses.replace(study, crop=dataclasses.replace(study.crop, stride_frames=3))
    with pytest.raises(ConfigError, match=r"'sheep02' in sheep02_1\.mp4: frame 4, expected a multiple of .* = 3"):
        stages.crop(strided)
    assert storage.find(study.out) == {}


def test_annotations_are_matched_with_tracked_frames(study: StudyConfig) -> None:
    found = StudyInputs(study)
    assert found.annotated == ("sheep01", "sheep02", "sheep03", "sheep04")
    assert found.cohort.num_rows == 6
    labels = found.label_frames(stages.crop(study))
    schemas.validate(labels, schemas.label_frames(LABELS), "test")
    targets = schemas.targets_of(labels)
    assert targets.shape == (6 * 16, 6)
    scored = ~np.isnan(targets).any(axis=1)
    animals = np.array(labels.column("animal").to_pylist())
    assert set(animals[scored]) == set(found.annotated)
    assert np.isnan(targets[~scored]).all()
    exact = pq.read_table(f"{study.archive.root}/truth/sheep03_1.parquet")
    drawn = np.stack([exact.column(label).to_numpy() for label in LABELS], axis=1)
    np.testing.assert_array_equal(targets[animals == "sheep03"], drawn)


def test_weights_are_identified_by_their_bytes(tmp_path: Path) -> None:
    for name in ("one", "two", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"other" if name == "other" else b"same")
    one, two, other = (weights.weights_identity(str(tmp_path / n), "pocket_sam2") for n in ("one", "two", "other"))
    assert one == two != other
    assert weights.weights_identity("pocket", "pocket_sam2") != weights.weights_identity("pocket", "pocket_dinov2")
    assert weights.weights_identity("facebook/dinov2-base", "pocket_dinov2") == "facebook/dinov2-base"


@pytest.mark.parametrize("name", ["dinov2", "./runs/none", "/nowhere", "s3-less/than/this", "memory://none/here", ""])
def test_missing_weights_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"weights '{name}': nothing is there"):
        weights.weights_identity(name, "pocket_dinov2")


def test_baselines_are_embedded_and_searched_like_backbones(study: StudyConfig) -> None:
    keys = stages.crop(study).read("crops", columns=list(schemas.KEY))
    asked: list[Shown] = [("untrained", "crop"), ("pixels", "crop"), ("geometry", "track")]
    found = stages.embed(study, asked)
    rows = {name: manifest.read("embeddings") for (name, _), manifest in found.items()}
    assert {name: table.column("embedding").type.list_size for name, table in rows.items()} == {
        "untrained": 480,
        "pixels": 1200,
        "geometry": 9,
    }
    assert all(table.select(list(schemas.KEY)).equals(keys) for table in rows.values())
    untrained = found["untrained", "crop"].config
    advanced = untrained["advanced"]
    assert isinstance(advanced, dict)
    assert advanced["untrained_seed"] == seed_for(study.seed, "untrained", "weights")
    assert untrained["backbone"] == study.finetune.backbone
    assert sorted(stages.search(study).facts) == [
        *("geometry-track-single", "geometry-track-window", "pixels-crop-single", "pixels-crop-window"),
        *("untrained-crop-single", "untrained-crop-window"),
    ]
    with pytest.raises(ConfigError, match=r"no embeddings, expected at least one of embed/\{frozen-crop, .*masked\}"):
        stages.search(dataclasses.replace(study, baselines=False))


def test_every_allowed_choice_of_embed_names_its_encoder(study: StudyConfig) -> None:
    for name, view in (("pixels", "frame"), ("geometry", "track"), ("guided", "masked"), ("untrained", "crop")):
        embed = dataclasses.replace(study.embed, backbone=name, view=view)  # type: ignore[arg-type]
        assert encoder_name(dataclasses.replace(study, embed=embed)) == name
    assert encoder_name(study) == "frozen"
    other = dataclasses.replace(study, embed=dataclasses.replace(study.embed, backbone="facebook/dinov2-small"))
    with pytest.raises(
        ConfigError, match=r"got 'facebook/dinov2-small', expected frozen, unguided, guided, untrained, pixels"
    ):
        encoder_name(other)


def test_predicting_with_a_variant_that_was_not_searched_is_refused(study: StudyConfig) -> None:
    stages.crop(study)
    stages.embed(study, [("frozen", "crop")])
    stages.search(study)
    wrong = dataclasses.replace(study, predict=dataclasses.replace(study.predict, variant="frozen-crop-wide"))
    with pytest.raises(
        ConfigError, match=r"predict\.variant: got 'frozen-crop-wide', .* has \['frozen-crop-single', 'fr"
    ):
        stages.predict(wrong)
    assert not storage.find(f"{study.out}/predict")
