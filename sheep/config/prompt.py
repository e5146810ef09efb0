"""Settings of automatic prompts, which replace a click in every video."""

from dataclasses import dataclass
from typing import Literal, get_args

from sheep.config.base import check

How = Literal["motion", "exemplar", "text"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AdvancedPromptConfig:
    """Settings of the search for prompts that a study rarely has a reason to change."""

    detector: str = "IDEA-Research/grounding-dino-tiny"
    """For `text`: a zero-shot detector of transformers, a Hugging Face id or a `save_pretrained` folder."""
    num_frames: int = 0
    """Frames sampled from each video; 0 samples 30 for `motion` and 6 otherwise."""
    within_s: float = 600.0
    """Sample the first seconds of each video only [s]; 0 samples the whole video."""
    min_score: float = 0.5
    """Videos with a prompt that scores lower are listed for review; 0 to 1. Detectors score low: use about 0.3 for
    `text`."""

    def __post_init__(self) -> None:
        check(self.num_frames >= 0, "prompt.advanced.num_frames", self.num_frames, ">= 0")
        check(self.within_s >= 0, "prompt.advanced.within_s", self.within_s, ">= 0 s")
        check(0 <= self.min_score <= 1, "prompt.advanced.min_score", self.min_score, "0 to 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptConfig:
    """Videos -> a prompt file, for review."""

    how: How = "motion"
    """`motion`: regions that move before a static camera. `exemplar`: regions that resemble an animal clicked in
    another video. `text`: a detector's results for a phrase."""
    exemplar: str = "exemplar.csv"
    """For `exemplar`: a prompt file, relative to the archive's root, with one or more clicks, boxes or masks."""
    backbone: str = "pocket"
    """For `exemplar`: DINOv2, by the same names as `embed.backbone`."""
    image_px: int = 64
    """For `exemplar`: side at which the network sees a window; a multiple of the patch size, >= 8."""
    phrase: str = "animal"
    """For `text`: the phrase to detect, such as `mouse`."""
    num_animals: int = 1
    """Animals in each video, where no cohort file states it; >= 1."""
    overwrite: bool = False
    """Replace an existing prompt file."""
    device: str = "auto"
    """`auto` (cuda if present, else cpu), `cpu` or `cuda`."""
    advanced: AdvancedPromptConfig = AdvancedPromptConfig()

    def __post_init__(self) -> None:
        check(self.how in get_args(How), "prompt.how", self.how, " or ".join(get_args(How)))
        check(self.image_px >= 8, "prompt.image_px", self.image_px, ">= 8")
        check(bool(self.phrase.strip()), "prompt.phrase", self.phrase, "at least one word")
        check(self.num_animals >= 1, "prompt.num_animals", self.num_animals, ">= 1")
