"""Ray Train takes the steps of fine-tuning on n data-parallel workers.

The loop is plain torch (`sheep/finetune/loop.py`) and meets Ray through three callables: the mean over workers, the report,
and the checkpoint. A worker that dies costs the steps since the last checkpoint; the same run started again goes on from it.
Checkpoints go to storage in the background, while the steps go on.
"""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.fs
import ray.train
import ray.train.torch
import torch
import torch.distributed
from ray.train import Checkpoint, CheckpointConfig, CheckpointUploadMode, FailureConfig, RunConfig, ScalingConfig

from sheep import log, storage
from sheep.config import ClusterConfig, digest, fixed
from sheep.errors import ConfigError, ContractError
from sheep.training import FinetuneJob, Fit, show
from sheep.units import local_path

SAVE_EVERY = 100
_MAX_FAILURES = 3
_COLLECTIVE_TIMEOUT_S = 300
_REFUSALS: dict[str, type[Exception]] = {"ConfigError": ConfigError, "ContractError": ContractError}


def fit_over(cluster: ClusterConfig, save_every: int = SAVE_EVERY) -> Fit:
    """Return a `Fit` that trains on `config.workers` Ray Train workers, or as few as `config.min_workers` where no more are to be had.

    Args:
        cluster: CPUs and GPUs of each worker.
        save_every: steps between checkpoints, which is what a death costs at most; >= 1.
    """

    def fit_on_ray(job: FinetuneJob) -> None:
        most, least = job.config.workers, job.config.min_workers
        home = _home(job)
        _check_writable(home)
        storage.remove(_refusal(job))
        fs, path = storage.filesystem(home)
        trainer = ray.train.torch.TorchTrainer(
            _loop,
            train_loop_config={"job": job, "save_every": save_every},
            torch_config=ray.train.torch.TorchConfig(timeout_s=_COLLECTIVE_TIMEOUT_S),
            scaling_config=ScalingConfig(
                num_workers=(least, most) if 0 < least < most else most,
                use_gpu=cluster.gpus > 0,
                resources_per_worker={"CPU": cluster.cpus, **({"GPU": cluster.gpus} if cluster.gpus else {})},
            ),
            run_config=RunConfig(
                name=_name(job),
                storage_path=path,
                storage_filesystem=pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(fs)),
                failure_config=FailureConfig(max_failures=_MAX_FAILURES),
                checkpoint_config=CheckpointConfig(num_to_keep=2),
            ),
        )
        try:
            trainer.fit()
        except ray.train.TrainingFailedError as error:
            raise ContractError(
                f"finetune: Ray Train gave up after {_MAX_FAILURES} restarts, expected workers and {home} to hold out. The last error: "
                f"{str(error)[-2000:]}. Look at the workers' memory and the storage; the same run started again goes on from its last checkpoint."
            ) from error
        if storage.exists(_refusal(job)):
            refused = json.loads(storage.read_bytes(_refusal(job)))
            raise _REFUSALS[refused["error"]](refused["reason"])

    return fit_on_ray


def _check_writable(home: str) -> None:
    """Find refused storage here, not at the first checkpoint after an hour."""
    trial = storage.join(home, "_writable")
    try:
        storage.write_bytes(trial, b"")
    except OSError as error:
        raise ConfigError(
            f"{home}: cannot be written ({error}), expected room and leave for checkpoints. Correct the study's out, or free space there."
        ) from error
    storage.remove(trial)


def _home(job: FinetuneJob) -> str:
    """Where Ray Train keeps its own: beside the backbone's folder."""
    return job.out.rsplit("/", 1)[0] + "/_train"


def _name(job: FinetuneJob) -> str:
    return digest([fixed(job.config), job.seed, job.identity])


def _refusal(job: FinetuneJob) -> str:
    return storage.join(_home(job), f"{_name(job)}-refused.json")


def _loop(settings: dict[str, Any]) -> None:
    job: FinetuneJob = settings["job"]
    if storage.exists(_refusal(job)):
        return  # started again after an error that trying again does not mend: the driver tells
    with _refusing(job):
        _train(job, settings["save_every"])


@contextlib.contextmanager
def _refusing(job: FinetuneJob) -> Iterator[None]:
    """Write our own errors down before Ray wraps them: a message that a person can read comes back as it was.

    It is raised all the same, so that the other workers do not wait for this one.
    """
    try:
        yield
    except (ConfigError, ContractError) as error:
        refused = {"error": type(error).__name__, "reason": str(error)}
        storage.write_bytes(_refusal(job), json.dumps(refused).encode())
        raise


def _train(job: FinetuneJob, save_every: int) -> None:
    from sheep.finetune.loop import fit  # the driver and Train's controller take no steps

    log.setup()
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    resumed = ray.train.get_checkpoint()
    saved: list[str] = []

    def save(folder: str) -> None:
        # Out of the folder that is removed at the end: Ray deletes it when it has been uploaded.
        saved.append(tempfile.mkdtemp(prefix="sheep-checkpoint-"))
        os.replace(folder, saved[-1])

    def report(measures: dict[str, float]) -> None:
        if rank == 0:
            show(measures)
        if int(measures["step"]) % save_every == 0:  # every rank reports at the same steps, rank 0 with the state
            ray.train.report(
                dict(measures),
                checkpoint=Checkpoint.from_directory(saved.pop()) if saved else None,
                checkpoint_upload_mode=CheckpointUploadMode.ASYNC,
            )

    with tempfile.TemporaryDirectory(prefix="sheep-") as folder, local_path(job.config.backbone, "backbone") as start:
        resume_dir = None
        if resumed is not None:
            resume_dir = str(Path(folder) / "resume")
            resumed.to_directory(resume_dir)
        out = Path(folder) / "out"
        out.mkdir()
        fit(
            job.images(),
            start,
            job.config,
            job.seed,
            str(out),
            guard=job.guard_frames() if rank == 0 else None,
            rank=rank,
            world=world,
            all_reduce=_mean,
            report=report,
            save=save,
            save_every=save_every,
            resume_dir=resume_dir,
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
