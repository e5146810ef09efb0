"""What a check finds."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupFacts:
    """One group of the cohort."""

    group: str
    num_animals: int
    num_annotated: int
    """Of them with annotations."""
    num_videos: int


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelFacts:
    """What the annotations hold of one label."""

    label: str
    minutes_scored: Mapping[str, float]
    """Group -> scored time [min]; nan where the video's length is not known."""
    share: Mapping[str, float]
    """Group -> share of the scored time in which it holds, 0 to 1; nan where nothing was scored."""
    num_animals: int
    """Animals that show it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileFacts:
    """One file of the annotation folder."""

    name: str
    tool: str
    """Empty where the file was ignored."""
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckReport:
    """Everything that is known of a study before it runs."""

    num_videos: int
    groups: tuple[GroupFacts, ...]
    labels: tuple[LabelFacts, ...]
    inferred: bool
    """Whether the labels were taken from the annotations, without an ethogram file."""
    exclusive: tuple[tuple[str, ...], ...]
    """Labels of which at most one holds at a time."""
    files: tuple[FileFacts, ...]
    detectable_sd: float
    """Difference between two groups that a test of one label would find with 80 % power at 5 %, in standard deviations
    of the animals; nan where there are not two groups. Unadjusted for the number of labels."""
    errors: tuple[str, ...]
    """What has to be corrected before the study can run."""
    warnings: tuple[str, ...]
    """What may be meant, and should be looked at."""
