"""Settings of fine-tuning.

`FinetuneConfig` holds the settings that a study chooses. `AdvancedFinetuneConfig` holds the rest of the recipe:
hyperparameters that tests, benchmarks and experiments set. Their flags are `--finetune.advanced.<field>`. "DINOv2"
below is its released configuration (facebookresearch/dinov2, configs/ssl_default_config.yaml), "ours" a default without
a published source.
"""

from dataclasses import dataclass, field
from typing import Literal, get_args

from sheep.config.base import RUNTIME_ONLY, check

LearntView = Literal["crop", "frame"]
"""Images that fine-tuning learns from."""

Background = Literal["keep", "dim", "swap"]
"""Treatment of the background around the animal in some of the views."""

Precision = Literal["auto", "float32", "bfloat16"]
"""Precision of the forward passes. Weights, last layers of the heads, losses and optimiser are always float32."""


def _check(config: object, name: str, condition: bool, expected: str) -> None:
    """Refuse a field's value, named by its flag.

    Args:
        config: of either class.
        name: of the field.
        condition: must hold.
        expected: the range, for the message.

    Raises:
        ConfigError: the condition does not hold.
    """
    group = "finetune.advanced" if isinstance(config, AdvancedFinetuneConfig) else "finetune"
    check(condition, f"{group}.{name}", getattr(config, name), expected)


