"""Settings of prompt detection, which replaces clicks in every video."""

from dataclasses import dataclass
from typing import Literal, get_args

from sheep.config.base import check

How = Literal["motion", "exemplar", "text"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptConfig:
    """Videos -> a prompt file, for a person to check."""

    how: How = "motion"
    """`motion`: what moves before a fixed camera. `exemplar`: what resembles an animal prompted in another video.
    `text`: what a zero-shot detector finds for a phrase."""
    exemplar: str = "exemplar.csv"
    """For `exemplar`: a prompt file, relative to the archive's root, with one or a few clicks, boxes or masks."""
    backbone: str = "pocket"
    """For `exemplar`: a DINOv2 network, named as for embedding."""
    image_px: int = 64
    """For `exemplar`: side to which windows are scaled for the network [px]; a multiple of the patch size."""
    detector: str = "IDEA-Research/grounding-dino-tiny"
    """For `text`: a zero-shot detector of transformers, a Hugging Face id or a `save_pretrained` folder."""
    phrase: str = "sheep"
    """For `text`: what to detect."""
    num_animals: int = 1
    """Animals in each video, used where there is no cohort file; >= 1."""
    num_frames: int = 0
    """Frames sampled from each video; 0 samples 30 for `motion` and 6 otherwise."""
    within_s: float = 600.0
    """Sample frames from this many seconds at the start of each video; 0 samples the whole video."""
    min_score: float = 0.5
    """Videos with a prompt below this score are listed for a person to check; 0 to 1. Scores of zero-shot detectors are
    low: use about 0.3 for `text`."""
    overwrite: bool = False
    """Replace an existing prompt file."""
    device: str = "auto"
    """`auto` (cuda if available, otherwise cpu), `cpu` or `cuda`."""

    def __post_init__(self) -> None:
        check(self.how in get_args(How), "prompt.how", self.how, " or ".join(get_args(How)))
        check(self.image_px >= 8, "prompt.image_px", self.image_px, ">= 8")
        check(bool(self.phrase.strip()), "prompt.phrase", self.phrase, "a word or more")
        check(self.num_animals >= 1, "prompt.num_animals", self.num_animals, ">= 1")
        check(self.num_frames >= 0, "prompt.num_frames", self.num_frames, ">= 0")
        check(self.within_s >= 0, "prompt.within_s", self.within_s, ">= 0 s")
        check(0 <= self.min_score <= 1, "prompt.min_score", self.min_score, "0 to 1")
