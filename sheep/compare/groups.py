"""Predictions and a cohort to the difference between groups in each label, with interval and adjusted p.

The animal is the unit of analysis: frames are averaged over a video and videos over an animal, and only animals are
counted. The quantity compared is the mean probability (the expected share of time), not thresholded bouts, which would
shrink rare labels.

The p-value comes from permuting animals between the two groups, with Welch's t as the statistic: exact if the groups do
not differ at all, and close to nominal if they differ in spread only (simulated with 5 animals against 15 of a third of
the spread, 9 % false positives at 5 %; permuting the plain difference, 21 %). The interval is Welch's t interval of the
animals' means. At 4 to 15 animals per group, 95 % intervals covered 93 to 96 % in simulations, bootstrap percentile
intervals 84 to 92 %. The probe's errors are not in the interval: it is about these predictions, and assumes that the
probe errs equally in both groups.
"""

import itertools
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import stats

from sheep.config import CompareConfig, seed_for
from sheep.errors import ConfigError
from sheep.io.manifest import Manifest
from sheep.io.typed_json import from_json, object_json, to_json
from sheep.schemas import labels_of

UNIT = "animal"

_log = logging.getLogger(__name__)
_CHUNK = 2000  # permutations at a time


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One group against the reference group, in one label."""

    label: str
    reference: str
    group: str
    num_reference: int
    """Animals in the reference group."""
    num_group: int
    mean_reference: float
    """Share of time, mean over the reference group's animals; 0 to 1."""
    mean_group: float
    difference: float
    """mean_group - mean_reference."""
    low: float
    """Lower end of the confidence interval of the difference."""
    high: float
    confidence: float
    p: float
    """Two-sided."""
    p_adjusted: float
    """Benjamini-Hochberg over all labels and groups."""
    found: bool
    """p_adjusted <= alpha."""
    test: str
    """Name of the test, for readers."""
    unit: str
    """Unit of analysis, for readers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnimalShares:
    """How one animal spends its time, as predicted."""

    animal: str
    group: str
    num_videos: int
    duration_s: float
    """Of all its videos together."""
    shares: Mapping[str, float]
    """Label -> share of time, 0 to 1; nan where missing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupComparison:
    """What the compare stage leaves in its manifest's facts."""

    labels: tuple[str, ...]
    """The labels that were predicted, in the order of every table."""
    comparisons: tuple[Comparison, ...]
    """One for each other group (by name) and label (in order)."""
    proportions: tuple[AnimalShares, ...]
    """One for each predicted animal, by name."""

    def to_json(self) -> dict[str, object]:
        """Return JSON values; an animal's shares are keys of its object, under the labels' names."""
        return {
            "labels": list(self.labels),
            "comparisons": to_json(self.comparisons),
            "proportions": [shares_json(row) for row in self.proportions],
        }


def shares_json(row: AnimalShares) -> dict[str, object]:
    """Return one animal's JSON object, with a key for each label."""
    values = object_json(row)
    del values["shares"]
    return {**values, **object_json(row.shares)}


def read_comparison(compared: Manifest) -> GroupComparison:
    """Read the result of the compare stage.

    Raises:
        ContractError: the manifest was written by another version.
    """
    labels = compared.facts.get("labels", [])
    animals = [
        {
            **{name: value for name, value in row.items() if name not in labels},
            "shares": {label: row[label] for label in labels if label in row},
        }
        for row in compared.facts.get("proportions", [])
    ]
    return from_json(
        GroupComparison, {**compared.facts, "proportions": animals}, f"{compared.uri}/_manifest.json: facts"
    )


def proportions(predictions: pa.Table, group_of: Mapping[str, str]) -> list[AnimalShares]:
    """Estimate each animal's share of time per label.

    A frame is weighted by its duration: the time to the next frame of the same animal and video, and for the last frame
    the median step. An animal's share is the plain mean over its videos of these weighted means.

    Args:
        predictions: the predictions table, rows in any order.
        group_of: animal -> group, for every animal that is predicted.

    Returns:
        One row per animal, by name.
    """
    frames = predictions.to_pandas().sort_values(["animal", "video", "frame"], kind="stable")
    labels = list(labels_of(predictions))
    per_animal: dict[str, list[NDArray[np.float64]]] = {}
    duration_s: dict[str, float] = {}
    for (animal, _), rows in frames.groupby(["animal", "video"], sort=True):
        steps_s = np.diff(rows["time_s"].to_numpy())
        weights = np.append(steps_s, np.median(steps_s)) if len(steps_s) else np.ones(1)
        values = rows[labels].to_numpy(dtype=float)
        per_animal.setdefault(animal, []).append(weights @ values / weights.sum())
        duration_s[animal] = duration_s.get(animal, 0.0) + (float(weights.sum()) if len(steps_s) else 0.0)
    return [
        AnimalShares(
            animal=animal,
            group=group_of[animal],
            num_videos=len(videos),
            duration_s=duration_s[animal],
            shares=dict(zip(labels, np.mean(videos, axis=0).tolist(), strict=True)),
        )
        for animal, videos in per_animal.items()
    ]


