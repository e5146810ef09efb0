"""Ray Train trains on n data-parallel workers.

The training loop is plain torch. It reaches Ray through a `TrainingContext`: the mean over workers, the report and the
checkpoint. A worker's death costs the steps since the last checkpoint; running the same command again resumes from it.
Checkpoints are uploaded in the background while training continues.
"""

import contextlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.fs
import ray
import ray.exceptions
import ray.train
import ray.train.torch
import torch
import torch.distributed
from ray.train import Checkpoint, CheckpointConfig, CheckpointUploadMode, FailureConfig, RunConfig, ScalingConfig

from sheep.config import ClusterConfig
from sheep.errors import ConfigError, ContractError
from sheep.execution.base import TrainingContext, TrainingJob
from sheep.io import logs, storage

SAVE_EVERY = 100
_MAX_FAILURES = 3
_COLLECTIVE_TIMEOUT_S = 300
_POLL_S = 1.0
_REFUSALS: dict[str, type[Exception]] = {"ConfigError": ConfigError, "ContractError": ContractError}


@dataclass(frozen=True, kw_only=True, slots=True)
class _LoopConfig:
    """What every worker of a training gets."""

    job: TrainingJob
    save_every: int
    """Steps between checkpoints; >= 1."""
    counter: Any
    """Handle of the driver's `_Counter`."""


def run(
    job: TrainingJob, cluster: ClusterConfig, save_every: int = SAVE_EVERY, *, on_step: Callable[[int], None]
) -> None:
    """Train on the largest number of workers that the job allows and the cluster has.

    Args:
        job: what to train.
        cluster: CPUs and GPUs of each worker.
        save_every: steps between checkpoints, the most that a worker's death costs; >= 1.
        on_step: called in this process, about once a second, with the step that training has reached.

    Raises:
        ConfigError: storage cannot be written, or a worker raised it.
        ContractError: workers kept dying, or a worker raised it.
    """
    home = _home(job)
    _check_writable(home)
    storage.remove(_refusal(job))
    counter = ray.remote(num_cpus=0)(_Counter).remote()
    try:
        with _polled(counter, on_step):
            _trainer(cluster, _LoopConfig(job=job, save_every=save_every, counter=counter)).fit()
    except ray.train.TrainingFailedError as error:
        raise ContractError(
            f"finetune: Ray Train gave up after {_MAX_FAILURES} restarts, expected the workers and {home} to stay "
            f"available. The last error: {str(error)[-2000:]}. Check the workers' memory and the storage; run the same "
            "command again to resume from the last checkpoint."
        ) from error
    if storage.exists(_refusal(job)):
        refused = json.loads(storage.read_bytes(_refusal(job)))
        raise _REFUSALS[refused["error"]](refused["reason"])


def _trainer(cluster: ClusterConfig, config: _LoopConfig) -> ray.train.torch.TorchTrainer:
    """Set up the training.

    Args:
        cluster: CPUs and GPUs of each worker.
        config: sent to every worker.
    """
    job = config.job
    least, most = job.workers
    fs, path = storage.filesystem(_home(job))
    return ray.train.torch.TorchTrainer(
        _loop,
        train_loop_config={"config": config},  # Ray takes a dict only
        torch_config=ray.train.torch.TorchConfig(timeout_s=_COLLECTIVE_TIMEOUT_S),
        scaling_config=ScalingConfig(
            num_workers=(least, most) if least < most else most,
            use_gpu=cluster.gpus > 0,
            resources_per_worker={"CPU": cluster.cpus, **({"GPU": cluster.gpus} if cluster.gpus else {})},
        ),
        run_config=RunConfig(
            name=job.run_id,
            storage_path=path,
            storage_filesystem=pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(fs)),
            failure_config=FailureConfig(max_failures=_MAX_FAILURES),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
        ),
    )


class _Counter:
    """An actor that holds the current step: worker 0 writes it, the driver reads it."""

    def __init__(self) -> None:
        self._step = 0

    def reach(self, step: int) -> None:
        """Store the number of the last finished step."""
        self._step = step

    def step(self) -> int:
        """Return it; 0 before the first."""
        return self._step


