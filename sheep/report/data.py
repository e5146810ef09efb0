"""What a report is made of. Plain values only: the report reads no tables and computes no score or test of the study.

Missing is nan or None anywhere a float stands, and is shown as "not scored", never as 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sheep.config import View
from sheep.embed.encoders import ENCODERS
from sheep.errors import ContractError
from sheep.schemas import LABELS

BACKBONES = tuple(name for name, encoder in ENCODERS.items() if not encoder.is_baseline)
VIEWS: tuple[View, ...] = ("frame", "crop", "masked", "track")

COMPARISON_KEYS = (
    "label", "reference", "group", "num_reference", "num_group", "mean_reference", "mean_group",
    "difference", "low", "high", "p", "p_adjusted", "found", "test", "unit",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class VariantScores:
    """One way of doing it, and how well it recognised the labels."""

    encoder: str
    """One of `ENCODERS`."""
    view: View
    temporal: bool
    """Whether neighbouring frames join in."""
    scores: Mapping[str, Any]
    """metric, split: text; labels: label -> value, low, high; macro: value, low, high; base_rates: label -> share;
    num_animals, num_frames: int."""
    chosen: list[Mapping[str, Any]]
    """Per outer fold: fold (-1 is the final probe), half_width_s, inverse_l2, num_components."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """What one ingredient brings, everything else held fixed."""

    title: str
    without: str
    """The variant without, in words."""
    with_: str
    """The variant with, in words."""
    rows: Mapping[str, Mapping[str, Any]]
    """Label or `macro` -> without, with: score; percent, difference: value, low, high (over animals)."""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Ethogram:
    """One animal over one video."""

    video: str
    animal: str
    time_s: NDArray[np.float64]
    """(F,) rising."""
    truth: NDArray[np.floating[Any]] | None
    """(F, L), 0 or 1, nan where unscored; None where nobody annotated the animal."""
    probability: NDArray[np.floating[Any]]
    """(F, L) in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class AttentionRow:
    """Where each backbone looks in one image."""

    video: str
    frame: int
    image: NDArray[np.uint8]
    """(S, S, 3) RGB."""
    maps: Mapping[str, NDArray[np.float32]]
    """Backbone -> (heads, h, w) of attention, >= 0; all heads in the same order."""


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """All of it."""

    title: str
    study: Mapping[str, Any]
    """name, seed, digest, config (JSON values)."""
    facts: list[tuple[str, str]]
    """What was analysed and how long it took, in the order to show."""
    variants: list[VariantScores]
    changes: list[Change]
    """The first two are the poster's tables."""
    comparisons: list[Mapping[str, Any]]
    """One per label and group (COMPARISON_KEYS); means and differences are shares of time in [0, 1], difference is
    group less reference, unit is the unit of analysis."""
    proportions: list[Mapping[str, Any]]
    """One per animal: animal, group, one share of time per label."""
    ethograms: list[Ethogram]
    sheets: Mapping[str, bytes]
    """Video -> JPEG."""
    attention: list[AttentionRow]
    finetunes: list[Mapping[str, Any]]
    """name; curve: list of step, loss, teacher_entropy; validation, where it was enabled: reason, has_labels, animals,
    num_frames, weights_step, history: list of step, rank_me, score."""
    errors: list[Mapping[str, str]]
    """video, stage, error."""
    warnings: list[str]


def check(data: ReportData) -> None:
    """Refuse what would otherwise become a wrong figure.

    Raises:
        ContractError: a comparison lacks a key, or its difference and means disagree in sign; an array has another
            shape.
    """
    for row in data.comparisons:
        _check_comparison(row)
    for ethogram in data.ethograms:
        shape = (len(ethogram.time_s), len(LABELS))
        for name, values in (("probability", ethogram.probability), ("truth", ethogram.truth)):
            if values is not None and (values.shape != shape or not shape[0]):
                raise ContractError(
                    f"report: {name} of {ethogram.video!r} is {values.shape}, expected {shape} with at least one "
                    "frame. "
                    "This is a bug: report it."
                )
    for seen in data.attention:
        for backbone, maps in seen.maps.items():
            if backbone not in BACKBONES or maps.ndim != 3:
                raise ContractError(
                    f"report: attention {backbone!r} of {seen.video!r} is {maps.shape}, expected (heads, h, w) for "
                    "one of "
                    f"{BACKBONES}. This is a bug: report it."
                )


def _check_comparison(row: Mapping[str, Any]) -> None:
    missing = [key for key in COMPARISON_KEYS if key not in row]
    if missing or row["label"] not in LABELS:
        raise ContractError(
            f"report: a comparison of {row.get('label')!r} lacks {missing}, expected {COMPARISON_KEYS} of one of "
            f"{LABELS}. "
            "This is a bug: report it."
        )
    values = [row[key] for key in ("mean_group", "mean_reference", "difference")]
    if None not in values and (values[0] - values[1]) * values[2] < -1e-9:
        raise ContractError(
            f"report: {row['label']!r}: difference {row['difference']} has another sign than {row['group']!r} less "
            f"{row['reference']!r} ({row['mean_group']} less {row['mean_reference']}). This is a bug: report it."
        )
