"""Configurations of the other stages, of the archive and the cluster, and of a whole study."""

from dataclasses import dataclass
from typing import Literal, get_args

from sheep.config.base import check
from sheep.config.crop import CropConfig
from sheep.config.finetune import FinetuneConfig
from sheep.config.prompt import PromptConfig

View = Literal["crop", "frame", "masked", "track"]
"""Input of an encoder: the crop, the whole frame, the crop with everything outside the animal painted grey, or the
tracks table instead of an image."""
Pool = Literal["cls", "cls_mean", "cls_grid"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AdvancedEmbedConfig:
    """Settings of the embeddings that a study rarely has a reason to change."""

    untrained_seed: int | None = None
    """Draw the backbone's weights from this seed instead of reading them; >= 0. The study sets it for the baseline
    `untrained`; None reads the weights."""
    pool: Pool = "cls_grid"
    """`cls`; `cls_mean` appends the mean patch token; `cls_grid` appends the means of a 2 x 2 grid of patch tokens,
    which keeps the layout (head low, head high) that a single mean loses."""

    def __post_init__(self) -> None:
        seed = self.untrained_seed
        check(seed is None or seed >= 0, "embed.advanced.untrained_seed", seed, ">= 0")
        check(self.pool in get_args(Pool), "embed.advanced.pool", self.pool, " or ".join(get_args(Pool)))


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedConfig:
    """Stored images + backbone -> one vector per animal and frame."""

    backbone: str = "pocket"
    """`pocket`, a Hugging Face id or a `save_pretrained` folder at any URI; or a baseline without a network: `pixels`
    (the image at 20 x 20 px) or `geometry` (place and size of the animal)."""
    view: View = "crop"
    """Which stored image is embedded; `masked` is the crop with everything outside the animal's mask painted grey.
    `track` stands for the tracks table instead of an image, for `geometry` only."""
    image_px: int = 64
    """Side the image is resized to before the backbone; a multiple of the patch size, >= 8."""
    batch_size: int = 64
    """Images per forward pass; >= 1."""
    dtype: Literal["float16", "float32"] = "float32"
    """Type of the stored vectors."""
    device: str = "auto"
    """`auto` (cuda if present, else cpu), `cpu` or `cuda`."""
    advanced: AdvancedEmbedConfig = AdvancedEmbedConfig()

    def __post_init__(self) -> None:
        check(self.view in get_args(View), "embed.view", self.view, " or ".join(get_args(View)))
        check(self.image_px >= 8, "embed.image_px", self.image_px, ">= 8")
        check(self.batch_size >= 1, "embed.batch_size", self.batch_size, ">= 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowConfig:
    """The temporal window: which neighbouring frames add to a frame's vector."""

    half_width_s: float = 0.0
    """Reach to each side [s]; >= 0. 0 means no temporal information: the frame's own vector."""

    def __post_init__(self) -> None:
        check(self.half_width_s >= 0, "window.half_width_s", self.half_width_s, ">= 0 s")


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeConfig:
    """The linear probe: standardise, PCA, one L2-regularised logistic regression per label."""

    inverse_l2: float = 0.1
    """Inverse strength of the L2 penalty (scikit-learn's C); > 0."""
    num_components: int = 64
    """Principal components kept; >= 0. 0 keeps every dimension."""

    def __post_init__(self) -> None:
        check(self.inverse_l2 > 0, "probe.inverse_l2", self.inverse_l2, "> 0")
        check(self.num_components >= 0, "probe.num_components", self.num_components, ">= 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class AdvancedSearchConfig:
    """Settings of the intervals beside the scores that a study rarely has a reason to change."""

    confidence: float = 0.95
    """Level of the intervals over animals; above 0, below 1. The usual convention."""
    num_resamples: int = 400
    """Bootstrap resamples of animals; >= 100."""

    def __post_init__(self) -> None:
        check(0 < self.confidence < 1, "search.advanced.confidence", self.confidence, "above 0 and below 1")
        check(self.num_resamples >= 100, "search.advanced.num_resamples", self.num_resamples, ">= 100")


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchConfig:
    """Grid of window and probe settings, and the folds they are scored on.

    The search is a nested cross-validation: settings are chosen inside the training animals (docs/design.md).
    """

    half_widths_s: tuple[float, ...] = (0.0, 0.6, 1.2)
    """Window half-widths in the grid [s]; 0 must be among them for the variant without temporal information."""
    inverse_l2s: tuple[float, ...] = (0.01, 0.1)
    """Inverse penalties in the grid; each > 0."""
    num_components: tuple[int, ...] = (64,)
    """Numbers of principal components in the grid; 0 keeps every dimension."""
    num_folds: int = 4
    """Outer folds, grouped by animal; >= 3, since the inner folds leave out two."""
    advanced: AdvancedSearchConfig = AdvancedSearchConfig()

    def __post_init__(self) -> None:
        check(bool(self.half_widths_s), "search.half_widths_s", self.half_widths_s, "at least one")
        check(bool(self.inverse_l2s), "search.inverse_l2s", self.inverse_l2s, "at least one")
        check(bool(self.num_components), "search.num_components", self.num_components, "at least one")
        check(self.num_folds >= 3, "search.num_folds", self.num_folds, ">= 3")


@dataclass(frozen=True, kw_only=True, slots=True)
class AdvancedPredictConfig:
    """Settings of bouts; group differences do not use them."""

    threshold: float = 0.5
    """A frame belongs to a bout when its probability reaches this; above 0, below 1."""
    min_bout_s: float = 0.4
    """Shorter bouts are dropped and shorter gaps closed [s]; >= 0."""

    def __post_init__(self) -> None:
        check(0 < self.threshold < 1, "predict.advanced.threshold", self.threshold, "above 0 and below 1")
        check(self.min_bout_s >= 0, "predict.advanced.min_bout_s", self.min_bout_s, ">= 0 s")


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictConfig:
    """Probe + embeddings -> probabilities per frame -> bouts."""

    variant: str = "guided-crop-window"
    """The variant whose probes predict for the group comparison, `<encoder>-<view>-<single|window>`; chosen before any
    score is known."""
    advanced: AdvancedPredictConfig = AdvancedPredictConfig()


@dataclass(frozen=True, kw_only=True, slots=True)
class AdvancedCompareConfig:
    """Settings of the statistical test that a study rarely has a reason to change."""

    num_permutations: int = 9999
    """Label permutations of the test (all of them when fewer exist); >= 99."""
    confidence: float = 0.95
    """Level of the intervals; above 0, below 1. The usual convention."""
    alpha: float = 0.05
    """False discovery rate below which a difference counts as found; above 0, below 1. The usual convention."""

    def __post_init__(self) -> None:
        check(self.num_permutations >= 99, "compare.advanced.num_permutations", self.num_permutations, ">= 99")
        check(0 < self.confidence < 1, "compare.advanced.confidence", self.confidence, "above 0 and below 1")
        check(0 < self.alpha < 1, "compare.advanced.alpha", self.alpha, "above 0 and below 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class CompareConfig:
    """Predictions + cohort -> differences between groups, with the animal as the statistical unit."""

    reference: str = ""
    """The group that others are compared with; empty takes the first in alphabetical order."""
    advanced: AdvancedCompareConfig = AdvancedCompareConfig()


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveConfig:
    """Location of a study's input files: a folder at any URI, in the layout of the docs."""

    root: str = "meadow"
    """Folder with `videos/`, `prompts.csv`, `annotations/` and `cohort.csv`; a plain path, file:// or s3://."""
    videos: str = "videos"
    """Folder of videos, relative to root; empty for the root itself."""
    prompts: str = "prompts.csv"
    """Prompt file, relative to root."""
    annotations: str = "annotations"
    """Folder of annotation files, of any tool that `sheep.annotations.readers` knows; not every animal needs one."""
    match_by_name: bool = False
    """Match annotation files and videos by the video's name alone, also where their folders differ."""
    cohort: str = "cohort.csv"
    """Cohort file: video, animal, group."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClusterConfig:
    """Resources requested from Ray. They change speed, never results, and are part of no digest."""

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
            check(getattr(self, name) >= 1, f"cluster.{name}", getattr(self, name), ">= 1")
        check(self.cpus > 0, "cluster.cpus", self.cpus, "> 0")
        check(self.gpus >= 0, "cluster.gpus", self.gpus, ">= 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyConfig:
    """All stages and every variant of the result tables."""

    name: str
    """The recipe's name, for display."""
    seed: int = 0
    """Seed of every random choice, by stage and key (`seed_for`)."""
    baselines: bool = True
    """Whether baseline encoders are scored beside the backbones: untrained weights, raw pixels, and the animal's
    position and size alone."""
    out: str = "runs/study"
    """Output folder, one folder for each stage below it; a plain path, file:// or s3://."""
    archive: ArchiveConfig = ArchiveConfig()
    prompt: PromptConfig = PromptConfig()
    crop: CropConfig = CropConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    embed: EmbedConfig = EmbedConfig()
    search: SearchConfig = SearchConfig()
    predict: PredictConfig = PredictConfig()
    compare: CompareConfig = CompareConfig()
    cluster: ClusterConfig = ClusterConfig()