@contextlib.contextmanager
def _polled(counter: Any, on_step: Callable[[int], None]) -> Iterator[None]:
    """Poll the counter once a second from a thread, since `fit` blocks the driver.

    Args:
        counter: handle of a `_Counter`.
        on_step: called with each new step.
    """
    ended = threading.Event()

    def poll() -> None:
        known = 0
        while not ended.wait(_POLL_S):
            with contextlib.suppress(ray.exceptions.RayError):  # affects the display only
                step = ray.get(counter.step.remote(), timeout=_COLLECTIVE_TIMEOUT_S)
                if step != known and not ended.is_set():
                    known = step
                    on_step(step)

    thread = threading.Thread(target=poll, name="training-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(10 * _POLL_S)


def _check_writable(home: str) -> None:
    """Write a test file, so that refused storage stops the training before it starts."""
    trial = storage.join(home, "_writable")
    try:
        storage.write_bytes(trial, b"")
    except OSError as error:
        raise ConfigError(
            f"{home}: cannot be written ({error}), expected free space and write permission for checkpoints. "
            "Correct the study's out, or free space there."
        ) from error
    storage.remove(trial)


def _home(job: TrainingJob) -> str:
    """Return the folder of Ray Train's own files, beside the backbone's folder."""
    parent, slash, name = job.out.rpartition("/")
    return f"{parent if slash else name}/_train"


def _refusal(job: TrainingJob) -> str:
    return storage.join(_home(job), f"{job.run_id}-refused.json")


def _loop(given: dict[str, _LoopConfig]) -> None:
    config = given["config"]
    job = config.job
    if storage.exists(_refusal(job)):
        return  # restarted after an error that a retry cannot fix: the driver reports it
    with _refusing(job):
        _train(job, config.save_every, config.counter)


@contextlib.contextmanager
def _refusing(job: TrainingJob) -> Iterator[None]:
    """Store our own errors before Ray wraps them, so that the driver can raise them with their original message.

    They are also raised here, so that the other workers do not wait for this one.
    """
    try:
        yield
    except (ConfigError, ContractError) as error:
        refused = {"error": type(error).__name__, "reason": str(error)}
        storage.write_bytes(_refusal(job), json.dumps(refused).encode())
        raise


def _train(job: TrainingJob, save_every: int, counter: Any) -> None:
    """Train as one of the workers.

    Args:
        job: what to train.
        save_every: steps between checkpoints.
        counter: handle of the driver's `_Counter`.
    """
    logs.setup()
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    resumed = ray.train.get_checkpoint()
    saved: list[str] = []

    def save(folder: str) -> None:
        # Moved out of the folder that is removed at the end; Ray deletes it after the upload.
        saved.append(tempfile.mkdtemp(prefix="sheep-checkpoint-"))
        os.replace(folder, saved[-1])

    def report(measures: dict[str, float]) -> None:
        if rank == 0:
            job.show(measures)
            counter.reach.remote(int(measures["step"]))
        if int(measures["step"]) % save_every == 0:  # every rank reports at the same steps, rank 0 with the state
            ray.train.report(
                dict(measures),
                checkpoint=Checkpoint.from_directory(saved.pop()) if saved else None,
                checkpoint_upload_mode=CheckpointUploadMode.ASYNC,
            )

    with tempfile.TemporaryDirectory(prefix="sheep-") as folder:
        resume_dir = None
        if resumed is not None:
            resume_dir = str(Path(folder) / "resume")
            resumed.to_directory(resume_dir)
        out = Path(folder) / "out"
        out.mkdir()
        job.train(
            TrainingContext(
                folder=str(out),
                rank=rank,
                world=world,
                all_reduce=_mean,
                report=report,
                save=save,
                save_every=save_every,
                resume_dir=resume_dir,
            )
        )
        if rank == 0:
            shutil.rmtree(out / "checkpoints", ignore_errors=True)
            storage.upload_folder(str(out), job.out)


def _mean(tensor: torch.Tensor) -> torch.Tensor:
    """Mean over workers; gloo has no such reduction, so the sum is divided."""
    if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
        torch.distributed.all_reduce(tensor)
        tensor /= torch.distributed.get_world_size()
    return tensor
