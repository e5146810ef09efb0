"""How prompts are found without a click in every video."""

from dataclasses import dataclass
from typing import Literal, get_args

from sheep.config.base import check

How = Literal["motion", "exemplar", "text"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptConfig:
    """Videos -> a prompt file, for a person to look over."""

    how: How = "motion"
    """`motion`: what moves before a still camera. `exemplar`: what looks like an animal clicked in another video.
    `text`: what a detector finds for a phrase."""
    exemplar: str = "exemplar.csv"
    """For `exemplar`: a prompt file, relative to the archive's root, with one click, box or mask, or a few."""
    backbone: str = "pocket"
    """For `exemplar`: DINOv2, by the names that embedding knows."""
    image_px: int = 64
    """For `exemplar`: side at which the network sees a window; a multiple of the patch size."""
    detector: str = "IDEA-Research/grounding-dino-tiny"
    """For `text`: a zero-shot detector of transformers, a Hugging Face id or a `save_pretrained` folder."""
    phrase: str = "sheep"
    """For `text`: what to look for."""
    num_animals: int = 1
    """Animals in each video, where there is no cohort file that says it; >= 1."""
    num_frames: int = 0
    """Frames looked at in each video; 0 takes 30 for `motion` and 6 otherwise."""
    within_s: float = 600.0
    """Look at the first so many seconds only; 0 looks at the whole video."""
    min_score: float = 0.5
    """Videos with a prompt below this are listed for a person; 0 to 1. Scores of detectors are low: take about 0.3 for
    `text`."""
    overwrite: bool = False
    """Replace a prompt file that is there."""
    device: str = "auto"
    """`auto` (cuda if present, else cpu), `cpu` or `cuda`."""

    def __post_init__(self) -> None:
        check(self.how in get_args(How), "prompt.how", self.how, " or ".join(get_args(How)))
        check(self.image_px >= 8, "prompt.image_px", self.image_px, ">= 8")
        check(bool(self.phrase.strip()), "prompt.phrase", self.phrase, "a word or more")
        check(self.num_animals >= 1, "prompt.num_animals", self.num_animals, ">= 1")
        check(self.num_frames >= 0, "prompt.num_frames", self.num_frames, ">= 0")
        check(self.within_s >= 0, "prompt.within_s", self.within_s, ">= 0 s")
        check(0 <= self.min_score <= 1, "prompt.min_score", self.min_score, "0 to 1")
