"""The difference between two groups that stays valid when the classifier errs: shares per animal to an interval and p.

A classifier's errors do not cancel between groups. It shrinks every difference, and where another behaviour differs
between groups its errors on this one differ too. Only frames scored by hand tell. What they allow, label by label:

- **every_animal_scored**: each animal's share is corrected by its own mean error; then Welch's test and interval.
- **some_animals_scored** (at least 4 in each group): prediction-powered inference with a fitted slope (PPI++). Each
  group is corrected by its own scored animals.
- **too_few_scored** (2 or 3 in a group): the same with slope 1, an interval only. Nothing is tested.
- **predictions_only** (fewer): the uncorrected difference, for exploration. Nothing is tested.

The animal is the unit everywhere. Coverage and error rates: `python -m benchmarks.groups` and docs/groups.md.

Source: Angelopoulos et al. 2023 (PPI) and 2024 (PPI++), whose estimators are the difference and the generalised
regression estimators of survey sampling; clustered by animal, and with t in place of z.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sheep.compare import powered, welch

EstimateKind = Literal["every_animal_scored", "some_animals_scored", "too_few_scored", "predictions_only"]

ENOUGH = 4
"""Scored animals per group from which the slope of labels on predictions can be fitted."""
FEW = 2
"""Scored animals per group from which there is an interval."""


@dataclass(frozen=True, slots=True)
class Group:
    """The animals of one group: A animals, L labels."""

    name: str
    predicted: NDArray[np.float64]
    """(A, L) mean prediction over all frames, 0 to 1."""
    predicted_scored: NDArray[np.float64]
    """(A, L) mean prediction over the scored frames; nan where unscored."""
    scored: NDArray[np.float64]
    """(A, L) mean label over the scored frames, 0 to 1; nan where unscored."""

    @property
    def corrected(self) -> NDArray[np.float64]:
        """(A, L) mean prediction, plus the mean of (label - prediction) over the scored frames; nan where unscored."""
        return self.predicted + self.scored - self.predicted_scored

    @property
    def is_scored(self) -> NDArray[np.bool_]:
        """(A, L) whether the animal has a scored frame."""
        return ~np.isnan(self.corrected)

    def of(self, labels: Sequence[int]) -> "Group":
        """Keep some labels, by their places."""
        return Group(self.name, self.predicted[:, labels], self.predicted_scored[:, labels], self.scored[:, labels])


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """The difference between two groups in one label."""

    kind: EstimateKind
    reason: str
    """Why this estimate is used, for readers."""
    mean_reference: float
    """Estimated share of time of the reference group; the mean prediction for `predictions_only`."""
    mean_group: float
    difference: float
    """mean_group - mean_reference."""
    low: float
    """Lower end of the interval; nan where animals do not vary."""
    high: float
    p: float
    """Two-sided; nan where nothing is tested."""
    least_p: float
    """The smallest p that so few animals can give; nan where nothing is tested."""
    test: str
    """Name of the test, for readers."""
    slope: float
    """Of labels on predictions, >= 0: how much the predictions help. Nan where none is used."""
    num_scored_reference: int
    num_scored_group: int
    uncorrected_difference: float
    """Of the mean predictions."""
    uncorrected_low: float
    """Of Welch's interval of the mean predictions."""
    uncorrected_high: float


@dataclass(frozen=True, slots=True)
class _Values:
    """What one kind of estimate gives for L labels; each array is (L,)."""

    means: tuple[NDArray[np.float64], NDArray[np.float64]]
    """Of the reference group and of the other."""
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    p: NDArray[np.float64]
    slope: NDArray[np.float64]
    least_p: float
    test: str


def estimate(
    reference: Group,
    other: Group,
    *,
    num_permutations: int,
    confidence: float,
    rng: np.random.Generator,
    unit: str = "animal",
) -> list[Estimate]:
    """Estimate the difference between two groups in every label, by the best estimate that its scored frames allow.

    Args:
        reference: at least 2 animals.
        other: at least 2 animals, the same labels.
        num_permutations: most permutations per test.
        confidence: of the intervals, 0 to 1.
        rng: draws permutations where there are too many to do all.
        unit: what an "animal" of these groups is, in words: pens count like animals.

    Returns:
        One for each label, in order.
    """
    estimates: dict[int, Estimate] = {}
    for labels in _patterns(reference, other):
        pair = reference.of(labels), other.of(labels)
        masks = pair[0].is_scored[:, 0], pair[1].is_scored[:, 0]
        kind = kind_of(*masks)
        values = _values(kind, *pair, masks, num_permutations, confidence, rng, unit)
        plain = welch.interval(pair[0].predicted, pair[1].predicted, confidence)
        for place, label in enumerate(labels):
            estimates[label] = Estimate(
                kind=kind,
                reason=reason_of(kind, pair[0].name, masks[0], pair[1].name, masks[1], unit),
                mean_reference=float(values.means[0][place]),
                mean_group=float(values.means[1][place]),
                difference=float(values.means[1][place] - values.means[0][place]),
                low=float(values.low[place]),
                high=float(values.high[place]),
                p=float(values.p[place]),
                least_p=values.least_p,
                test=values.test,
                slope=float(values.slope[place]),
                num_scored_reference=int(masks[0].sum()),
                num_scored_group=int(masks[1].sum()),
                uncorrected_difference=float(np.mean(pair[1].predicted[:, place]) - pair[0].predicted[:, place].mean()),
                uncorrected_low=float(plain[0][place]),
                uncorrected_high=float(plain[1][place]),
            )
    return [estimates[label] for label in range(reference.predicted.shape[1])]


