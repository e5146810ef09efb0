"""How videos become tracks and crops."""

from dataclasses import dataclass, field
from typing import Literal

from sheep.config.base import FREE, check


@dataclass(frozen=True, kw_only=True, slots=True)
class CropConfig:
    """Video and prompt -> masks by SAM-2 -> square crops around the animal."""

    sam2: str = "pocket"
    """Weights: `pocket`, a Hugging Face id (`facebook/sam2.1-hiera-tiny`), or a path of a checkpoint
    (`sam2.1_hiera_tiny.pt`, or a folder with `model.safetensors` and a sam2 yaml)."""
    stride_frames: int = 1
    """Track every n-th frame of the video; >= 1."""
    max_frames: int = 0
    """Stop after so many tracked frames; 0 means the whole video."""
    decoder: Literal["pyav", "decord"] = "pyav"
    """Video decoder; pyav is exact and flat in memory on every file tried (docs/decisions.md)."""
    ahead_frames: int = field(default=4, metadata=FREE)
    """A thread decodes so many frames while the model works on one; 0 decodes in between. Changes no result, so a run
    may go on with another number; 0 to 64."""
    crop_px: int = 96
    """Side of the square crop that is stored; >= 16."""
    frame_px: int = 96
    """Side of the square that the whole frame is scaled into (letterboxed), for the unguided variant; >= 16."""
    margin_frac: float = 0.2
    """Space kept around the mask's box, as a share of its longer side; 0 to 2."""
    smooth_s: float = 0.6
    """Time constant over which crop centre and side are smoothed; >= 0 s."""
    mask_grow_frac: float = 0.04
    """What the masked view keeps around the mask, for thin legs and the outline, as a share of the crop's side; 0 to
    0.5."""
    jpeg_quality: int = 92
    """JPEG quality of stored images; 50 to 100."""
    rows_per_part: int = 2000
    """Rows per part file, one for each animal and frame; >= 1. With each part there is a checkpoint: a killed worker
    costs at most as much."""
    preview: bool = False
    """Whether each video gets an mp4 with masks and flags drawn on it, for a person to watch; costs a third pass over
    the video."""
    max_error_frac: float = field(default=0.5, metadata=FREE)
    """The job fails when a larger share of the videos than this cannot be read, before any later stage begins. A run
    may go on with another one; 0 to 1."""
    device: str = "auto"
    """`auto` (cuda if present, else cpu), `cpu` or `cuda`."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of SAM-2. float32 gives the masks of sam2's own predictor; bfloat16 (autocast) is meant for GPUs, its masks
    differ a little."""
    compile: bool = False
    """Compile SAM-2's image encoder: minutes at each worker's start, then faster on GPUs; masks differ in the last
    bits."""

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
