"""Ray Train and Ray Tune reach what one process reaches."""

import json
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sheep.config import ClusterConfig, ProbeConfig, StudyConfig, WindowConfig
from sheep.errors import ConfigError, ContractError
from sheep.execution.local import LOCAL
from sheep.execution.ray.executor import RayExecutor
from sheep.finetune import stage as finetune_stage
from sheep.finetune.dataset import Images
from sheep.finetune.job import FinetuneJob
from sheep.io.manifest import Manifest, read_manifest
from sheep.models.dinov2 import load
from sheep.search.nested_cv import Candidate, ProbeData, inner_scores, together
from sheep.search.stage import SearchData, Trial, score_trial
from tests import stages

pytestmark = pytest.mark.usefixtures("ray_local")


@pytest.fixture(scope="module")
def cropped(tiny_study: StudyConfig, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return stages.crop(replace(tiny_study, out=str(tmp_path_factory.mktemp("cropped"))))


def weights(config: StudyConfig) -> dict[str, np.ndarray]:
    model = load(finetune_stage.backbone_uri(f"{config.out}/finetune/guided")).model
    return {name: value.numpy() for name, value in model.state_dict().items()}


def test_two_train_workers_reach_the_weights_of_one_process(
    tiny_study: StudyConfig, cropped: Manifest, tmp_path: Path
) -> None:
    # Two of the four annotated animals guard. With this seed and rate the guard keeps step 2, by a margin that rounding
    # does not reach: with most others these few steps are worse than the start, and there would be nothing to compare.
    settings = replace(
        tiny_study.finetune,
        steps=4, head_steps=1, batch_size=8, learning_rate=5e-3, guard_every=1, guard_animals=2, teacher_momentum=0.9,
    )  # fmt: skip
    alone = replace(tiny_study, seed=1, out=str(tmp_path / "alone"), finetune=settings)
    together = replace(alone, out=str(tmp_path / "together"), finetune=replace(settings, workers=2))
    for config in (alone, together):
        Path(config.out).mkdir()
        Path(config.out, "crop").symlink_to(cropped.uri)
    stages.finetune(alone, "crop")
    stages.finetune(together, "crop", RayExecutor(ClusterConfig(cpus=0.5)))
    losses = [[step["loss"] for step in curve(config)] for config in (alone, together)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
    one, two = weights(alone), weights(together)
    start = {name: value.numpy() for name, value in load("pocket").model.state_dict().items()}
    assert apart(one, start) > 0  # else there would be nothing to compare
    assert apart(one, two) < 0.02 * apart(one, start)
    guards = [finetune_stage.read_guard(read_manifest(f"{config.out}/finetune/guided")) for config in (alone, together)]
    assert [guard["animals"] for guard in guards] == [guards[0]["animals"]] * 2
    assert len(guards[0]["animals"]) == 2
    assert guards[1]["weights_step"] == guards[0]["weights_step"]
    for name in ("rank_me", "teacher_entropy", "target_std", "score"):
        first, second = ([row[name] for row in guard["history"]] for guard in guards)
        np.testing.assert_allclose(second, first, rtol=2e-2, err_msg=name)


def wait_for_checkpoint(folder: Path) -> None:
    """Until Train has taken note of one: only from such a one it goes on."""
    for _ in range(300):
        if any("checkpoint_2" in path.read_text() for path in folder.rglob("checkpoint_manager_snapshot.json")):
            return
        time.sleep(0.1)


@dataclass(frozen=True, kw_only=True, slots=True)
class InterruptedOnce(FinetuneJob):
    """The worker whose batch is the seventh one drawn ends, after a checkpoint: killed, or for good as when a person
    cancels the job."""

    mark: str = ""
    """A file that is there from then on; beside it one for each batch that a process drew, and `-on` when the next run
    may go on."""
    is_killed: bool = True

    def images(self) -> Images:
        images = FinetuneJob.images(self)
        mark, decoded, is_killed = Path(self.mark), images.decoded, self.is_killed

        class Ending:
            def __init__(self, max_px: int) -> None:
                self.pixels, self.taken = decoded(max_px), 0

            def take(self, rows: np.ndarray) -> torch.Tensor:
                self.taken += 1
                Path(f"{mark}-{os.getpid()}-{self.taken}").touch()
                if self.taken == 7 and not mark.exists():
                    wait_for_checkpoint(mark.parent)  # steps take milliseconds here, less than an upload
                    mark.touch()
                    if is_killed:
                        os.kill(os.getpid(), signal.SIGKILL)
                if mark.exists() and not is_killed and not Path(f"{mark}-on").exists():
                    raise ContractError("stopped by the test")
                return self.pixels.take(rows)

        object.__setattr__(images, "decoded", Ending)
        return images


def test_a_killed_worker_leaves_the_result_as_it_was(
    tiny_study: StudyConfig, cropped: Manifest, tmp_path: Path
) -> None:
    config = replace(tiny_study.finetune, steps=8, head_steps=1, learning_rate=1e-2, guard_every=2)

    def train(name: str, kind: type[FinetuneJob], **more: str) -> dict[str, np.ndarray]:
        out = str(tmp_path / name / "backbone")
        videos = tuple(entry.key for entry in cropped.entries)
        job = kind(source=cropped.uri, videos=videos, config=config, seed=3, identity="", out=out, **more)
        if name == "alone":
            LOCAL.train(job)
        else:
            RayExecutor(ClusterConfig(cpus=0.5), save_every=2).train(job)
        return {name: value.numpy() for name, value in load(out).model.state_dict().items()}

    whole = train("alone", FinetuneJob)
    killed = train("killed", InterruptedOnce, mark=str(tmp_path / "mark"))
    assert (tmp_path / "mark").exists()
    for name, value in whole.items():
        np.testing.assert_array_equal(killed[name], value, err_msg=name)
    one, two = (
        json.loads((tmp_path / name / "backbone" / "training.json").read_text()) for name in ("alone", "killed")
    )
    assert two["curve"] == one["curve"]
    assert two["guard"] == one["guard"]
    takes = Counter(path.name.split("-")[1] for path in tmp_path.glob("mark-*"))
    assert len(takes) == 2
    assert (
        max(takes.values()) <= 8
    )  # at first the data's check, the guard's images and five steps, then at most six: it did not begin again


def test_training_goes_on_with_another_number_of_workers(
    tiny_study: StudyConfig, cropped: Manifest, tmp_path: Path
) -> None:
    config = replace(tiny_study.finetune, steps=8, head_steps=1, batch_size=8, learning_rate=1e-2, guard_every=2)
    videos = tuple(entry.key for entry in cropped.entries)

    def job(name: str, workers: int, kind: type[FinetuneJob] = FinetuneJob, **more: Any) -> FinetuneJob:
        settings = replace(config, workers=workers)
        out = str(tmp_path / name / "backbone")
        return kind(source=cropped.uri, videos=videos, config=settings, seed=3, identity="", out=out, **more)

    LOCAL.train(job("alone", 1))
    mark, train = tmp_path / "mark", RayExecutor(ClusterConfig(cpus=0.5), save_every=2).train
    with pytest.raises(ContractError, match="stopped by the test"):
        train(job("moved", 2, InterruptedOnce, mark=str(mark), is_killed=False))
    before = {path.name for path in tmp_path.glob("mark-*")}
    Path(f"{mark}-on").touch()
    train(job("moved", 1, InterruptedOnce, mark=str(mark), is_killed=False))
    one, two = (json.loads((tmp_path / name / "backbone" / "training.json").read_text()) for name in ("alone", "moved"))
    assert [step["step"] for step in two["curve"]] == list(range(1, 9))
    losses = [[step["loss"] for step in facts["curve"]] for facts in (one, two)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)
    takes = {path.name for path in tmp_path.glob("mark-*-*")} - before
    assert 0 < len(takes) <= 8  # as after a killed worker: it did not begin again


def test_our_errors_come_back_as_they_were(tiny_study: StudyConfig, cropped: Manifest, tmp_path: Path) -> None:
    """A wrong setting that only shows on the worker."""
    with pytest.raises(ConfigError, match="got 12 px, expected a multiple of the patch size"):
        RayExecutor(ClusterConfig(cpus=0.5)).train(some_job(tiny_study, cropped, tmp_path, local_px=12))


def test_fewer_workers_than_asked_for_will_do(tiny_study: StudyConfig, cropped: Manifest, tmp_path: Path) -> None:
    """Four CPUs hold one worker of three; two were asked for."""
    job = some_job(tiny_study, cropped, tmp_path, workers=2, min_workers=1)
    RayExecutor(ClusterConfig(cpus=3)).train(job)
    assert json.loads(Path(job.out, "training.json").read_text())["workers"] == 1


def some_job(study: StudyConfig, cropped: Manifest, folder: Path, **settings: int) -> FinetuneJob:
    videos = tuple(entry.key for entry in cropped.entries)
    config = replace(study.finetune, **settings)
    return FinetuneJob(
        source=cropped.uri, videos=videos, config=config, seed=3, identity="", out=str(folder / "backbone")
    )


def curve(config: StudyConfig) -> list[dict[str, float]]:
    return finetune_stage.read_curve(read_manifest(f"{config.out}/finetune/guided"))


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
    trials = [Trial("variant", "x", one) for one in together(candidates)]
    assert [len(trial.candidates) for trial in trials] == [2, 2]
    found = RayExecutor(ClusterConfig(cpus=0.5)).run_trials(score_trial, trials, SearchData(data, folds, 7))
    for trial, scores in zip(trials, found, strict=True):
        np.testing.assert_allclose(scores, inner_scores(trial.candidates, data["x"], folds, seed=7), rtol=1e-9)


def test_storage_that_refuses_is_found_before_training(
    tiny_study: StudyConfig, cropped: Manifest, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    job = replace(some_job(tiny_study, cropped, tmp_path), out=str(tmp_path / "file" / "backbone"))
    with pytest.raises(
        ConfigError, match=r"file/_train: cannot be written .* expected free space and write permission for checkpoints"
    ):
        RayExecutor(ClusterConfig(cpus=0.5)).train(job)
