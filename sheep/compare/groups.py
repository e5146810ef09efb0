"""Predictions, labels and a cohort to the difference between groups in each label, with interval and adjusted p.

The animal is the unit of analysis, or the pen where the cohort file names pens: frames are averaged over an animal by
time (`shares`), animals over their pen, and only these are counted.
The quantity compared is the mean probability (the expected share of time), not thresholded bouts, which would shrink
rare labels. It is corrected by the frames that were scored by hand, as far as they allow (`estimates`): a mean of
predictions alone shrinks differences, and shows some that are not there where the classifier errs differently by group.
"""

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import stats

from sheep.annotations.units import ANIMALS, Units
from sheep.compare import welch
from sheep.compare.estimates import Estimate, Group, estimate
from sheep.compare.results import ClassifierError, Comparison, GroupComparison, LeftOut
from sheep.compare.shares import AnimalShares, animal_shares
from sheep.config import CompareConfig, seed_for
from sheep.errors import ConfigError
from sheep.schemas import labels_of

_log = logging.getLogger(__name__)


def compare(
    predictions: pa.Table,
    label_frames: pa.Table,
    cohort: pa.Table,
    config: CompareConfig,
    *,
    seed: int,
    units: Units = ANIMALS,
) -> GroupComparison:
    """Compare every group with the reference group, label by label.

    Args:
        predictions: the predictions table, each animal predicted by probes that did not train on it.
        label_frames: labels by frame, of animals whose predictions are independent of them; null where unscored.
        cohort: COHORT; animals without predictions are left out.
        config: reference, permutations, confidence, alpha.
        seed: of the permutations, where they are too many to do all.
        units: which animals count together, such as those of one pen.

    Returns:
        The comparisons, what they rest on, and what was left out.

    Raises:
        ConfigError: an animal has no group or two, fewer than two groups of at least two units, or an unknown
            reference.
        ContractError: labels and predictions are of different labels.
    """
    group_of = _groups(cohort, sorted(set(predictions.column("animal").to_pylist())))
    table, unobserved = animal_shares(predictions, label_frames, group_of)
    labels = labels_of(predictions)
    members: dict[str, dict[str, list[AnimalShares]]] = {name: {} for name in sorted(set(group_of.values()))}
    for row in table:
        members[row.group].setdefault(units.of(row.animal), []).append(row)
    kept = {name: rows for name, rows in members.items() if len(rows) > 1}
    reference = _reference(kept, members, config.reference, units.word)
    groups = {name: _group(name, list(rows.values()), labels) for name, rows in kept.items()}
    order = [reference, *(name for name in groups if name != reference)]
    estimates = {
        name: estimate(
            groups[reference],
            groups[name],
            num_permutations=config.advanced.num_permutations,
            confidence=config.advanced.confidence,
            rng=np.random.default_rng(seed_for(seed, "compare", name)),
            unit=units.word,
        )
        for name in order[1:]
    }
    errors_seed = seed_for(seed, "compare", "errors")
    return GroupComparison(
        labels=labels,
        comparisons=_comparisons(groups, reference, estimates, units.word, labels, config),
        errors=_errors([groups[name] for name in order], labels, config, errors_seed),
        proportions=tuple(table),
        left_out=_left_out(group_of, {row.animal for row in table}, set(unobserved), members, units.word),
    )


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


def _reference(kept: Mapping[str, object], members: Mapping[str, Mapping[str, object]], wanted: str, unit: str) -> str:
    """Return the name of the reference group, once the groups are known to be comparable.

    Args:
        kept: the groups of at least two units.
        members: every group -> its observed units.
        wanted: `compare.reference`; empty takes the alphabetically first that is kept.
        unit: what a unit is, for messages.
    """
    reference = wanted or min(kept, default="")
    if reference not in kept or len(kept) < 2:
        sizes = ", ".join(f"{name} ({len(rows)})" for name, rows in members.items()) or "none"
        raise ConfigError(
            f"compare: reference {reference!r} and observed {unit}s per group: {sizes}; expected the reference and at "
            f"least one more group, with at least 2 {unit}s each: without spread between {unit}s there is no test. "
            f"Correct compare.reference or the cohort file, or add {unit}s."
        )
    return reference


def _group(name: str, units: Sequence[Sequence[AnimalShares]], labels: Sequence[str]) -> Group:
    """Arrange the units of a group in arrays: each is the mean over its animals, or over those that are scored.

    Args:
        name: the group's.
        units: the animals of each.
        labels: (L,) names.
    """

    def mean(field: str) -> NDArray[np.float64]:
        rows = [[[getattr(row, field)[label] for label in labels] for row in animals] for animals in units]
        return np.array([_known_mean(np.array(animals)) for animals in rows])

    return Group(name, mean("shares"), mean("shares_where_scored"), mean("scored"))


def _known_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the rows of (A, L) that are not nan, per column; nan where all are."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    mean: NDArray[np.float64] = np.where(known, values, 0.0).sum(axis=0) / np.where(count > 0, count, np.nan)
    return mean


