"""What a report is made of: the results that earlier stages wrote, and images.

The report computes no score or test itself.

Missing is nan wherever a float stands, and is shown as "not scored", never as 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sheep.compare.results import ClassifierError, Comparison, LeftOut
from sheep.compare.shares import AnimalShares
from sheep.config import StudyConfig
from sheep.embed.encoders import backbones
from sheep.errors import ContractError
from sheep.evaluation.agreement import Agreement
from sheep.evaluation.metrics import ScoreChange, Scores
from sheep.finetune.record import Step, ValidationRecord
from sheep.search.results import Hyperparameters
from sheep.variants import Variant


@dataclass(frozen=True, kw_only=True)
class VariantScores:
    """One variant, and how well it recognised the labels."""

    variant: Variant
    scores: Scores
    chosen: tuple[Hyperparameters, ...]
    """Of each outer fold, then of the final probe."""


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """What one ingredient contributes: two variants that differ in it."""

    title: str
    without: str
    """The variant without it, in words."""
    with_: str
    """The variant with it, in words."""
    rows: Mapping[str, ScoreChange]
    """By label, and `macro`."""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """One animal over one video."""

    video: str
    animal: str
    time_s: NDArray[np.float64]
    """(F,) increasing [s]."""
    annotation: NDArray[np.floating] | None
    """(F, L) 0 or 1, nan where unscored; None where the animal was not annotated."""
    probability: NDArray[np.floating]
    """(F, L) in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class AttentionRow:
    """Attention of each backbone in one image."""

    video: str
    frame: int
    image: NDArray[np.uint8]
    """(S, S, 3) RGB."""
    maps: Mapping[str, NDArray[np.float32]]
    """Backbone -> (heads, h, w) of attention, >= 0; heads are in the same order for all."""


@dataclass(frozen=True, kw_only=True)
class FinetuneRun:
    """How one backbone was fine-tuned."""

    name: str
    """The encoder's."""
    curve: tuple[Step, ...]
    """About 200 evenly spaced steps."""
    validation: ValidationRecord | None
    """None where validation was disabled."""


@dataclass(frozen=True, kw_only=True)
class VideoError:
    """A video that a stage could not use."""

    video: str
    stage: str
    error: str


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """Everything on the page."""

    title: str
    config: StudyConfig
    facts: list[tuple[str, str]]
    """Names and values of what was analysed, in the order to show."""
    labels: tuple[str, ...]
    """Names, in the order of every table and figure."""
    variants: list[VariantScores]
    ablations: list[Ablation]
    """The first two are the poster's tables."""
    comparisons: tuple[Comparison, ...]
    """One for each label and group."""
    proportions: tuple[AnimalShares, ...]
    """One for each animal."""
    classifier_errors: tuple[ClassifierError, ...]
    """One for each group, the reference first, and label: why corrected and uncorrected differences differ."""
    left_out: tuple[LeftOut, ...]
    """Animals and groups that the comparison does without."""
    agreement: tuple[Agreement, ...]
    """One for each label that two observers scored in the same animal; empty without a second observer."""
    ethograms: list[Timeline]
    sheets: Mapping[str, bytes]
    """Video -> contact sheet, a JPEG."""
    attention: list[AttentionRow]
    finetunes: list[FinetuneRun]
    """One for each tuned backbone; its curve and validations."""
    errors: list[VideoError]
    warnings: list[str]
    """What a reader must know before relying on the numbers."""


def check(data: ReportData) -> None:
    """Refuse data that would become a wrong figure.

    Raises:
        ContractError: a comparison is of an unknown label, or its difference and means disagree in sign; an array has
            another shape.
    """
    for comparison in data.comparisons:
        _check_comparison(comparison, data.labels)
    for ethogram in data.ethograms:
        shape = (len(ethogram.time_s), len(data.labels))
        for name, values in (("probability", ethogram.probability), ("annotation", ethogram.annotation)):
            if values is not None and (values.shape != shape or not shape[0]):
                raise ContractError(
                    f"report: {name} of {ethogram.video!r} is {values.shape}, expected {shape} with at least one "
                    "frame. "
                    "This is a bug: report it."
                )
    for row in data.attention:
        for backbone, maps in row.maps.items():
            if backbone not in backbones() or maps.ndim != 3:
                raise ContractError(
                    f"report: attention {backbone!r} of {row.video!r} is {maps.shape}, expected (heads, h, w) for "
                    "one of "
                    f"{', '.join(backbones())}. This is a bug: report it."
                )


def _check_comparison(row: Comparison, labels: Sequence[str]) -> None:
    if row.label not in labels:
        raise ContractError(
            f"report: a comparison of {row.label!r}, expected one of {', '.join(labels)}. This is a bug: report it."
        )
    # False where one of them is nan.
    if (row.mean_group - row.mean_reference) * row.difference < -1e-9:
        raise ContractError(
            f"report: {row.label!r}: difference {row.difference} has another sign than {row.group!r} minus "
            f"{row.reference!r} ({row.mean_group} minus {row.mean_reference}). This is a bug: report it."
        )
