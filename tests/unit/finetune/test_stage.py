"""Validation animals are drawn evenly and are in no batch, fold or score; a job reads what its configuration needs."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from sheep import schemas
from sheep.check.inspect import require
from sheep.config import ArchiveConfig, FinetuneConfig, StudyConfig
from sheep.crop.codec import to_jpeg, to_rle
from sheep.errors import ConfigError, ContractError
from sheep.execution.local import LOCAL
from sheep.finetune import stage as finetune_stage
from sheep.finetune import trainer
from sheep.finetune.job import FinetuneJob, ValidationRow
from sheep.finetune.stage import validation_rows
from sheep.inputs import StudyInputs, choose_validation
from sheep.io.ledger import open_stage
from sheep.io.manifest import Manifest, read_manifest
from sheep.models.weights import backbone_uri, weights_identity
from sheep.study import Study
from sheep.synthetic.archive import MeadowConfig, write_archive
from sheep.synthetic.behaviour import LABELS
from sheep.synthetic.scene import SceneConfig
from tests import stages
from tests.unit.finetune.settings import changed


def cohort_of(groups: dict[str, str]) -> pa.Table:
    """Return a cohort of these animals and groups, each animal in a video of its name."""
    return pa.Table.from_pylist(
        [{"video": f"{name}.mp4", "animal": name, "group": group} for name, group in groups.items()],
        schema=schemas.COHORT,
    )


def test_validation_animals_are_drawn_evenly_over_groups_and_by_seed() -> None:
    cohort = cohort_of({name: "x" if name in "abcdef" else "y" for name in "abcdefgh"})
    config = FinetuneConfig(validation_animals=4)
    for seed in range(8):
        drawn = choose_validation("abcdefgh", cohort, config, seed)
        assert len(set(drawn)) == 4
        assert {"g", "h"} < set(drawn)  # two of each group
    assert len({tuple(choose_validation("abcdefgh", cohort, config, seed)) for seed in range(8)}) > 2
    assert choose_validation("abcdefgh", cohort, config, 3) == choose_validation("abcdefgh", cohort, config, 3)
    assert choose_validation("abcdefgh", cohort, FinetuneConfig(), 3) == []
    with pytest.raises(ConfigError, match="at most the 2 annotated animals"):
        choose_validation("ab", cohort_of({"a": "x", "b": "x", "c": "y"}), config, 0)


def test_validation_rows_are_scored_and_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetune_stage, "MAX_VALIDATION_FRAMES", 6)
    rows = [
        {"video": "v", "animal": animal, "frame": frame, "time_s": frame / 5, **dict.fromkeys(LABELS)}
        | ({"lying": int(animal == "a")} if frame % 2 == 0 else {})
        for animal in "abc"
        for frame in range(10)
    ]
    found = validation_rows(pa.Table.from_pylist(rows, schema=schemas.label_frames(LABELS)), ["a", "b"])
    assert [(row.animal, row.frame) for row in found] == [(animal, frame) for animal in "ab" for frame in (0, 4, 8)]
    assert found[0].targets == (None, 1.0, None, None, None, None)
    assert found[3].targets == (None, 0.0, None, None, None, None)


@pytest.fixture
def study(tiny_study: StudyConfig, tmp_path: Path) -> StudyConfig:
    """Configure six annotated animals, two of which are validation animals."""
    scene = SceneConfig(height_px=96, width_px=128, num_frames=16, num_others=(0, 1))
    root = str(tmp_path / "archive")
    write_archive(MeadowConfig(seed=8, num_animals=6, videos_per_animal=1, num_annotated=6, scene=scene), root)
    settings = dataclasses.replace(tiny_study.finetune, validation_animals=2, validate_every=1, steps=3, head_steps=1)
    archive = ArchiveConfig(root=root)
    return dataclasses.replace(tiny_study, out=str(tmp_path / "out"), archive=archive, finetune=settings)


@pytest.mark.usefixtures("still_tracker")
def test_validation_animals_are_neither_trained_on_nor_scored_but_predicted(study: StudyConfig) -> None:
    require(Study(study))
    cropped = stages.crop(study)
    found = StudyInputs(study)
    validation = list(found.validation)
    others = list(found.roles(cropped).scored)
    jobs: list[FinetuneJob] = []

    def record_and_train(job: FinetuneJob) -> None:
        jobs.append(job)
        LOCAL.train(job)

    tuned = stages.finetune(study, "crop", stages.Replaced(training=record_and_train))
    assert jobs[0].videos == tuple(
        f"{name}_1.mp4" for name in others
    )  # transductive, except for the validation animals
    assert {row.animal for row in jobs[0].validation} == set(validation)
    selection, training = finetune_stage.read_selection(read_manifest(tuned.uri)), finetune_stage.read_training(tuned)
    assert training.validation is not None
    assert selection == training.validation.selection
    assert selection.animals == tuple(validation)
    stages.embed(study, [("pixels", "crop")])
    searched = stages.search(study)
    assert set(searched.read("oof").column("animal").to_pylist()) == set(others)
    variant = "pixels-crop-single"
    assert sorted(searched.facts[variant]["probes"]["fold_of"]) == others
    config = dataclasses.replace(study, predict=dataclasses.replace(study.predict, variant=variant))
    rows = stages.predict(config).read("predictions")
    folds = dict(zip(rows.column("animal").to_pylist(), rows.column("fold").to_pylist(), strict=True))
    assert sorted(name for name, fold in folds.items() if fold == -1) == validation
    assert len(folds) == len(cropped.entries) == 6


def test_too_few_animals_for_validation_and_folds_are_refused_at_once(study: StudyConfig) -> None:
    settings = dataclasses.replace(study.finetune, validation_animals=4)
    with pytest.raises(
        ConfigError,
        match=r"6 annotated animals, .* at least 7: .* search\.num_folds = 3 and finetune\.validation_animals = 4",
    ):
        require(Study(dataclasses.replace(study, finetune=settings)))


def crops_of(folder: Path, held: bool = False, image: bytes | None = None) -> str:
    """Write a finished crop stage: two videos of one animal each, with four frames."""
    uri = str(folder / "crop")
    stage = open_stage(uri, "crop", FinetuneConfig(), {})
    jpeg = image or to_jpeg(np.full((40, 40, 3), 90, np.uint8), 90)
    mask = to_rle(np.ones((40, 40), bool))
    for name in "ab":
        attempt = stage.attempt(f"{name}.mp4", "x")
        values = {"crop": jpeg, "crop_mask": mask, "frame_image": jpeg, "held": held}
        rows = [
            {
                "video": f"{name}.mp4",
                "animal": name,
                "frame": frame,
                "time_s": frame / 5,
                "crop_x0": 0.0,
                "crop_y0": 0.0,
            }
            | {"crop_side_px": 40.0, **values}
            for frame in range(4)
        ]
        attempt.write("crops", pa.Table.from_pylist(rows, schema=schemas.CROPS), schemas.CROPS)
        attempt.commit()
    stage.finish({f"{name}.mp4": "x" for name in "ab"})
    return uri


def job(source: str, **settings: object) -> FinetuneJob:
    tiny = FinetuneConfig(steps=1, head_steps=0, batch_size=2, global_px=32, local_px=16, device="cpu")
    config = changed(tiny, **settings)
    rows = [
        ValidationRow(video=f"{n}.mp4", animal=n, frame=f, targets=(float(f % 2), *[None] * 5))
        for n in "ab"
        for f in (0, 3)
    ]
    return FinetuneJob(
        source=source, videos=("a.mp4", "b.mp4"), config=config, seed=0, identity="", out=f"{source}-tuned",
        validation=tuple(rows) if config.validation_animals else (),
    )  # fmt: skip


def test_the_job_reads_its_validation_frames(tmp_path: Path) -> None:
    frames = job(crops_of(tmp_path), validation_animals=2).validation_frames()
    assert frames is not None
    assert list(frames.images.animals) == ["a", "a", "b", "b"]
    np.testing.assert_array_equal(frames.targets[:, 0], [0, 1, 0, 1])
    assert np.isnan(frames.targets[:, 1:]).all()
    assert job(crops_of(tmp_path)).validation_frames() is None


def test_no_images_to_train_on_are_refused(tmp_path: Path) -> None:
    source = crops_of(tmp_path, held=True)
    with pytest.raises(ConfigError, match="of 8 images of 2 videos none remains to train on"):
        job(source).images()
    assert len(job(source, view="frame").images().jpegs) == 8  # whole frames need no visible animal
    with pytest.raises(ConfigError, match=r"finetune\.validation_animals: 0 animals \(\) have labelled frames"):
        job(source, validation_animals=2).validation_frames()
    with pytest.raises(ConfigError, match="validation_animals: got 2 with 0 labelled frames of validation animals"):
        finetune_stage.finetune(
            read_manifest(source), [], FinetuneConfig(validation_animals=2), str(tmp_path / "o"), seed=0
        )


def test_a_broken_image_stops_the_job(tmp_path: Path) -> None:
    whole = to_jpeg(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8), 90)
    with pytest.raises(ContractError, match=r"stored JPEG is broken .* Run the crop stage again"):
        LOCAL.train(job(crops_of(tmp_path, image=whole[: len(whole) // 2])))


@pytest.mark.usefixtures("one_thread")
def test_repeating_the_same_training_makes_no_later_stage_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wall time is recorded, but it is not part of the identity."""
    crops = read_manifest(crops_of(tmp_path))
    config = changed(job(crops.uri).config, validate_every=0)

    def train(name: str, seed: int) -> tuple[Manifest, str]:
        clock = iter([0.0, 60.0 if name == "two" else 5.0])
        monkeypatch.setattr(trainer, "time", SimpleNamespace(monotonic=lambda: next(clock)))
        made = finetune_stage.finetune(crops, ["a.mp4", "b.mp4"], config, str(tmp_path / name), seed=seed)
        return made, weights_identity(backbone_uri(made.uri), "pocket_dinov2")

    (one, weights), (two, same_weights), (other, other_weights) = train("one", 0), train("two", 0), train("other", 1)
    assert [finetune_stage.read_training(made).seconds for made in (one, two)] == [5.0, 60.0]
    assert two.content() == one.content() != other.content()
    assert same_weights == weights != other_weights  # what embedding requests
    assert one.facts["weights"] == weights
    assert finetune_stage.read_selection(one) is None


def test_a_stage_without_its_record_is_refused(tmp_path: Path) -> None:
    crops = read_manifest(crops_of(tmp_path))
    config = changed(job(crops.uri).config, validate_every=0)
    made = finetune_stage.finetune(crops, ["a.mp4", "b.mp4"], config, str(tmp_path / "out"), seed=0)
    again = finetune_stage.finetune(crops, ["a.mp4", "b.mp4"], config, str(tmp_path / "out"), seed=0)
    assert again == made  # already finished
    Path(backbone_uri(made.uri), "training.json").unlink()
    with pytest.raises(ConfigError, match=r"training\.json: missing, expected the record of a training"):
        finetune_stage.read_training(made)
