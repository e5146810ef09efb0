"""The saved teacher never scores below the start on validation animals; collapses are detected without labels too."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sheep.config import FinetuneConfig
from sheep.errors import ConfigError, ContractError
from sheep.finetune import model_selection, record
from sheep.finetune.dataset import Arrays
from sheep.finetune.model_selection import ValidationFrames, is_sound, probe_score, rank_me, select
from sheep.finetune.record import Selection, Validation, ValidationRecord
from sheep.finetune.trainer import TrainingResult, train
from sheep.models import dinov2 as backbones
from tests.unit.finetune.settings import changed

CONFIG = FinetuneConfig(
    steps=6, head_steps=1, batch_size=4, global_px=32, local_px=16, num_local=1, num_prototypes=8, device="cpu",
    learning_rate=1e-3, validate_every=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("start")
    backbones.random(0, hidden_size=24, num_hidden_layers=2).save(folder)
    return str(folder)


def blobs(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images of bright squares on noise, high or low in the image, and whether each is high."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 120, (count, 32, 32, 3), dtype=np.uint8)
    high = np.arange(count) % 2 == 0
    for image, up in zip(pixels, high, strict=True):
        x, y = rng.integers(2, 18), rng.integers(1, 4) + (0 if up else 17)
        image[y : y + 12, x : x + 12] = (230, 220, 200)
    return pixels, high


@pytest.fixture(scope="module")
def images() -> Arrays:
    return Arrays(
        pixels=blobs(24, 0)[0], animals=[f"a{i % 3}" for i in range(24)], videos=[f"v{i % 6}" for i in range(24)]
    )


@pytest.fixture(scope="module")
def labelled() -> ValidationFrames:
    pixels, high = blobs(48, 1)
    animals = [f"g{i // 16}" for i in range(48)]
    return ValidationFrames(
        images=Arrays(pixels=pixels, animals=animals, videos=animals),
        targets=np.stack([high, ~high], axis=1).astype(float),
    )


def equal(one: str | Path, other: str | Path) -> bool:
    first, second = (load_file(Path(folder) / "model.safetensors") for folder in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def validation_of(folder: Path) -> ValidationRecord:
    """Return what the training in a folder recorded of its validations."""
    found = record.from_json((folder / "training.json").read_text(), "training.json").validation
    assert found is not None
    return found


def selection_of(folder: Path) -> Selection:
    return validation_of(folder).selection


def test_rank_me_counts_directions() -> None:
    assert rank_me(torch.eye(5)) == pytest.approx(5)
    assert rank_me(torch.ones(7, 3)) == pytest.approx(1)
    # singular values 3 and 1: shares 0.75 and 0.25
    expected = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert rank_me(torch.tensor([[3.0, 0.0, 0.0], [0.0, 1.0, 0.0]])) == pytest.approx(expected)
    assert math.isnan(rank_me(torch.tensor([[math.nan, 0.0]])))
    assert rank_me(torch.zeros(3, 2)) == pytest.approx(1)


def test_each_animal_is_predicted_by_a_probe_trained_on_the_others() -> None:
    # The first dimension separates the animals, the second their labels.
    features = torch.tensor([[1.0, 0.1], [1.0, -0.1], [0.0, 0.1], [0.0, -0.1]])
    targets = np.array([[1.0], [0.0], [1.0], [0.0]])
    assert probe_score(features, ["a", "a", "b", "b"], targets) == 1.0
    # Opposite directions in the two animals reverse all predictions; both positives tie in the last two places.
    twisted = torch.tensor([[1.0, 0.1], [1.0, -0.1], [0.0, -0.1], [0.0, 0.1]])
    assert probe_score(twisted, ["a", "a", "b", "b"], targets) == 2 / 4
    assert math.isnan(probe_score(features * math.inf, ["a", "a", "b", "b"], targets))


def test_ridge_by_hand() -> None:
    # One standardised feature z = -1, 1 with targets 0, 1: weight = sum(z t) / (sum(z z) + penalty n) = 1 / (2 + 2).
    found = model_selection._ridge(np.array([[2.0], [4.0]]), np.array([0.0, 1.0]), np.array([[5.0], [3.0]]))
    np.testing.assert_allclose(found, [0.5 + 2 / 4, 0.5])
    constant = model_selection._ridge(np.array([[2.0], [2.0]]), np.array([0.0, 1.0]), np.array([[9.0]]))
    np.testing.assert_allclose(constant, [0.5])


def test_unscored_images_are_ignored() -> None:
    features = torch.tensor([[1.0, 0.1], [1.0, -0.1], [1.0, 0.1], [1.0, -0.1], [1.0, 0.1]])
    targets = np.array([[1.0], [0.0], [1.0], [0.0], [np.nan]])
    moved = features.clone()
    moved[4] = 1e6
    for given in (features, moved):
        assert probe_score(given, ["a", "a", "b", "b", "b"], targets) == 1.0


def row(
    step: int, rank: float = 10.0, std: float = 0.1, entropy: float = 1.0, score: float | None = None
) -> Validation:
    return Validation(step=step, rank_me=rank, target_std=std, teacher_entropy=entropy, score=score)


def test_every_kind_of_collapse_is_detected() -> None:
    base, most = row(1), math.log(8)
    assert is_sound(row(2, rank=5.1, std=0.051), base, CONFIG)
    for sick in (row(2, rank=4.9), row(2, std=0.049), row(2, entropy=0.005 * most), row(2, entropy=0.995 * most)):
        assert not is_sound(sick, base, CONFIG)
    assert not is_sound(row(2, rank=math.nan), base, CONFIG)
    assert is_sound(row(2, entropy=0.995 * most), row(1, entropy=0.996 * most), CONFIG)  # same as at the start


def test_the_best_or_the_last_uncollapsed_teacher_is_selected() -> None:
    def steps(*rows: Validation) -> int:
        return rows[select(rows, CONFIG)].step

    assert steps(row(0, score=0.5), row(1, score=0.9), row(2, score=0.4)) == 0  # at step 1 only the heads are new
    assert steps(row(0, score=0.5), row(1), row(2, score=0.6), row(4, score=0.6), row(6, score=0.55)) == 2
    # A collapsed teacher may score well on few animals by chance.
    assert steps(row(0, score=0.5), row(1), row(2, score=0.6), row(4, score=0.9, rank=2.0)) == 2
    assert steps(row(0, score=0.5), row(1), row(2, score=math.nan), row(4, score=0.5)) == 0
    assert steps(row(0), row(1), row(2), row(4), row(6, rank=1.0)) == 4
    # Compared with the start after its heads were trained.
    assert steps(row(0), row(1, std=0.01), row(2, std=0.006)) == 2


WILD = changed(CONFIG, learning_rate=1.0, teacher_momentum=0.5, steps=8, validate_every=4)
"""A learning rate a thousand times too high, and a teacher of low momentum."""


@pytest.mark.parametrize("with_labels", [True, False])
def test_a_failed_training_is_rolled_back_to_its_start(
    with_labels: bool, images: Arrays, labelled: ValidationFrames, tmp_path: Path
) -> None:
    wild = changed(WILD, validation_animals=3 if with_labels else 0)
    result = train(images, "pocket", wild, 0, str(tmp_path), validation=labelled if with_labels else None)
    assert result.weights_step == 0
    assert equal(backbones.POCKET, tmp_path)
    selection = selection_of(tmp_path)
    assert selection.rolled_back
    assert selection.has_labels == with_labels
    assert selection.reason.startswith("Rolled back to step 0 of 8: ")
    assert ("Without validation animals" in selection.reason) != with_labels
    assert [one.step for one in validation_of(tmp_path).history] == [0, 1, 4, 8]
    # Without validation the same training saves its last teacher.
    train(images, "pocket", changed(WILD, validate_every=0), 0, str(tmp_path / "open"))
    assert not equal(backbones.POCKET, tmp_path / "open")


def test_the_saved_weights_score_as_recorded(
    start: str, images: Arrays, labelled: ValidationFrames, tmp_path: Path
) -> None:
    config = changed(
        CONFIG, validation_animals=3, steps=12, learning_rate=3e-3, teacher_momentum=0.8, collapse_frac=0.01
    )
    result = train(images, start, config, 0, str(tmp_path), validation=labelled)
    history = {one.step: one.score or 0.0 for one in validation_of(tmp_path).history}
    assert history[result.weights_step] == max(history.values())
    again = train(
        images,
        str(tmp_path),
        changed(CONFIG, validation_animals=3, steps=1),
        0,
        str(tmp_path / "again"),
        validation=labelled,
    )
    first = validation_of(tmp_path / "again").history[0]
    assert first.score == pytest.approx(history[result.weights_step], abs=1e-12)
    assert again.weights_step == 0
    assert selection_of(tmp_path).animals == ("g0", "g1", "g2")


def test_training_stops_early_without_gain(images: Arrays, labelled: ValidationFrames, tmp_path: Path) -> None:
    saved: list[str] = []
    wild = changed(WILD, validation_animals=3, patience=2, steps=50)
    result = train(images, "pocket", wild, 0, str(tmp_path), validation=labelled, save=saved.append, save_every=4)
    assert result.steps == 8  # validated at 4 and 8
    assert "Stopped early, after step 8 of 50: 2 consecutive validations" in selection_of(tmp_path).reason
    assert selection_of(tmp_path).stopped_early
    assert [Path(folder).name for folder in saved] == ["step-000004", "step-000008"]
    rest = train(images, "pocket", wild, 0, str(tmp_path / "rest"), validation=labelled, resume_dir=saved[1])
    assert (rest.steps, rest.last) == (8, result.last)
    assert equal(backbones.POCKET, tmp_path / "rest")


def test_resuming_keeps_history_best_teacher_and_patience(
    start: str, images: Arrays, labelled: ValidationFrames, tmp_path: Path
) -> None:
    config = changed(
        CONFIG,
        validation_animals=3,
        patience=3,
        steps=10,
        learning_rate=3e-3,
        teacher_momentum=0.8,
        collapse_frac=0.01,
    )
    saved: list[str] = []
    whole = train(images, start, config, 0, str(tmp_path / "a"), validation=labelled, save=saved.append, save_every=3)
    for folder in saved:
        rest = train(images, start, config, 0, str(tmp_path / "b"), validation=labelled, resume_dir=folder)
        assert rest.last == whole.last
        assert rest.weights_step == whole.weights_step
        assert validation_of(tmp_path / "a") == validation_of(tmp_path / "b")
        assert equal(tmp_path / "a", tmp_path / "b")


def test_validation_animals_must_fit_the_configuration(
    start: str, images: Arrays, labelled: ValidationFrames, tmp_path: Path
) -> None:
    def run(config: FinetuneConfig, frames: ValidationFrames | None) -> TrainingResult:
        return train(images, start, config, 0, str(tmp_path), validation=frames)

    with pytest.raises(ContractError, match=r"validation_animals is 3 and no labelled frames"):
        run(changed(CONFIG, validation_animals=3), None)
    with pytest.raises(ContractError, match=r"validation_animals is 0 and some labelled frames"):
        run(CONFIG, labelled)
    one = Arrays(pixels=blobs(4, 0)[0], animals=["a"] * 4, videos=["v"] * 4)
    with pytest.raises(ConfigError, match=r"finetune\.validation_animals: 1 animals \(a\) have labelled frames"):
        ValidationFrames(images=one, targets=np.eye(4)[:, :2])
    two = Arrays(pixels=blobs(4, 0)[0], animals=["a", "a", "b", "b"], videos=["v"] * 4)
    with pytest.raises(ConfigError, match="a label that holds in some frames"):
        ValidationFrames(images=two, targets=np.array([[1.0, np.nan]] * 4))
    with pytest.raises(ContractError, match="expected \\(N, L\\)"):
        ValidationFrames(images=two, targets=np.ones((3, 2)))
    with pytest.raises(ConfigError, match="validation_animals: got 1"):
        changed(CONFIG, validation_animals=1)
    with pytest.raises(ConfigError, match="validation_animals: got 2"):
        changed(CONFIG, validation_animals=2, validate_every=0)
