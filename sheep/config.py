"""Typed, frozen configurations, one per stage, and what makes them traceable: a digest, JSON, and seeds.

A recipe (`jobs/recipes.py`) is a Python function that returns a `StudyConfig`; the command line is generated from these
classes. Nothing here reads hardware, clock, network or environment. Quantities carry their unit in the name.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sheep.errors import ConfigError

View = Literal["crop", "frame", "masked", "track"]
"""What an encoder is shown: the crop, the whole frame, the crop with all but the animal painted grey, or no image at all but the
tracks table."""
LearntView = Literal["crop", "frame"]
"""What fine-tuning learns from."""
NO_NETWORK = ("pixels", "geometry")
"""What may stand in place of a backbone to embed without one: controls (`sheep/controls.py`)."""
Pool = Literal["cls", "cls_mean", "cls_grid"]


def _check(condition: bool, what: str, got: object, expected: str) -> None:
    if not condition:
        raise ConfigError(f"{what}: got {got!r}, expected {expected}. Change it in the recipe or by its flag.")


@dataclass(frozen=True, kw_only=True, slots=True)
class CropConfig:
    """Video and prompt -> masks by SAM-2 -> square crops around the animal."""

    sam2: str = "pocket"
    """Weights: `pocket`, a Hugging Face id (`facebook/sam2.1-hiera-tiny`), or a path of a checkpoint (`sam2.1_hiera_tiny.pt`, or a
    folder with `model.safetensors` and a sam2 yaml)."""
    stride_frames: int = 1
    """Track every n-th frame of the video; >= 1."""
    max_frames: int = 0
    """Stop after so many tracked frames; 0 means the whole video."""
    decoder: Literal["pyav", "decord"] = "pyav"
    """Video decoder; pyav is exact and flat in memory on every file tried (docs/decisions.md)."""
    crop_px: int = 96
    """Side of the square crop that is stored; >= 16."""
    frame_px: int = 96
    """Side of the square that the whole frame is scaled into (letterboxed), for the unguided arm; >= 16."""
    margin_frac: float = 0.2
    """Space kept around the mask's box, as a share of its longer side; 0 to 2."""
    smooth_s: float = 0.6
    """Time constant over which crop centre and side are smoothed; >= 0 s."""
    mask_grow_frac: float = 0.04
    """What the masked view keeps around the mask, for thin legs and the outline, as a share of the crop's side; 0 to 0.5."""
    jpeg_quality: int = 92
    """JPEG quality of stored images; 50 to 100."""
    rows_per_part: int = 2000
    """Frames per part file; >= 1."""
    max_error_frac: float = 0.5
    """The job fails when a larger share of the videos than this cannot be read; 0 to 1."""
    device: str = "auto"
    """`auto` (cuda if present, else cpu), `cpu` or `cuda`."""

    def __post_init__(self) -> None:
        _check(self.stride_frames >= 1, "crop.stride_frames", self.stride_frames, ">= 1")
        _check(self.max_frames >= 0, "crop.max_frames", self.max_frames, ">= 0")
        _check(
            self.crop_px >= 16 and self.frame_px >= 16,
            "crop.crop_px, crop.frame_px",
            (self.crop_px, self.frame_px),
            ">= 16",
        )
        _check(0 <= self.margin_frac <= 2, "crop.margin_frac", self.margin_frac, "0 to 2")
        _check(self.smooth_s >= 0, "crop.smooth_s", self.smooth_s, ">= 0 s")
        _check(0 <= self.mask_grow_frac <= 0.5, "crop.mask_grow_frac", self.mask_grow_frac, "0 to 0.5")
        _check(50 <= self.jpeg_quality <= 100, "crop.jpeg_quality", self.jpeg_quality, "50 to 100")
        _check(self.rows_per_part >= 1, "crop.rows_per_part", self.rows_per_part, ">= 1")
        _check(0 <= self.max_error_frac <= 1, "crop.max_error_frac", self.max_error_frac, "0 to 1")


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
        _check(self.view in get_args(LearntView), "finetune.view", self.view, " or ".join(get_args(LearntView)))
        _check(self.steps >= 1, "finetune.steps", self.steps, ">= 1")
        _check(0 <= self.head_steps <= self.steps, "finetune.head_steps", self.head_steps, f"0 to steps ({self.steps})")
        _check(self.workers >= 1, "finetune.workers", self.workers, ">= 1")
        _check(
            self.batch_size >= 2 and self.batch_size % self.workers == 0,
            "finetune.batch_size",
            self.batch_size,
            f">= 2 and a multiple of workers ({self.workers})",
        )
        _check(self.num_local >= 0, "finetune.num_local", self.num_local, ">= 0")
        for name in ("learning_rate", "head_learning_rate", "clip_norm", "global_px", "local_px"):
            _check(getattr(self, name) > 0, f"finetune.{name}", getattr(self, name), "> 0")
        for name in ("weight_decay", "koleo_weight", "silhouette_weight"):
            _check(getattr(self, name) >= 0, f"finetune.{name}", getattr(self, name), ">= 0")
        _check(0 < self.layer_decay <= 1, "finetune.layer_decay", self.layer_decay, "0 to 1")
        _check(0 < self.teacher_momentum < 1, "finetune.teacher_momentum", self.teacher_momentum, "0 to 1")
        _check(self.teacher_temperature > 0, "finetune.teacher_temperature", self.teacher_temperature, "> 0")
        _check(self.num_prototypes >= 2, "finetune.num_prototypes", self.num_prototypes, ">= 2")
        _check(0 <= self.mask_frac <= 0.9, "finetune.mask_frac", self.mask_frac, "0 to 0.9")


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedConfig:
    """Stored images + backbone -> one vector per animal and frame."""

    backbone: str = "pocket"
    """`pocket`, a Hugging Face id or a `save_pretrained` folder at any URI; or a control without network: `pixels` (the image at 20 x
    20 px) or `geometry` (place and size of the animal)."""
    untrained_seed: int | None = None
    """Draw the backbone's weights anew from this seed instead of reading them, another control; None reads them."""
    view: View = "crop"
    """Which stored image is embedded; `masked` is the crop with everything outside the animal's mask painted grey. `track` is no image
    but the tracks table, for `geometry` and for nothing else."""
    pool: Pool = "cls_grid"
    """`cls`; `cls_mean` appends the mean patch token; `cls_grid` appends the means of a 2 x 2 grid of patch tokens, which keeps the
    layout (head low, head high) that a single mean loses."""
    image_px: int = 64
    """Side the image is resized to before the backbone; a multiple of the patch size."""
    batch_size: int = 64
    """Images per forward; >= 1."""
    dtype: Literal["float16", "float32"] = "float32"
    """Type of the stored vectors."""
    device: str = "auto"
    """`auto`, `cpu` or `cuda`."""

    def __post_init__(self) -> None:
        _check(self.view in get_args(View), "embed.view", self.view, " or ".join(get_args(View)))
        _check(
            (self.view == "track") == (self.backbone == "geometry"),
            "embed.view",
            self.view,
            f"{'track' if self.backbone == 'geometry' else 'crop, frame or masked'} with embed.backbone {self.backbone!r}",
        )
        _check(
            self.untrained_seed is None or (self.untrained_seed >= 0 and self.backbone not in NO_NETWORK),
            "embed.untrained_seed",
            self.untrained_seed,
            ">= 0, and only with a network",
        )
        _check(self.image_px >= 8, "embed.image_px", self.image_px, ">= 8")
        _check(self.batch_size >= 1, "embed.batch_size", self.batch_size, ">= 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowConfig:
    """What of the neighbouring frames joins a frame's vector."""

    half_width_s: float = 0.0
    """Reach to each side; 0 means no temporal information: the frame's own vector."""

    def __post_init__(self) -> None:
        _check(self.half_width_s >= 0, "window.half_width_s", self.half_width_s, ">= 0 s")


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeConfig:
    """The linear probe: standardise, PCA, one L2-regularised logistic regression per label."""

    inverse_l2: float = 0.1
    """Inverse strength of the L2 penalty (scikit-learn's C); > 0."""
    num_components: int = 64
    """Principal components kept; 0 keeps every dimension."""

    def __post_init__(self) -> None:
        _check(self.inverse_l2 > 0, "probe.inverse_l2", self.inverse_l2, "> 0")
        _check(self.num_components >= 0, "probe.num_components", self.num_components, ">= 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchConfig:
    """Candidates for window and probe, and the grouped folds they are judged on (nested: chosen inside the training animals)."""

    half_widths_s: tuple[float, ...] = (0.0, 0.6, 1.2)
    """Window reaches tried; 0 must be among them for the arm without temporal information."""
    inverse_l2s: tuple[float, ...] = (0.01, 0.1)
    """Probe penalties tried."""
    num_components: tuple[int, ...] = (64,)
    """Principal components tried."""
    num_folds: int = 4
    """Outer folds, grouped by animal; >= 3 (the inner choice leaves two folds out)."""
    confidence: float = 0.95
    """Level of the intervals over animals; 0 to 1."""
    num_resamples: int = 400
    """Bootstrap resamples of animals; >= 100."""

    def __post_init__(self) -> None:
        _check(bool(self.half_widths_s), "search.half_widths_s", self.half_widths_s, "at least one")
        _check(bool(self.inverse_l2s), "search.inverse_l2s", self.inverse_l2s, "at least one")
        _check(bool(self.num_components), "search.num_components", self.num_components, "at least one")
        _check(self.num_folds >= 3, "search.num_folds", self.num_folds, ">= 3")
        _check(0 < self.confidence < 1, "search.confidence", self.confidence, "0 to 1")
        _check(self.num_resamples >= 100, "search.num_resamples", self.num_resamples, ">= 100")


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictConfig:
    """Probe + embeddings -> probabilities per frame -> bouts."""

    arm: str = "guided-crop-window"
    """Whose probes predict for the group comparison, `<backbone>-<view>-<single|window>`; named before any score is seen."""
    threshold: float = 0.5
    """A frame belongs to a bout when its probability reaches this; 0 to 1."""
    min_bout_s: float = 0.4
    """Shorter bouts are dropped, shorter gaps closed; >= 0 s."""

    def __post_init__(self) -> None:
        _check(0 < self.threshold < 1, "predict.threshold", self.threshold, "0 to 1")
        _check(self.min_bout_s >= 0, "predict.min_bout_s", self.min_bout_s, ">= 0 s")


@dataclass(frozen=True, kw_only=True, slots=True)
class CompareConfig:
    """Predictions + cohort -> differences between groups, with the animal as the unit."""

    reference: str = ""
    """The group others are compared with; empty takes the alphabetically first."""
    num_permutations: int = 9999
    """Label permutations of the test (all of them when fewer exist); >= 99."""
    confidence: float = 0.95
    """Level of the intervals; 0 to 1."""
    alpha: float = 0.05
    """False discovery rate below which a difference is called found; 0 to 1."""

    def __post_init__(self) -> None:
        _check(self.num_permutations >= 99, "compare.num_permutations", self.num_permutations, ">= 99")
        _check(0 < self.confidence < 1, "compare.confidence", self.confidence, "0 to 1")
        _check(0 < self.alpha < 1, "compare.alpha", self.alpha, "0 to 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveConfig:
    """Where a study's input lies: a folder as a lab would have it, at any URI."""

    root: str = "meadow"
    """Folder with `videos/`, `prompts.csv`, `annotations/` and `cohort.csv`; a plain path, file:// or s3://."""
    videos: str = "videos"
    """Folder of videos, relative to root; empty for the root itself."""
    prompts: str = "prompts.csv"
    """Prompt file, relative to root."""
    annotations: str = "annotations"
    """Folder of annotation files (BORIS tabular exports), one per video, by the video's stem; not every animal needs one."""
    cohort: str = "cohort.csv"
    """Cohort file: video, animal, group."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterConfig:
    """What Ray is asked for; changes speed, never results (not part of any digest)."""

    crop_workers: int = 2
    """SAM-2 actors; >= 1."""
    embed_workers: int = 2
    """Embedding actors; >= 1."""
    predict_workers: int = 1
    """Prediction actors; >= 1."""
    trials: int = 2
    """Search trials at a time; >= 1."""
    cpus: float = 1.0
    """CPUs per actor, worker and trial; > 0."""
    gpus: float = 0.0
    """GPUs per crop and embed actor and per training worker; fractions share one; >= 0."""

    def __post_init__(self) -> None:
        for name in ("crop_workers", "embed_workers", "predict_workers", "trials"):
            _check(getattr(self, name) >= 1, f"cluster.{name}", getattr(self, name), ">= 1")
        _check(self.cpus > 0, "cluster.cpus", self.cpus, "> 0")
        _check(self.gpus >= 0, "cluster.gpus", self.gpus, ">= 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyConfig:
    """The whole way, every arm of the tables."""

    name: str
    """The recipe's name, for people."""
    seed: int = 0
    """Every random choice descends from it, by stage and key."""
    controls: bool = True
    """Whether encoders that should lose are judged beside the backbones: random weights, bare pixels, place and size alone."""
    out: str = "runs/study"
    """Where every stage writes, one folder each; a plain path, file:// or s3://."""
    archive: ArchiveConfig = ArchiveConfig()
    crop: CropConfig = CropConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    embed: EmbedConfig = EmbedConfig()
    search: SearchConfig = SearchConfig()
    predict: PredictConfig = PredictConfig()
    compare: CompareConfig = CompareConfig()
    cluster: ClusterConfig = ClusterConfig()


def seed_for(study_seed: int, stage: str, key: str) -> int:
    """Derive the seed of one unit of work, the same whatever the worker, order or attempt.

    Args:
        study_seed: the study's seed.
        stage: the stage's name.
        key: what the unit is called within the stage, e.g. the video.

    Returns:
        An integer in [0, 2**63), from BLAKE2b of the three.
    """
    digest = hashlib.blake2b(f"{study_seed}\0{stage}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def to_json(config: Any) -> dict[str, Any]:
    """Turn a configuration into plain JSON values; tuples become lists.

    A TypeError here means a field that is not plain data, which is a bug of ours.
    """
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return values


def digest(values: Any) -> str:
    """Digest plain JSON values or a configuration, independent of key order.

    Returns:
        The first 16 hexadecimal digits of SHA-256 over canonical JSON.
    """
    plain = dataclasses.asdict(values) if dataclasses.is_dataclass(values) and not isinstance(values, type) else values
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]