def _comparisons(
    groups: Mapping[str, Group],
    reference: str,
    estimates: Mapping[str, Sequence[Estimate]],
    unit: str,
    labels: Sequence[str],
    config: CompareConfig,
) -> tuple[Comparison, ...]:
    """Adjust the p-values of all tests together.

    Args:
        groups: by name.
        reference: name of the reference group.
        estimates: other group -> one for each label.
        unit: what a unit is.
        labels: (L,) names.
        config: confidence, alpha.
    """
    rows = [(name, label, one) for name, made in estimates.items() for label, one in zip(labels, made, strict=True)]
    p = np.array([one.p for _, _, one in rows])
    adjusted, least = adjust(p), least_adjusted(p, np.array([one.least_p for _, _, one in rows]))
    if np.isfinite(p).any() and not (least <= config.advanced.alpha).any():
        _log.warning("too_few_animals least_adjusted_p=%.3g alpha=%.3g", np.nanmin(least), config.advanced.alpha)
    return tuple(
        _comparison(
            label,
            groups[reference],
            groups[name],
            one,
            (float(adjusted[i]), float(least[i])),
            int(np.isfinite(p).sum()),
            unit,
            config,
        )
        for i, (name, label, one) in enumerate(rows)
    )


def _comparison(
    label: str,
    reference: Group,
    group: Group,
    made: Estimate,
    adjusted: tuple[float, float],
    num_tests: int,
    unit: str,
    config: CompareConfig,
) -> Comparison:
    """Put one estimate beside what it is of.

    Args:
        label: its name.
        reference: the reference group.
        group: the other group.
        made: the estimate.
        adjusted: the adjusted p, and the least that it could be.
        num_tests: that were adjusted together.
        unit: what a unit is.
        config: confidence, alpha.
    """
    return Comparison(
        label=label,
        reference=reference.name,
        group=group.name,
        num_reference=len(reference.predicted),
        num_group=len(group.predicted),
        num_scored_reference=made.num_scored_reference,
        num_scored_group=made.num_scored_group,
        estimate=made.kind,
        reason=made.reason,
        mean_reference=made.mean_reference,
        mean_group=made.mean_group,
        difference=made.difference,
        low=made.low,
        high=made.high,
        confidence=config.advanced.confidence,
        uncorrected_difference=made.uncorrected_difference,
        uncorrected_low=made.uncorrected_low,
        uncorrected_high=made.uncorrected_high,
        slope=made.slope,
        p=made.p,
        p_adjusted=adjusted[0],
        num_tests=num_tests,
        least_p=made.least_p,
        least_p_adjusted=adjusted[1],
        found=bool(adjusted[0] <= config.advanced.alpha),  # False where it is nan
        test=made.test,
        unit=unit,
    )


def adjust(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Adjust p-values for their number by Benjamini and Hochberg's procedure.

    Args:
        p: (T,) in 0 to 1; nan where nothing was tested, which does not count.

    Returns:
        (T,) adjusted, nan where p is.
    """
    adjusted = np.full(len(p), np.nan)
    tested = np.isfinite(p)
    if tested.any():
        adjusted[tested] = stats.false_discovery_control(p[tested], method="bh")
    return adjusted


def least_adjusted(p: NDArray[np.float64], least_p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the least that each adjusted p could be, given the other tests: above alpha, it could never be found.

    Args:
        p: (T,); nan where nothing was tested.
        least_p: (T,) the smallest value that each test's p can take.

    Returns:
        (T,), nan where p is.
    """
    least = np.full(len(p), np.nan)
    for place in np.flatnonzero(np.isfinite(p)):
        with_least = p.copy()
        with_least[place] = least_p[place]
        least[place] = adjust(with_least)[place]
    return least


def _errors(
    groups: Sequence[Group], labels: Sequence[str], config: CompareConfig, seed: int
) -> tuple[ClassifierError, ...]:
    """Tabulate the classifier's mean error.

    Args:
        groups: the reference group first.
        labels: (L,) names.
        config: permutations.
        seed: of the permutations.
    """
    rows = []
    for group in groups:
        rng = np.random.default_rng(seed_for(seed, "compare", group.name))
        for place, label in enumerate(labels):
            base, values = (_errors_of(one, place) for one in (groups[0], group))
            p = np.nan
            if group is not groups[0] and min(len(base), len(values)) > 1:
                p = float(welch.permute(base, values, config.advanced.num_permutations, rng)[0][0])
            error = float(values.mean()) if len(values) else np.nan
            rows.append(ClassifierError(label=label, group=group.name, num_animals=len(values), error=error, p=p))
    return tuple(rows)


def _errors_of(group: Group, label: int) -> NDArray[np.float64]:
    """Return (A, 1) mean prediction - label of each scored animal of a group in one label, by its place."""
    errors = (group.predicted_scored - group.scored)[:, label]
    return errors[np.isfinite(errors)][:, None]


def _left_out(
    group_of: Mapping[str, str],
    observed: set[str],
    unobserved: set[str],
    members: Mapping[str, Mapping[str, object]],
    unit: str,
) -> tuple[LeftOut, ...]:
    """List what the comparison does without.

    Args:
        group_of: every animal of the cohort -> its group.
        observed: the animals with observed time.
        unobserved: those with predictions, but without two frames in any video.
        members: every group -> its observed units.
        unit: what a unit is.
    """
    animals = [
        LeftOut(
            kind="animal",
            name=animal,
            reason="a single frame per video, which has no duration" if animal in unobserved else "no predicted frame",
        )
        for animal in sorted(group_of)
        if animal not in observed
    ]
    groups = [
        LeftOut(
            kind="group",
            name=name,
            reason=f"{len(rows)} observed {unit}{'' if len(rows) == 1 else 's'}, at least 2 are needed",
        )
        for name, rows in members.items()
        if len(rows) < 2
    ]
    return (*animals, *groups)
