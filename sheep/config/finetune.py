"""How a backbone is fine-tuned."""

from dataclasses import dataclass
from typing import Literal, get_args

from sheep.config.ground import check

LearntView = Literal["crop", "frame"]
"""What fine-tuning learns from."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneConfig:
    """Stored images -> a backbone fine-tuned by self-distillation (DINO + iBOT + KoLeo)."""

    backbone: str = "pocket"
    """Where it starts: `pocket`, a Hugging Face id (`facebook/dinov2-small`) or a `save_pretrained` folder."""
    view: LearntView = "crop"
    """What it learns from: `crop` is guided by SAM-2, `frame` is the unguided control."""
    steps: int = 200
    """Optimiser steps in all; >= 1."""
    head_steps: int = 40
    """First steps that train the new heads only, with the backbone frozen; 0 to steps."""
    batch_size: int = 32
    """Images per step over all workers; >= 2."""
    global_px: int = 64
    """Side of the two global crops; a multiple of the patch size."""
    local_px: int = 32
    """Side of the local crops; a multiple of the patch size."""
    num_local: int = 2
    """Local crops per image; >= 0."""
    learning_rate: float = 2e-4
    """Peak AdamW learning rate of the last block; > 0."""
    head_learning_rate: float = 1e-3
    """Peak AdamW learning rate of the new heads; > 0."""
    layer_decay: float = 0.8
    """Factor on the learning rate for each block further from the output; 0 to 1."""
    weight_decay: float = 0.04
    """AdamW weight decay of matrices; >= 0."""
    teacher_momentum: float = 0.99
    """EMA momentum at the first step; rises to 1 on a cosine; 0 to 1."""
    teacher_temperature: float = 0.05
    """Softmax temperature of the teacher; > 0."""
    num_prototypes: int = 256
    """Outputs of the DINO and iBOT heads; >= 2."""
    mask_frac: float = 0.3
    """Share of patches hidden from the student in half of the global crops; 0 to 0.9."""
    koleo_weight: float = 0.1
    """Weight of the KoLeo term; >= 0."""
    silhouette_weight: float = 0.0
    """Weight of the silhouette term: the class token must tell the outline that SAM-2 drew; >= 0. Crops only."""
    clip_norm: float = 3.0
    """Gradient norm bound; > 0."""
    workers: int = 1
    """Data-parallel workers of the Ray Train job; >= 1."""
    device: str = "auto"
    """`auto`, `cpu` or `cuda`."""

    def __post_init__(self) -> None:
        check(self.view in get_args(LearntView), "finetune.view", self.view, " or ".join(get_args(LearntView)))
        check(self.steps >= 1, "finetune.steps", self.steps, ">= 1")
        check(0 <= self.head_steps <= self.steps, "finetune.head_steps", self.head_steps, f"0 to steps ({self.steps})")
        check(self.workers >= 1, "finetune.workers", self.workers, ">= 1")
        check(
            self.batch_size >= 2 and self.batch_size % self.workers == 0,
            "finetune.batch_size",
            self.batch_size,
            f">= 2 and a multiple of workers ({self.workers})",
        )
        check(self.num_local >= 0, "finetune.num_local", self.num_local, ">= 0")
        for name in ("learning_rate", "head_learning_rate", "clip_norm", "global_px", "local_px"):
            check(getattr(self, name) > 0, f"finetune.{name}", getattr(self, name), "> 0")
        for name in ("weight_decay", "koleo_weight", "silhouette_weight"):
            check(getattr(self, name) >= 0, f"finetune.{name}", getattr(self, name), ">= 0")
        check(0 < self.layer_decay <= 1, "finetune.layer_decay", self.layer_decay, "0 to 1")
        check(0 < self.teacher_momentum < 1, "finetune.teacher_momentum", self.teacher_momentum, "0 to 1")
        check(self.teacher_temperature > 0, "finetune.teacher_temperature", self.teacher_temperature, "> 0")
        check(self.num_prototypes >= 2, "finetune.num_prototypes", self.num_prototypes, ">= 2")
        check(0 <= self.mask_frac <= 0.9, "finetune.mask_frac", self.mask_frac, "0 to 0.9")
