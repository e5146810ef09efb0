"""How a backbone is fine-tuned."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from sheep.config.base import FREE, check

LearntView = Literal["crop", "frame"]
"""What fine-tuning learns from."""

Background = Literal["keep", "dim", "swap"]
"""What becomes of the ground around the animal in some of the views."""

Precision = Literal["auto", "float32", "bfloat16"]
"""Numbers the networks compute in; weights, heads' last layers, losses and optimiser are float32 in any case."""


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
    """AdamW weight decay of matrices at the first step; >= 0."""
    weight_decay_end: float | None = None
    """Weight decay at the last step, reached on a cosine; >= 0. None: it stays as it is."""
    teacher_momentum: float = 0.99
    """EMA momentum at the first step; rises to 1 on a cosine; 0 to 1."""
    teacher_temperature: float = 0.05
    """Softmax temperature of the teacher; > 0."""
    teacher_temperature_start: float | None = None
    """Temperature at the first step, from which it goes to `teacher_temperature` over the first 30 % of the steps; > 0. None: no warm-up."""
    last_layer_steps: int = 0
    """First steps in which the heads' last layers stay as they are; 0 to steps."""
    drop_path: float = 0.0
    """Chance that a residual branch of the student is left out for an image (stochastic depth); 0 to 0.9."""
    num_prototypes: int = 256
    """Outputs of the DINO and iBOT heads; >= 2."""
    mask_frac: float = 0.3
    """Share of patches hidden from the student in half of the global crops; 0 to 0.9."""
    mask_inside: float = 0.0
    """Share of the hidden patches that lie on the animal, where it has as many; 0 to 1, 0 takes no notice of it. Crops only."""
    background: Background = "keep"
    """Ground around the animal in a view: `keep`, `dim` (towards grey) or `swap` (for another image's). Crops only."""
    background_share: float = 0.5
    """Share of the views whose ground is dimmed or swapped; 0 to 1."""
    min_gap_s: float = 0.0
    """Images of one animal in one video closer than this to the last one kept are left out [s]; >= 0, 0 keeps all."""
    min_change: float = 0.0
    """Images that differ less than this from the last one kept of their animal and video are left out: mean over a 16 x 16 thumbnail
    [gray levels]; 0 to 255, 0 keeps all."""
    skip_unsure: bool = False
    """Leave out frames in which the track may have changed to another animal. Crops only."""
    koleo_weight: float = 0.1
    """Weight of the KoLeo term; >= 0."""
    silhouette_weight: float = 0.0
    """Weight of the silhouette term: the class token must tell the outline that SAM-2 drew; >= 0. Crops only."""
    clip_norm: float = 3.0
    """Gradient norm bound; > 0."""
    guard_every: int = 50
    """Steps between looks at the teacher, which decide whose weights are saved; 0 never looks and saves the last teacher."""
    guard_animals: int = 0
    """Annotated animals kept out of training and scores, on whose labels the teacher to save is chosen; 0 or >= 2. With 0 only a collapse is
    noticed."""
    guard_patience: int = 0
    """Looks in a row without gain after which training stops; 0 never stops early."""
    collapse_frac: float = 0.5
    """A teacher has collapsed where its RankMe or target spread is below this share of the start's; 0 to 1."""
    workers: int = field(default=1, metadata=FREE)
    """Data-parallel workers of the Ray Train job; >= 1. A training may go on with another number of them."""
    min_workers: int = field(default=0, metadata=FREE)
    """Go on with as few workers as these while no more are to be had; 0 to workers, 0 always asks for all. Every number from here to `workers`
    has to divide batch_size."""
    precision: Precision = "auto"
    """`auto` is bfloat16 on CUDA and float32 elsewhere."""
    device: str = field(default="auto", metadata=FREE)
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
        check(
            0 <= self.min_workers <= self.workers,
            "finetune.min_workers",
            self.min_workers,
            f"0 to workers ({self.workers})",
        )
        uneven = [n for n in range(self.min_workers or self.workers, self.workers) if self.batch_size % n]
        check(
            not uneven,
            "finetune.min_workers",
            self.min_workers,
            f"numbers that divide batch_size ({self.batch_size}), but {uneven} do not",
        )
        check(self.num_local >= 0, "finetune.num_local", self.num_local, ">= 0")
        for name in ("guard_every", "guard_patience"):
            check(getattr(self, name) >= 0, f"finetune.{name}", getattr(self, name), ">= 0")
        looks = self.guard_animals == 0 or (self.guard_animals >= 2 and self.guard_every > 0)
        check(looks, "finetune.guard_animals", self.guard_animals, "0, or >= 2 with finetune.guard_every > 0")
        check(0 < self.collapse_frac < 1, "finetune.collapse_frac", self.collapse_frac, "0 to 1")
        for name in ("learning_rate", "head_learning_rate", "clip_norm", "global_px", "local_px"):
            check(getattr(self, name) > 0, f"finetune.{name}", getattr(self, name), "> 0")
        for name in ("weight_decay", "koleo_weight", "silhouette_weight"):
            check(getattr(self, name) >= 0, f"finetune.{name}", getattr(self, name), ">= 0")
        check(0 < self.layer_decay <= 1, "finetune.layer_decay", self.layer_decay, "0 to 1")
        check(0 < self.teacher_momentum < 1, "finetune.teacher_momentum", self.teacher_momentum, "0 to 1")
        check(self.teacher_temperature > 0, "finetune.teacher_temperature", self.teacher_temperature, "> 0")
        start = self.teacher_temperature_start
        check(start is None or start > 0, "finetune.teacher_temperature_start", start, "> 0 or None")
        end = self.weight_decay_end
        check(end is None or end >= 0, "finetune.weight_decay_end", end, ">= 0 or None")
        check(
            0 <= self.last_layer_steps <= self.steps,
            "finetune.last_layer_steps",
            self.last_layer_steps,
            f"0 to steps ({self.steps})",
        )
        for name in ("mask_inside", "background_share"):
            check(0 <= getattr(self, name) <= 1, f"finetune.{name}", getattr(self, name), "0 to 1")
        check(0 <= self.drop_path <= 0.9, "finetune.drop_path", self.drop_path, "0 to 0.9")
        check(self.min_gap_s >= 0, "finetune.min_gap_s", self.min_gap_s, ">= 0")
        check(0 <= self.min_change <= 255, "finetune.min_change", self.min_change, "0 to 255")
        for name, choices in (("background", Background), ("precision", Precision)):
            check(
                getattr(self, name) in get_args(choices),
                f"finetune.{name}",
                getattr(self, name),
                " or ".join(get_args(choices)),
            )
        check(self.num_prototypes >= 2, "finetune.num_prototypes", self.num_prototypes, ">= 2")
        check(0 <= self.mask_frac <= 0.9, "finetune.mask_frac", self.mask_frac, "0 to 0.9")

    @property
    def needs_masks(self) -> bool:
        """Whether anything asks for the animal's outline. Whole frames never do: they are the control that knows nothing of SAM-2."""
        asked = self.silhouette_weight > 0 or self.mask_inside > 0 or self.background != "keep"
        return self.view == "crop" and asked
