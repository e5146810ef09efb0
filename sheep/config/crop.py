"""Settings of the crop stage: videos -> tracks -> crops."""

from dataclasses import dataclass, field
from typing import Literal

from sheep.config.base import FREE, check


@dataclass(frozen=True, kw_only=True, slots=True)
class CropConfig:
    """Video and prompt -> masks by SAM-2 -> square crops around the animal."""

    sam2: str = "pocket"
    """Weights: `pocket`, a Hugging Face id (`facebook/sam2.1-hiera-tiny`), or the path of a checkpoint
    (`sam2.1_hiera_tiny.pt`, or a folder with `model.safetensors` and a sam2 YAML)."""
    stride_frames: int = 1
    """Track every n-th frame of the video; >= 1."""
    max_frames: int = 0
    """Stop after this many tracked frames; 0 tracks the whole video."""
    decoder: Literal["pyav", "decord"] = "pyav"
    """Video decoder; pyav was exact, with constant memory, on every file tried (docs/decisions.md)."""
    ahead_frames: int = field(default=4, metadata=FREE)
    """Frames that a thread decodes ahead of the model (prefetch); 0 decodes each when it is needed. Changes no result,
    so a run may be resumed with another number; 0 to 64."""
    crop_px: int = 96
    """Side of the square crop that is stored; >= 16."""
    frame_px: int = 96
    """Side of the square into which the whole frame is letterboxed, for the unguided variant; >= 16."""
    margin_frac: float = 0.2
    """Margin around the mask's box, as a share of its longer side; 0 to 2."""
    smooth_s: float = 0.6
    """Time constant over which crop centre and side are smoothed; >= 0 s."""
    mask_grow_frac: float = 0.04
    """Dilation of the mask for the masked view, so that thin legs and the outline stay, as a share of the crop's side;
    0 to 0.5."""
    jpeg_quality: int = 92
    """JPEG quality of stored images; 50 to 100."""
    rows_per_part: int = 2000
    """Rows per part file, one for each animal and frame; >= 1. Each part ends with a checkpoint, so a killed worker
    loses at most one part."""
    preview: bool = False
    """Whether each video gets an MP4 with masks and flags drawn on it, for a person to watch; costs a third pass over
    the video."""
    max_error_frac: float = field(default=0.5, metadata=FREE)
    """Share of the videos that may be unreadable before the job fails, and no later stage starts. A run may be resumed
    with another share; 0 to 1."""
    device: str = "auto"
    """`auto` (cuda if available, otherwise cpu), `cpu` or `cuda`."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of SAM-2. float32 gives the masks of sam2's own predictor; bfloat16 (autocast) is for GPUs, and its masks differ
    slightly."""
    compile: bool = False
    """Compile SAM-2's image encoder: takes minutes at each worker's start, then is faster on GPUs; masks differ in the
    last bits."""

    def __post_init__(self) -> None:
        check(self.stride_frames >= 1, "crop.stride_frames", self.stride_frames, ">= 1")
        check(self.max_frames >= 0, "crop.max_frames", self.max_frames, ">= 0")
        check(0 <= self.ahead_frames <= 64, "crop.ahead_frames", self.ahead_frames, "0 to 64")
        check(
            self.crop_px >= 16 and self.frame_px >= 16,
            "crop.crop_px, crop.frame_px",
            (self.crop_px, self.frame_px),
            ">= 16",
        )
        check(0 <= self.margin_frac <= 2, "crop.margin_frac", self.margin_frac, "0 to 2")
        check(self.smooth_s >= 0, "crop.smooth_s", self.smooth_s, ">= 0 s")
        check(0 <= self.mask_grow_frac <= 0.5, "crop.mask_grow_frac", self.mask_grow_frac, "0 to 0.5")
        check(50 <= self.jpeg_quality <= 100, "crop.jpeg_quality", self.jpeg_quality, "50 to 100")
        check(self.rows_per_part >= 1, "crop.rows_per_part", self.rows_per_part, ">= 1")
        check(0 <= self.max_error_frac <= 1, "crop.max_error_frac", self.max_error_frac, "0 to 1")
