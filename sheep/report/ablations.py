"""Which variants the report compares, what each comparison is about, and what the numbers do not show."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import pyarrow as pa

from sheep.config import StudyConfig
from sheep.evaluation import metrics
from sheep.evaluation.metrics import ScoreChanges
from sheep.io.manifest import Manifest
from sheep.report.data import Ablation
from sheep.report.text import variant_sentence
from sheep.schemas import labels_of, row_keys, targets_of
from sheep.search.predictions import probabilities_of
from sheep.search.stage import bootstrap
from sheep.variants import Variant


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Two variants to compare."""

    title: str
    without: Variant
    with_: Variant
    note: str


FIXED_INPUT = "Guidance of the fine-tuning, input held fixed"
PLANS = (
    Plan(
        title="SAM-2 guidance",
        without=Variant("unguided", "frame", False),
        with_=Variant("guided", "crop", False),
        note="As in the poster: the images for fine-tuning and the images that are embedded change together. Other "
        "tables "
        "change one of them at a time.",
    ),
    Plan(
        title="Temporal information",
        without=Variant("guided", "crop", False),
        with_=Variant("guided", "crop", True),
        note="The same backbone and crops; the probe of the second sees a window around each frame.",
    ),
    Plan(
        title=FIXED_INPUT,
        without=Variant("unguided", "crop", False),
        with_=Variant("guided", "crop", False),
        note="Both are shown crops: the contribution of fine-tuning on crops by itself.",
    ),
    Plan(
        title="The crop at the input, backbone held fixed",
        without=Variant("frozen", "frame", False),
        with_=Variant("frozen", "crop", False),
        note="Neither is fine-tuned: the contribution of the crop as input by itself.",
    ),
    Plan(
        title="Fine-tuning on crops against none, input held fixed",
        without=Variant("frozen", "crop", False),
        with_=Variant("guided", "crop", False),
        note="Both are shown crops.",
    ),
    Plan(
        title="The mask at the input, backbone held fixed",
        without=Variant("frozen", "crop", False),
        with_=Variant("frozen", "masked", False),
        note="Neither is fine-tuned: the contribution of painting everything but the animal grey by itself.",
    ),
    Plan(
        title="Guidance of the fine-tuning, shown masked crops",
        without=Variant("unguided", "masked", False),
        with_=Variant("guided", "masked", False),
        note="Both are shown the crop with everything but the animal painted grey, which neither was fine-tuned on.",
    ),
)
"""The first two are the poster's tables."""


class OutOfFold:
    """Out-of-fold predictions of a search, each variant's read once, beside the labels of the same frames."""

    def __init__(self, search: Manifest, label_frames: pa.Table, config: StudyConfig) -> None:
        """Nothing is read yet.

        Args:
            search: the search stage.
            label_frames: labels by frame, every labelled frame.
            config: the study's.
        """
        self._labels = label_frames
        self._row_of = {key: row for row, key in enumerate(row_keys(label_frames))}
        self._bootstrap = bootstrap(config.search, config.seed)
        self._read = cache(lambda variant: search.read("oof", keys=[variant.name]))

    def compare(self, without: Variant, with_: Variant) -> ScoreChanges:
        """Score two variants on the same resampled animals.

        Args:
            without: the variant that is improved on.
            with_: the other.
        """
        before, after = self._read(without), self._read(with_)
        targets = targets_of(self._labels.take(pa.array([self._row_of[key] for key in row_keys(before)])))
        animals = before.column("animal").to_pylist()
        return metrics.change(
            targets,
            probabilities_of(before),
            probabilities_of(after),
            animals,
            self._bootstrap,
            labels=labels_of(before),
        )


def ablations(predictions: OutOfFold, searched: Sequence[Variant]) -> list[Ablation]:
    """Compare the pairs of `PLANS` of which both variants were searched.

    Args:
        predictions: of the search.
        searched: every variant with results.
    """
    found = []
    for plan in PLANS:
        if {plan.without, plan.with_} <= set(searched):
            changes = predictions.compare(plan.without, plan.with_)
            found.append(
                Ablation(
                    title=plan.title,
                    without=variant_sentence(plan.without),
                    with_=variant_sentence(plan.with_),
                    rows={**changes.labels, "macro": changes.macro},
                    note=plan.note,
                )
            )
    return found


def cautions(made: Sequence[Ablation], is_transductive: bool) -> list[str]:
    """Name conclusions that a reader could draw from the tables but that they do not support.

    Args:
        made: the report's ablations.
        is_transductive: whether fine-tuning saw animals that are scored.
    """
    lines = []
    if is_transductive:
        lines.append(
            "Every animal is annotated, so fine-tuning also saw frames of the animals it is scored on (transductive)."
        )
    if any(one.title == FIXED_INPUT and not one.rows["macro"].percent.low > 0 for one in made):
        lines.append(
            "The table of SAM-2 guidance changes two things at once. With crops as input on both sides, fine-tuning on "
            "crops is not shown to be better than on whole frames: see the table with the input held fixed."
        )
    return lines


def unbeaten_baselines(predictions: OutOfFold, macro: Mapping[Variant, float], confidence: float) -> list[str]:
    """Name the backbones that are not shown to beat the best baseline.

    They are shown crops: so much a baseline sees too.

    Args:
        predictions: of the search.
        macro: macro score of every variant that was searched; nan where undefined.
        confidence: level of the intervals, 0 to 1.
    """
    lines = []
    for temporal in (False, True):
        baselines = [
            variant
            for variant, value in macro.items()
            if variant.encoder.is_baseline and variant.temporal == temporal and not math.isnan(value)
        ]
        best = max(baselines, key=lambda variant: macro[variant], default=None)
        for name in ("frozen", "guided"):
            backbone = Variant(name, "crop", temporal)
            if best is None or math.isnan(macro.get(backbone, math.nan)):
                continue
            difference = predictions.compare(best, backbone).macro.difference
            if not difference.low > 0:  # also where it is nan
                lines.append(_unbeaten(backbone, best, macro, difference, confidence))
    return lines


def _unbeaten(
    backbone: Variant,
    best: Variant,
    macro: Mapping[Variant, float],
    difference: metrics.ScoreInterval,
    confidence: float,
) -> str:
    verb = "does not beat" if difference.value <= 0 else "is not shown to beat"
    span = "none" if math.isnan(difference.low) else f"{difference.low:+.3f} to {difference.high:+.3f}"
    time = "window" if backbone.temporal else "single frame"
    return (
        f"{backbone.encoder_name}, shown crops, {time}: a mean of {macro[backbone]:.3f} {verb} the best baseline, "
        f"{best.encoder_name} ({best.encoder.words}), with {macro[best]:.3f} (difference {difference.value:+.3f}, "
        f"{100 * confidence:g} % interval {span}). So the study does not show that this backbone reads behaviour "
        "better "
        "than that."
    )