def kind_of(scored_reference: NDArray[np.bool_], scored_other: NDArray[np.bool_]) -> EstimateKind:
    """Choose the estimate.

    Args:
        scored_reference: (A1,) whether each animal of the reference group has scored frames.
        scored_other: (A2,) the same of the other group.
    """
    least = int(min(scored_reference.sum(), scored_other.sum()))
    if scored_reference.all() and scored_other.all():
        return "every_animal_scored"
    if least >= ENOUGH:
        return "some_animals_scored"
    return "too_few_scored" if least >= FEW else "predictions_only"


def reason_of(
    kind: EstimateKind,
    reference: str,
    scored_reference: NDArray[np.bool_],
    other: str,
    scored_other: NDArray[np.bool_],
    unit: str = "animal",
) -> str:
    """Say why an estimate is used, and what would allow a better one.

    Args:
        kind: from `kind_of`.
        reference: the reference group's name.
        scored_reference: (A1,) whether each of its animals has scored frames.
        other: the other group's name.
        scored_other: (A2,) the same of that group.
        unit: what is counted, in words.
    """
    groups = ((reference, scored_reference), (other, scored_other))
    if kind == "every_animal_scored":
        return f"every {unit} has scored frames, so each is corrected by the classifier's mean error on it"
    counts = " and ".join(f"{int(mask.sum())} of {len(mask)} {unit}s of {name}" for name, mask in groups)
    if kind == "some_animals_scored":
        return f"{counts} have scored frames, so each group is corrected by its own scored {unit}s"
    wanted = [
        f"{min(ENOUGH, len(mask)) - int(mask.sum())} more of {name}"
        for name, mask in groups
        if mask.sum() < min(ENOUGH, len(mask))
    ]
    more = f"score {' and '.join(wanted)}, or some frames of every {unit}" if wanted else f"score every {unit}"
    if kind == "too_few_scored":
        return f"too few scored {unit}s: {counts} have scored frames; {more}"
    short = [
        f"{'no labels' if not mask.any() else f'only 1 scored {unit}'} in group {name}"
        for name, mask in groups
        if mask.sum() < FEW
    ]
    return f"exploratory: {' and '.join(short)} to check the classifier against; {more}"


def _patterns(reference: Group, other: Group) -> list[list[int]]:
    """Group labels by which animals are scored in them, so that those are estimated together."""
    scored = np.concatenate([reference.is_scored, other.is_scored])
    places: dict[bytes, list[int]] = {}
    for label in range(scored.shape[1]):
        places.setdefault(scored[:, label].tobytes(), []).append(label)
    return list(places.values())


def _values(
    kind: EstimateKind,
    reference: Group,
    other: Group,
    masks: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    num_permutations: int,
    confidence: float,
    rng: np.random.Generator,
    unit: str,
) -> _Values:
    """Estimate labels that have the same scored animals.

    Args:
        kind: which estimate.
        reference: A1 animals.
        other: A2 animals.
        masks: (A1,) and (A2,) which of them are scored.
        num_permutations: most that are done.
        confidence: of the intervals.
        rng: draws permutations.
        unit: what is counted, in words.
    """
    missing = np.full(reference.predicted.shape[1], math.nan)
    if kind == "every_animal_scored":
        shares = reference.corrected, other.corrected
        p, divisions = welch.permute(*shares, num_permutations, rng)
        low, high = welch.interval(*shares, confidence)
        means = shares[0].mean(axis=0), shares[1].mean(axis=0)
        test = f"permutation of {unit}s, Welch t, {divisions.words}"
        return _Values(means, low, high, p, missing, divisions.least_p, test)
    if kind == "predictions_only":
        low, high = welch.interval(reference.predicted, other.predicted, confidence)
        means = reference.predicted.mean(axis=0), other.predicted.mean(axis=0)
        return _Values(means, low, high, missing, missing, math.nan, "not tested")
    samples = (
        powered.Sample(reference.predicted, reference.corrected, masks[0]),
        powered.Sample(other.predicted, other.corrected, masks[1]),
    )
    if kind == "too_few_scored":
        result = powered.difference(*samples, slope=1.0)
        low, high = result.interval(confidence)
        return _Values(result.means, low, high, missing, result.slope, math.nan, "not tested")
    result = powered.difference(*samples)
    low, high = result.interval(confidence)
    p, least_p, words = powered.permute(*samples, num_permutations, rng)
    test = f"permutation of {unit}s within scored and unscored ones, prediction-powered t, {words}"
    return _Values(result.means, low, high, p, result.slope, least_p, test)