def compare(predictions: pa.Table, cohort: pa.Table, config: CompareConfig, *, seed: int) -> GroupComparison:
    """Compare every group with the reference group, label by label.

    Args:
        predictions: the predictions table, each animal predicted by a probe that did not train on it.
        cohort: COHORT; animals without predictions are not counted.
        config: reference, permutations, confidence, alpha.
        seed: of the permutations, where they are too many to do all.

    Returns:
        The comparisons, and the animals' shares of time that they rest on.

    Raises:
        ConfigError: an animal has no group or two, fewer than two groups or than two animals in one, or an unknown
            reference.
    """
    animals = sorted(set(predictions.column("animal").to_pylist()))
    labels = labels_of(predictions)
    table = proportions(predictions, _groups(cohort, animals))
    values = np.array([[row.shares[label] for label in labels] for row in table]).reshape(-1, len(labels))
    names = sorted({row.group for row in table})
    rows = {name: np.flatnonzero([row.group == name for row in table]) for name in names}
    reference = _reference(rows, config.reference)
    results: list[Comparison] = []
    for name in names:
        if name != reference:
            rng = np.random.default_rng(seed_for(seed, "compare", name))
            results += _against(reference, name, labels, values[rows[reference]], values[rows[name]], config, rng)
    adjusted = stats.false_discovery_control([result.p for result in results], method="bh")
    comparisons = tuple(
        replace(result, p_adjusted=float(p), found=bool(p <= config.advanced.alpha))
        for result, p in zip(results, adjusted, strict=True)
    )
    return GroupComparison(labels=labels, comparisons=comparisons, proportions=tuple(table))


def _groups(cohort: pa.Table, animals: Sequence[str]) -> dict[str, str]:
    """Return the group of every animal in the cohort, once each of `animals` is known to have one."""
    group_of: dict[str, str] = {}
    for row in cohort.to_pylist():
        if group_of.setdefault(row["animal"], row["group"]) != row["group"]:
            raise ConfigError(
                f"compare: animal {row['animal']!r} is in {row['group']!r} and in {group_of[row['animal']]!r}, "
                "expected one group. Correct the cohort file."
            )
    missing = [animal for animal in animals if animal not in group_of]
    if missing:
        raise ConfigError(
            f"compare: no group for {len(missing)} predicted animals ({', '.join(missing[:20])}), expected one each. "
            "Add them to the cohort file."
        )
    return group_of


def _reference(rows: Mapping[str, NDArray[np.intp]], wanted: str) -> str:
    """Return the name of the reference group, once the groups are known to be comparable.

    Args:
        rows: group -> its animals.
        wanted: `compare.reference`; empty takes the alphabetically first.
    """
    reference = wanted or min(rows, default="")
    if reference not in rows or len(rows) < 2:
        raise ConfigError(
            f"compare: reference {reference!r} and groups {sorted(rows)}, expected the reference and at least one "
            "more. Correct compare.reference or the cohort file."
        )
    small = [f"{name} ({len(members)})" for name, members in rows.items() if len(members) < 2]
    if small:
        raise ConfigError(
            f"compare: fewer than 2 animals in {', '.join(small)}, expected at least 2 per group: there is no test "
            "without "
            "spread between animals. Add animals, or remove the group from the cohort file."
        )
    return reference


def _against(
    reference: str,
    group: str,
    labels: Sequence[str],
    base: NDArray[np.float64],
    other: NDArray[np.float64],
    config: CompareConfig,
    rng: np.random.Generator,
) -> list[Comparison]:
    """Compare two groups label by label; `p_adjusted` is nan and `found` False until all comparisons are known.

    Args:
        reference: name of the reference group.
        group: name of the other group.
        labels: (L,) names.
        base: (A1, L) shares of time of the reference group's animals.
        other: (A2, L) of the other group's.
        config: permutations, confidence, alpha.
        rng: draws permutations.
    """
    p, test = _permute(base, other, config.advanced.num_permutations, rng)
    low, high = _welch_interval(base, other, config.advanced.confidence)
    means = base.mean(axis=0), other.mean(axis=0)
    # A division and its mirror are equally extreme, so this is the smallest p that so few animals can give.
    least = 2 / math.comb(len(base) + len(other), len(base))
    if least > config.advanced.alpha:
        _log.warning(
            "too_few_animals reference=%s group=%s least_p=%.3g alpha=%.3g",
            reference,
            group,
            least,
            config.advanced.alpha,
        )
    return [
        Comparison(
            label=label,
            reference=reference,
            group=group,
            num_reference=len(base),
            num_group=len(other),
            mean_reference=float(means[0][i]),
            mean_group=float(means[1][i]),
            difference=float(means[1][i] - means[0][i]),
            low=float(low[i]),
            high=float(high[i]),
            confidence=config.advanced.confidence,
            p=float(p[i]),
            p_adjusted=math.nan,
            found=False,
            test=test,
            unit=UNIT,
        )
        for i, label in enumerate(labels)
    ]


