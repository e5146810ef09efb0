"""One contender of benchmarks/finetune.py in a process of its own; prints "step" after every step.

    python benchmarks/finetune_child.py <ours | bare | lightly> '<settings as JSON>'

Also run by another Python that has lightly-train and nothing of this project: imports are where they are used.
"""

import datetime
import importlib
import json
import sys
from pathlib import Path
from typing import Any


def ours(given: dict[str, Any]) -> None:
    """The loop as the finetune stage runs it, reading JPEGs, with one or several workers (torch.distributed, gloo)."""
    import tempfile

    import torch
    import torch.distributed

    from sheep.config import AdvancedFinetuneConfig, FinetuneConfig
    from sheep.finetune import dataset
    from sheep.finetune.trainer import train

    def mean(tensor: torch.Tensor) -> torch.Tensor:
        if given["world"] > 1:
            torch.distributed.all_reduce(tensor)
            tensor /= given["world"]
        return tensor

    if given["world"] > 1:
        torch.distributed.init_process_group(
            "gloo",
            init_method=f"file://{given['meeting']}",
            rank=given["rank"],
            world_size=given["world"],
            timeout=datetime.timedelta(hours=1),
        )
    # Few images would be decoded once and kept: large archives are not, and lightly-train never does.
    dataset.MEMORY_BYTES = 0
    stored = sorted(Path(given["images"]).glob("*.jpg"))
    source = dataset.Images(
        jpegs=[path.read_bytes() for path in stored],
        animals=[str(number % 4) for number in range(len(stored))],
        videos=[str(number % 8) for number in range(len(stored))],
    )
    settings = dict(given["config"])
    advanced = AdvancedFinetuneConfig(drop_path=settings.pop("drop_path"))
    config = FinetuneConfig(backbone=given["backbone"], validate_every=0, advanced=advanced, **settings)
    with tempfile.TemporaryDirectory() as out:
        train(
            source, given["backbone"], config, 0, out, rank=given["rank"], world=given["world"], all_reduce=mean,
            report=said,
        )  # fmt: skip


def bare(given: dict[str, Any]) -> None:
    """Forward and backward of the student, forward of the teacher, on prepared tensors.

    The lower limit of any recipe.
    """
    import torch
    from transformers import Dinov2Model

    config = given["config"]
    count, local = config["batch_size"], config["num_local"]
    student, teacher = (Dinov2Model.from_pretrained(given["backbone"]).eval() for _ in range(2))
    views = torch.randn(2 * count, 3, config["global_px"], config["global_px"])
    small = torch.randn(local * count, 3, config["local_px"], config["local_px"])
    while True:
        with torch.no_grad():
            teacher(views)
        total = student(views).last_hidden_state.sum()
        if local:
            total = total + student(small).last_hidden_state.sum()
        total.backward()
        student.zero_grad(set_to_none=True)
        said({})


def lightly(given: dict[str, Any]) -> None:
    """Run lightly-train's DINOv2.

    The same network, crops, batch and heads; its own augmentation, one loader process.
    """
    lightly_train = importlib.import_module("lightly_train")  # not a dependency of this project
    method = importlib.import_module("lightly_train._methods.dinov2.dinov2").DINOv2
    after_step = method.on_train_batch_end

    def hook(self: Any, *args: Any, **kwargs: Any) -> None:
        after_step(self, *args, **kwargs)
        said({})

    method.on_train_batch_end = hook
    config = given["config"]
    head = {"hidden_dim": 1536, "dino_bottleneck_dim": 256, "ibot_bottleneck_dim": 256}
    lightly_train.pretrain(
        out=given["out"],
        data=given["images"],
        model="dinov2/vits14-noreg-notpretrained",
        method="dinov2",
        epochs=10_000,
        batch_size=config["batch_size"],
        num_workers=1,
        devices=1,
        accelerator="cpu",
        precision="32-true",
        overwrite=True,
        model_args={"drop_path_rate": config["drop_path"]},
        method_args={
            **head,
            "output_dim": config["num_prototypes"],
            "ibot_separate_head": True,
            "center_method": "sinkhorn_knopp",
            "student_freeze_last_layer_steps": 0,
        },
        transform_args={
            "image_size": (config["global_px"],) * 2,
            "local_view": {"num_views": config["num_local"], "view_size": (config["local_px"],) * 2},
        },
        callbacks={"model_checkpoint": None},
        loggers={"tensorboard": None},
    )


def said(measures: dict[str, float]) -> None:
    print("step", measures.get("loss", ""), flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(print(__doc__))  # by hand, or by `make bench`, which runs every file here
    {"ours": ours, "bare": bare, "lightly": lightly}[sys.argv[1]](json.loads(sys.argv[2]))