@dataclass(frozen=True, kw_only=True, slots=True)
class AdvancedFinetuneConfig:
    """Hyperparameters of the DINO + iBOT + KoLeo recipe that a study rarely has a reason to change."""

    head_learning_rate: float = 1e-3
    """Peak AdamW learning rate of the new heads; > 0. Ours: DINOv2's rate for 1,024 images, 4e-3, at a batch of 64."""
    layer_decay: float = 0.8
    """Factor on the learning rate per block, from the output to the input; 0 to 1. Ours; DINOv2 pre-trains with 0.9."""
    weight_decay: float = 0.04
    """AdamW weight decay of matrices at the first step; >= 0. Source: DINOv2."""
    weight_decay_end: float | None = None
    """Weight decay at the last step, reached on a cosine; >= 0. None keeps it constant. DINOv2 ends at 0.4."""
    teacher_temperature: float = 0.05
    """Softmax temperature of the teacher; > 0. Ours; DINOv2 warms up from 0.04 to 0.07."""
    teacher_temperature_start: float | None = None
    """Temperature at the first step, from which it changes linearly over the first 30 % of the steps; > 0. None: no
    warm-up."""
    last_layer_steps: int = 0
    """First steps in which the last layers of the heads are frozen; 0 to steps. DINOv2 freezes them for one epoch."""
    drop_path: float = 0.0
    """Stochastic depth: probability that a residual branch of the student is dropped for an image; 0 to 0.9. DINOv2:
    0.3."""
    koleo_weight: float = 0.1
    """Weight of the KoLeo term; >= 0. Source: DINOv2, arXiv 2304.07193, section 4."""
    mask_frac: float = 0.3
    """Share of patches masked for the student in half of the global crops; 0 to 0.9. Source: the mean of DINOv2's, 0.1
    to 0.5."""
    mask_inside: float = 0.0
    """Share of the masked patches that are placed on the animal, limited by its area; 0 to 1, 0 ignores the animal.
    Crops only."""
    background_share: float = 0.5
    """Share of the views whose background is dimmed or swapped; 0 to 1. Ours."""
    min_change: float = 0.0
    """Drop images whose 16 x 16 thumbnail differs less than this, on average, from that of the last image kept of the
    same animal and video [gray levels]; 0 to 255. 0 keeps all."""
    collapse_frac: float = 0.5
    """A teacher has collapsed where its RankMe or target spread is below this share of the starting backbone's; 0 to 1,
    exclusive. Ours, measured in docs/decisions.md."""
    precision: Precision = "auto"
    """`auto` is bfloat16 on CUDA and float32 elsewhere."""

    def __post_init__(self) -> None:
        for name in ("head_learning_rate", "teacher_temperature"):
            _check(self, name, getattr(self, name) > 0, "> 0")
        for name in ("weight_decay", "koleo_weight", "last_layer_steps"):
            _check(self, name, getattr(self, name) >= 0, ">= 0")
        _check(self, "layer_decay", 0 < self.layer_decay <= 1, "0 to 1")
        start, end = self.teacher_temperature_start, self.weight_decay_end
        _check(self, "teacher_temperature_start", start is None or start > 0, "> 0 or None")
        _check(self, "weight_decay_end", end is None or end >= 0, ">= 0 or None")
        for name in ("mask_inside", "background_share"):
            _check(self, name, 0 <= getattr(self, name) <= 1, "0 to 1")
        for name in ("drop_path", "mask_frac"):
            _check(self, name, 0 <= getattr(self, name) <= 0.9, "0 to 0.9")
        _check(self, "min_change", 0 <= self.min_change <= 255, "0 to 255")
        _check(self, "collapse_frac", 0 < self.collapse_frac < 1, "0 to 1, exclusive")
        _check(self, "precision", self.precision in get_args(Precision), " or ".join(get_args(Precision)))


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneConfig:
    """Stored images -> a backbone fine-tuned by self-distillation (DINO + iBOT + KoLeo)."""

    backbone: str = "pocket"
    """Starting weights: `pocket`, a Hugging Face id (`facebook/dinov2-small`) or a `save_pretrained` folder."""
    view: LearntView = "crop"
    """Images to learn from: `crop` is guided by SAM-2, `frame` is the unguided baseline."""
    steps: int = 200
    """Optimiser steps; >= 1."""
    head_steps: int = 40
    """First steps, which train only the new heads on a frozen backbone; 0 to steps."""
    batch_size: int = 32
    """Images per step over all workers; >= 2 and a multiple of workers."""
    global_px: int = 64
    """Side of the two global crops; a multiple of the patch size."""
    local_px: int = 32
    """Side of the local crops; a multiple of the patch size."""
    num_local: int = 2
    """Local crops per image; >= 0."""
    learning_rate: float = 2e-4
    """Peak AdamW learning rate of the last block; > 0."""
    teacher_momentum: float = 0.99
    """EMA momentum of the teacher at the first step, which rises to 1 on a cosine; 0 to 1, exclusive."""
    num_prototypes: int = 256
    """Outputs of the DINO and iBOT heads; >= 2."""
    silhouette_weight: float = 0.0
    """Weight of the silhouette term: the class token predicts the outline that SAM-2 drew; >= 0. Crops only."""
    background: Background = "keep"
    """Background around the animal in some of the views: `keep`, `dim` (towards grey) or `swap` (for another image's).
    Crops only."""
    min_gap_s: float = 0.0
    """Drop images that follow the last one kept of the same animal and video by less than this [s]; >= 0. 0 keeps
    all."""
    skip_unsure: bool = False
    """Drop frames in which the track may have changed to another animal. Crops only."""
    validation_animals: int = 0
    """Number of annotated animals that are excluded from training and scores and whose labels select the saved teacher;
    0 or >= 2. With 0 only a collapse is detected."""
    validate_every: int = 50
    """Steps between validations of the teacher, which select the weights that are saved; >= 0. 0 disables validation
    and saves the last teacher."""
    patience: int = 0
    """Early stopping: consecutive validations without improvement after which training stops; >= 0. 0 disables it."""
    workers: int = field(default=1, metadata=RUNTIME_ONLY)
    """Data-parallel workers of the Ray Train job; >= 1. A training may resume with another number of workers."""
    min_workers: int = field(default=0, metadata=RUNTIME_ONLY)
    """Fewest workers to start or resume with; 0 to workers, 0 always waits for all. Every number from this to `workers`
    must divide batch_size."""
    device: str = field(default="auto", metadata=RUNTIME_ONLY)
    """`auto`, `cpu` or `cuda`."""
    advanced: AdvancedFinetuneConfig = AdvancedFinetuneConfig()
    """Hyperparameters that a study rarely changes."""

    def __post_init__(self) -> None:
        for name, choices in (("view", LearntView), ("background", Background)):
            _check(self, name, getattr(self, name) in get_args(choices), " or ".join(get_args(choices)))
        for name in ("steps", "workers"):
            _check(self, name, getattr(self, name) >= 1, ">= 1")
        for name in ("learning_rate", "global_px", "local_px"):
            _check(self, name, getattr(self, name) > 0, "> 0")
        for name in ("num_local", "silhouette_weight", "min_gap_s", "validate_every", "patience"):
            _check(self, name, getattr(self, name) >= 0, ">= 0")
        _check(self, "head_steps", 0 <= self.head_steps <= self.steps, f"0 to steps ({self.steps})")
        _check(self, "teacher_momentum", 0 < self.teacher_momentum < 1, "0 to 1, exclusive")
        _check(self, "num_prototypes", self.num_prototypes >= 2, ">= 2")
        animals = self.validation_animals
        possible = animals == 0 or (animals >= 2 and self.validate_every > 0)
        _check(self, "validation_animals", possible, "0, or >= 2 with finetune.validate_every > 0")
        frozen = self.advanced.last_layer_steps
        check(frozen <= self.steps, "finetune.advanced.last_layer_steps", frozen, f"0 to steps ({self.steps})")
        self._check_workers()

    def _check_workers(self) -> None:
        """Check that every permitted number of workers divides the global batch."""
        most, least, total = self.workers, self.min_workers, self.batch_size
        _check(self, "batch_size", total >= 2 and total % most == 0, f">= 2 and a multiple of workers ({most})")
        _check(self, "min_workers", 0 <= least <= most, f"0 to workers ({most})")
        uneven = [number for number in range(least or most, most) if total % number]
        _check(self, "min_workers", not uneven, f"numbers that divide batch_size ({total}), but {uneven} do not")

    @property
    def needs_masks(self) -> bool:
        """Whether training reads the animal's outline. Whole frames never do: they are the baseline without SAM-2."""
        uses_masks = self.silhouette_weight > 0 or self.advanced.mask_inside > 0 or self.background != "keep"
        return self.view == "crop" and uses_masks
