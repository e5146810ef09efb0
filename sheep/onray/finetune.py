"""Ray Train takes the steps of fine-tuning on n data-parallel workers.

The loop is plain torch (`sheep/finetune/loop.py`) and meets Ray through three callables: the mean over workers, the report,
and the checkpoint. A worker that dies costs the steps since the last checkpoint; the same run started again goes on from it.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.fs
import ray.train
import ray.train.torch
import torch
import torch.distributed
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig

from sheep import log, storage
from sheep.config import ClusterConfig, digest, to_json
from sheep.training import FinetuneJob, Fit, show
from sheep.units import local_path

SAVE_EVERY = 100
_MAX_FAILURES = 3
_COLLECTIVE_TIMEOUT_S = 300


def fit_over(cluster: ClusterConfig) -> Fit:
    """Return a `Fit` that trains on `config.workers` Ray Train workers."""

    def fit_on_ray(job: FinetuneJob) -> None:
        fs, path = storage.filesystem(job.out.rsplit("/", 1)[0] + "/_train")
        fs.makedirs(path, exist_ok=True)
        name = digest([to_json(job.config), job.seed, job.identity])
        trainer = ray.train.torch.TorchTrainer(
            _loop,
            train_loop_config={"job": job},
            torch_config=ray.train.torch.TorchConfig(timeout_s=_COLLECTIVE_TIMEOUT_S),
            scaling_config=ScalingConfig(
                num_workers=job.config.workers,
                use_gpu=cluster.gpus > 0,
                resources_per_worker={"CPU": cluster.cpus, **({"GPU": cluster.gpus} if cluster.gpus else {})},
            ),
            run_config=RunConfig(
                name=name,
                storage_path=path,
                storage_filesystem=pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(fs)),
                failure_config=FailureConfig(max_failures=_MAX_FAILURES),
                checkpoint_config=CheckpointConfig(num_to_keep=2),
            ),
        )
        trainer.fit()

    return fit_on_ray


def _loop(settings: dict[str, Any]) -> None:
    from sheep.finetune.loop import fit  # the driver and Train's controller take no steps

    log.setup()
    job: FinetuneJob = settings["job"]
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    resumed = ray.train.get_checkpoint()
    saved: list[str] = []

    def report(measures: dict[str, float]) -> None:
        if rank == 0:
            show(measures)
        step = int(measures["step"])
        if (
            step % SAVE_EVERY == 0 or step == job.config.steps
        ):  # every rank reports at the same steps, rank 0 with the state
            checkpoint = Checkpoint.from_directory(saved.pop()) if saved else None
            ray.train.report(dict(measures), checkpoint=checkpoint)

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
            rank=rank,
            world=world,
            all_reduce=_mean,
            report=report,
            save=saved.append,
            save_every=SAVE_EVERY,
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
