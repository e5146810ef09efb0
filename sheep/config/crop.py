"""Settings of tracking and cropping.

`CropConfig` holds the settings that a study chooses. `AdvancedCropConfig` holds settings that suit most studies; their
flags are `--crop.advanced.<field>`. Defaults without a source were chosen on the synthetic dataset and a few real
videos.
"""

from dataclasses import dataclass, field
from typing import Literal

from sheep.config.base import RUNTIME_ONLY, check


@dataclass(frozen=True, kw_only=True, slots=True)
class AdvancedCropConfig:
    """Settings of decoding, crops, storage and numerics that a study rarely has a reason to change."""

    decoder: Literal["pyav", "decord"] = "pyav"
    """Video decoder; pyav was exact and used constant memory on every file tested (docs/decisions.md)."""
    ahead_frames: int = field(default=4, metadata=RUNTIME_ONLY)
    """Frames that a thread decodes in advance while the model works on one; 0 to 64, 0 decodes without a thread. It
    changes no result, so a run may be resumed with another number."""
    margin_frac: float = 0.2
    """Space kept around the mask's box, as a share of its longer side; 0 to 2."""
    smooth_s: float = 0.6
    """Time constant over which the centre and side of the crop are smoothed [s]; >= 0."""
    mask_grow_frac: float = 0.04
    """Dilation of the mask for the masked view, as a share of the crop's side; 0 to 0.5. SAM-2's mask may miss thin
    legs and the outline."""
    jpeg_quality: int = 92
    """JPEG quality of stored images; 50 to 100."""
    rows_per_part: int = 2000
    """Rows per part file, one for each animal and frame; >= 1. Each part ends with a checkpoint, so a killed worker
    loses at most one part."""
    max_error_frac: float = field(default=0.5, metadata=RUNTIME_ONLY)
    """Largest share of the videos that may fail; 0 to 1. With more the job fails before any later stage begins. A run
    may be resumed with another share."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of SAM-2. float32 gives the masks of sam2's own predictor; bfloat16 (autocast) is meant for GPUs and
    changes masks slightly."""
    compile: bool = False
    """Compile SAM-2's image encoder: minutes at the start of each worker, then faster on GPUs; masks differ in the last
    bits."""

    def __post_init__(self) -> None:
        check(0 <= self.ahead_frames <= 64, "crop.advanced.ahead_frames", self.ahead_frames, "0 to 64")
        check(0 <= self.margin_frac <= 2, "crop.advanced.margin_frac", self.margin_frac, "0 to 2")
        check(self.smooth_s >= 0, "crop.advanced.smooth_s", self.smooth_s, ">= 0 s")
        check(0 <= self.mask_grow_frac <= 0.5, "crop.advanced.mask_grow_frac", self.mask_grow_frac, "0 to 0.5")
        check(50 <= self.jpeg_quality <= 100, "crop.advanced.jpeg_quality", self.jpeg_quality, "50 to 100")
        check(self.rows_per_part >= 1, "crop.advanced.rows_per_part", self.rows_per_part, ">= 1")
        check(0 <= self.max_error_frac <= 1, "crop.advanced.max_error_frac", self.max_error_frac, "0 to 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class CropConfig:
    """Video and prompt -> masks by SAM-2 -> square crops around the animal."""

    sam2: str = "pocket"
    """Weights: `pocket`, a Hugging Face id (`facebook/sam2.1-hiera-tiny`), or a path of a checkpoint
    (`sam2.1_hiera_tiny.pt`, or a folder with `model.safetensors` and a sam2 yaml)."""
    stride_frames: int = 1
    """Track every n-th frame of the video; >= 1."""
    max_frames: int = 0
    """Stop after this many tracked frames; 0 tracks the whole video."""
    crop_px: int = 96
    """Side of the stored square crop; >= 16."""
    frame_px: int = 96
    """Side of the square that the whole frame is scaled into (letterboxed), for the unguided variant; >= 16."""
    preview: bool = False
    """Write an mp4 of each video with masks and flags drawn on it, for visual checks; decodes the video a third
    time."""
    device: str = "auto"
    """`auto` (cuda if present, else cpu), `cpu` or `cuda`."""
    advanced: AdvancedCropConfig = AdvancedCropConfig()

    def __post_init__(self) -> None:
        check(self.stride_frames >= 1, "crop.stride_frames", self.stride_frames, ">= 1")
        check(self.max_frames >= 0, "crop.max_frames", self.max_frames, ">= 0")
        check(self.crop_px >= 16, "crop.crop_px", self.crop_px, ">= 16")
        check(self.frame_px >= 16, "crop.frame_px", self.frame_px, ">= 16")
