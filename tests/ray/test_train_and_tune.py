"""Ray Train and Ray Tune reach what one process reaches."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sheep import serial, training
from sheep.arms import Trial
from sheep.backbone import load
from sheep.config import ClusterConfig, ProbeConfig, StudyConfig, WindowConfig
from sheep.ledger import read_manifest
from sheep.onray.finetune import fit_over
from sheep.onray.search import judge_over
from sheep.search import Candidate, ProbeData, inner_scores, together
from sheep.serial import Way

pytestmark = pytest.mark.usefixtures("ray_local")


def weights(config: StudyConfig) -> dict[str, np.ndarray]:
    model = load(training.backbone_uri(f"{config.out}/finetune/guided")).model
    return {name: value.numpy() for name, value in model.state_dict().items()}


def test_two_train_workers_reach_the_weights_of_one_process(tiny_study: StudyConfig, tmp_path: Path) -> None:
    settings = replace(tiny_study.finetune, steps=4, head_steps=1, batch_size=8, learning_rate=1e-2)
    alone = replace(tiny_study, out=str(tmp_path / "alone"), finetune=settings)
    serial.crop(alone)
    serial.finetune(alone, "crop")
    both = replace(alone, out=str(tmp_path / "alone"), finetune=replace(settings, workers=2))
    crop = f"{alone.out}/crop"
    together = replace(both, out=str(tmp_path / "together"))
    (tmp_path / "together").mkdir()
    (tmp_path / "together" / "crop").symlink_to(crop)
    way = Way(fit=fit_over(ClusterConfig(cpus=0.5)))
    serial.finetune(together, "crop", way)
    losses = [[step["loss"] for step in curve(config)] for config in (alone, together)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
    one, two = weights(alone), weights(together)
    start = {name: value.numpy() for name, value in load("pocket").model.state_dict().items()}
    assert apart(one, two) < 0.02 * apart(one, start)


def curve(config: StudyConfig) -> list[dict[str, float]]:
    return training.read_curve(read_manifest(f"{config.out}/finetune/guided"))


def apart(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    """Euclidean distance of two sets of weights."""
    assert one.keys() == other.keys()
    return float(np.sqrt(sum(np.sum((one[name] - other[name]) ** 2) for name in one)))


def test_tune_gives_every_trial_its_own_scores() -> None:
    rng = np.random.default_rng(0)
    rows = 240
    animals = np.repeat([f"a{i}" for i in range(6)], rows // 6)
    targets = (rng.random((rows, 6)) < 0.4).astype(float)
    vectors = rng.normal(size=(rows, 8)).astype(np.float32)
    vectors[:, :6] += targets
    data = {
        "x": ProbeData(
            embeddings=vectors,
            time_s=np.tile(np.arange(rows // 6) / 5, 6),
            videos=[f"{animal}.mp4" for animal in animals],
            animals=animals.tolist(),
            frames=np.tile(np.arange(rows // 6), 6),
            targets=targets,
        )
    }
    folds = np.repeat([0, 1, 2], rows // 3)
    candidates = [
        Candidate(WindowConfig(half_width_s=h), ProbeConfig(inverse_l2=c)) for h in (0.0, 0.4) for c in (0.01, 1.0)
    ]
    trials = [Trial("arm", "x", one) for one in together(candidates)]
    assert [len(trial.candidates) for trial in trials] == [2, 2]
    found = judge_over(ClusterConfig(cpus=0.5))(data, folds, trials, 7)
    for trial, scores in zip(trials, found, strict=True):
        np.testing.assert_allclose(scores, inner_scores(trial.candidates, data["x"], folds, seed=7), rtol=1e-9)