def _permute(
    base: NDArray[np.float64], other: NDArray[np.float64], num_permutations: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], str]:
    """Test by permutation.

    All divisions of the animals are counted where there are at most `num_permutations`; the actual one is among them,
    so p is never 0. Otherwise random ones are drawn, and the actual one is added: (1 + hits) / (1 + draws).

    Args:
        base: (A1, L) shares of time of the reference group's animals.
        other: (A2, L) of the other group's.
        num_permutations: most that are done.
        rng: draws them where there are more.

    Returns:
        Two-sided p per label (L,), and the name of the test.

    Source: studentised permutation test, Chung and Romano 2013, section 2; p of random permutations, Phipson and Smyth
    2010.
    """
    num_base, num_all = len(base), len(base) + len(other)
    pooled = np.concatenate([base, other])
    pooled = pooled - pooled.mean(axis=0)  # keeps sums of squares accurate
    count = math.comb(num_all, num_base)
    exact = count <= num_permutations
    if exact:
        divisions = np.array(list(itertools.combinations(range(num_all), num_base)))
    else:
        divisions = np.argsort(rng.random((num_permutations, num_all)), axis=1)[:, :num_base]
    actual = _welch_t(pooled, np.arange(num_base)[None])[0]
    hits = np.zeros(pooled.shape[1])
    for start in range(0, len(divisions), _CHUNK):
        permuted = _welch_t(pooled, divisions[start : start + _CHUNK])
        hits += (permuted >= actual * (1 - 1e-9)).sum(axis=0)  # rounding must not lose the actual division
    if exact:
        return hits / count, f"permutation of animals, Welch t, all {count} divisions"
    return (1 + hits) / (1 + num_permutations), f"permutation of animals, Welch t, {num_permutations} random divisions"


def _welch_t(pooled: NDArray[np.float64], divisions: NDArray[np.integer]) -> NDArray[np.float64]:
    """Absolute Welch t of each label for each division.

    Args:
        pooled: (A, L) shares of time of all animals.
        divisions: (P, A1) which animals are in the first group.

    Returns:
        (P, L); infinite where groups differ without any spread.
    """
    member = np.zeros((len(divisions), len(pooled)))
    np.put_along_axis(member, divisions, 1.0, axis=1)
    sizes = divisions.shape[1], len(pooled) - divisions.shape[1]
    means, errors = [], []
    for weight, size in ((member, sizes[0]), (1 - member, sizes[1])):
        mean = weight @ pooled / size
        square = weight @ pooled**2 - size * mean**2
        means.append(mean)
        errors.append(np.maximum(square, 0.0) / (size - 1) / size)
    difference = np.abs(means[0] - means[1])
    # Spread and differences below rounding count as 0: two constant groups are infinitely far apart, or equal.
    floor = 1e-12 * np.abs(pooled).max(axis=0)
    error = np.sqrt(errors[0] + errors[1])
    t = np.where(error > floor, difference / np.where(error > floor, error, 1.0), np.inf)
    result: NDArray[np.float64] = np.where(difference > floor, t, 0.0)
    return result


def _welch_interval(
    base: NDArray[np.float64], other: NDArray[np.float64], confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Welch's t interval of mean(other) - mean(base); without any spread, the difference itself.

    Args:
        base: (A1, L) shares of time of the reference group's animals.
        other: (A2, L) of the other group's.
        confidence: 0 to 1.

    Returns:
        Lower and upper ends, (L,) each.
    """
    errors = base.var(axis=0, ddof=1) / len(base), other.var(axis=0, ddof=1) / len(other)
    total = errors[0] + errors[1]
    below = errors[0] ** 2 / (len(base) - 1) + errors[1] ** 2 / (len(other) - 1)
    freedom = np.where(below > 0, total**2 / np.where(below > 0, below, 1.0), 1.0)
    half = stats.t.ppf((1 + confidence) / 2, freedom) * np.sqrt(total)
    difference = other.mean(axis=0) - base.mean(axis=0)
    return difference - half, difference + half
