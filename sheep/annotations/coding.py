"""What one annotation file states about one animal in one video, before videos and behaviours are resolved.

Readers (`sheep/annotations/readers`) return `Coding`s; `sheep/annotations/labelled.py` resolves them against the
archive's videos, the cohort and the ethogram.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from sheep.annotations.intervals import Intervals

TimeUnit = Literal["s", "frame"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Coding:
    """One animal in one video, as a file states it."""

    where: str
    """File, and row or observation, for messages."""
    media: str
    """The media file as the file names it, with its folders; or the video's name without ending, as `stem` says."""
    stem: bool = False
    """Whether `media` was taken from the annotation file's own name."""
    media_s: float | None = None
    """Length of the media file [s] as the file states it; None where it does not."""
    animal: str = ""
    """Empty where the file names none: then the video must show one animal."""
    observer: str = ""
    """Who or which observation; tells two codings of one animal apart."""
    unit: TimeUnit = "s"
    """Of all intervals: seconds as a player shows them, or frames of the file from 0."""
    scored: Intervals | None = None
    """What was watched; None is the whole video."""
    only_scored: bool = False
    """Whether it states nothing but `scored`: it then holds for the other codings of this animal and video, and without
    any no behaviour occurred there."""
    bouts: Mapping[str, Intervals] = field(default_factory=dict)
    """Behaviour as written -> when it holds. A behaviour that never holds may be missing or empty."""
    absent: Mapping[str, Intervals] = field(default_factory=dict)
    """Behaviour as written -> where it was scored as absent, for files that state this for each behaviour. Then the
    behaviour is scored in `bouts` and here only, and no other behaviour is scored."""
    behaviours: tuple[str, ...] | None = None
    """Behaviours that were scored, as written; None is every label of the ethogram."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Behaviour as written -> the row in which it occurs first, for messages; may be empty."""
    points: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Point event as written -> its times."""

    def place_of(self, written: str) -> str:
        """Return where a behaviour occurs: its first row, or the file."""
        return self.places.get(written, self.where)
