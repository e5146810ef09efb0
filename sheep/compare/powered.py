"""Prediction-powered difference between two groups, clustered by animal (PPI++).

A group of n animals, of which m are scored and u are not: with y an animal's corrected share and f its mean prediction,

    share = mean(y, scored) + c (mean(f, unscored) - mean(f, scored)),    c = slope u / n

The slope of y on f is pooled within groups over the scored animals, at least 0 and not limited above: shrunken
predictions need a slope over 1. The variance is that of y - c f over scored animals, that of c f over unscored ones,
and the slope's own; residuals count one degree of freedom less, for the slope that was fitted to them. Degrees of
freedom are Satterthwaite's, minus 1.

Source: Angelopoulos, Duchi and Zrnic 2024 (PPI++), the generalised regression estimator of survey sampling (Sarndal,
Swensson and Wretman 1992, chapter 6).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sheep.compare import welch

_PERMUTATIONS = 500
"""At a time: each needs a dozen arrays of (permutations, labels)."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sample:
    """One group: A animals, L labels."""

    predicted: Array
    """(A, L) mean prediction of each animal."""
    corrected: Array
    """(A, L) its corrected share; nan where unscored."""
    is_scored: NDArray[np.bool_]
    """(A,) the same for every label."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference between two groups; each array is (L,), or (P, L) for P divisions of the animals."""

    means: tuple[Array, Array]
    """Share of time of the reference group and of the other."""
    variance: Array
    """Of the difference."""
    freedom: Array
    """Degrees of freedom, >= 1."""
    slope: Array
    """Of corrected shares on predictions."""

    @property
    def value(self) -> Array:
        """The other group's share minus the reference group's."""
        return self.means[1] - self.means[0]

    def interval(self, confidence: float) -> tuple[Array, Array]:
        """Return the lower and upper ends of the t interval, (L,) each.

        Args:
            confidence: 0 to 1.
        """
        return welch.t_interval(self.value, self.variance, self.freedom, confidence)


@dataclass(frozen=True, slots=True)
class _Pooled:
    """The animals of both groups, scored and unscored ones apart. The reference group's come first in each."""

    y: Array
    """(m, L) corrected shares of the scored animals."""
    f: Array
    """(m, L) their mean predictions."""
    g: Array
    """(u, L) mean predictions of the unscored animals."""
    centre: Array
    """(L,) what was subtracted from `y`, which keeps sums of squares accurate."""


@dataclass(frozen=True, slots=True)
class _Side:
    """Sums of one group, for each of P divisions: (P, L) each."""

    num_scored: int
    num_unscored: int
    y: Array
    """Mean of y."""
    f: Array
    g: Array
    """Mean of g; 0 without unscored animals."""
    yy: Array
    """Sum of squared deviations."""
    ff: Array
    yf: Array
    gg: Array

    @property
    def weight(self) -> float:
        """Share of the animals that are unscored, u / n."""
        return self.num_unscored / (self.num_scored + self.num_unscored)

    @property
    def shift(self) -> Array:
        """What one unit of slope adds to the group's share."""
        return self.weight * (self.g - self.f)


def difference(reference: Sample, other: Sample, *, slope: float | None = None) -> Difference:
    """Estimate the difference between two groups.

    Args:
        reference: at least 2 scored animals, 4 where the slope is fitted.
        other: the same.
        slope: fixed; None fits it.

    Returns:
        (L,) arrays.
    """
    pooled = _pool(reference, other)
    result = _difference(pooled, *_actual(reference, other), slope)
    means = result.means[0][0] + pooled.centre, result.means[1][0] + pooled.centre
    return Difference(means, result.variance[0], result.freedom[0], result.slope[0])


def permute(
    reference: Sample, other: Sample, num_permutations: int, rng: np.random.Generator
) -> tuple[Array, float, str]:
    """Test by permutation of animals between groups, scored and unscored ones apart, with t as the statistic.

    Args:
        reference: at least 4 scored animals.
        other: the same.
        num_permutations: most that are done.
        rng: draws them where there are more.

    Returns:
        Two-sided p (L,), the smallest p that so few animals can give, and how many divisions were counted, in words.
    """
    pooled, scored, unscored = _pool(reference, other), *_actual(reference, other)
    sizes = [(int((1 - members).sum()), int(members.sum())) for members in (scored, unscored)]
    divisions = _divide(sizes[0], sizes[1], num_permutations, rng)
    scale = np.abs(np.concatenate([pooled.y, pooled.f, pooled.g])).max(axis=0)
    found = _difference(pooled, scored, unscored, None)
    actual = welch.studentise(found.value, found.variance, scale)[0]
    hits = np.zeros(pooled.y.shape[1])
    for start in range(0, len(divisions.members), _PERMUTATIONS):
        members = divisions.members[start : start + _PERMUTATIONS]
        one = _difference(pooled, members[:, : len(pooled.y)], members[:, len(pooled.y) :], None)
        hits += (welch.studentise(one.value, one.variance, scale) >= actual * (1 - 1e-9)).sum(axis=0)
    return divisions.p(hits), divisions.least_p, divisions.words


def _divide(
    scored: tuple[int, int], unscored: tuple[int, int], num_permutations: int, rng: np.random.Generator
) -> welch.Divisions:
    """Divide scored and unscored animals apart, in all ways or in random ones.

    Args:
        scored: scored animals of the reference group and of the other.
        unscored: unscored ones.
        num_permutations: most that are made.
        rng: draws them where there are more.

    Returns:
        `members` is (P, m + u), scored animals first.
    """
    first, second = (
        welch.divide(*sizes, num_permutations, np.random.default_rng(rng.integers(2**63)))
        for sizes in (scored, unscored)
    )
    count = len(first.members) * len(second.members)
    if first.is_exact and second.is_exact and count <= num_permutations:
        rows, columns = np.divmod(np.arange(count), len(second.members))
        has_mirror = scored[0] == scored[1] and unscored[0] == unscored[1]
        least, is_exact = (2 if has_mirror else 1) / count, True
    else:
        rows, columns = (
            rng.integers(len(each.members), size=num_permutations) if each.is_exact else np.arange(num_permutations)
            for each in (first, second)
        )
        least, is_exact = 1 / (1 + num_permutations), False
    members = np.concatenate([first.members[rows], second.members[columns]], axis=1)
    return welch.Divisions(members, is_exact, least)


def _pool(reference: Sample, other: Sample) -> _Pooled:
    pairs = (reference, other)
    y = np.concatenate([one.corrected[one.is_scored] for one in pairs])
    f = np.concatenate([one.predicted[one.is_scored] for one in pairs])
    g = np.concatenate([one.predicted[~one.is_scored] for one in pairs])
    centre = y.mean(axis=0)
    level = np.concatenate([f, g]).mean(axis=0)
    return _Pooled(y - centre, f - level, g - level, centre)


def _actual(reference: Sample, other: Sample) -> tuple[Array, Array]:
    """Return (1, m) and (1, u): 1 where a scored or an unscored animal is in the other group."""
    sizes = [(int(one.is_scored.sum()), int((~one.is_scored).sum())) for one in (reference, other)]
    scored, unscored = (np.repeat([0.0, 1.0], [sizes[0][place], sizes[1][place]])[None] for place in (0, 1))
    return scored, unscored


def _difference(pooled: _Pooled, scored: Array, unscored: Array, fixed: float | None) -> Difference:
    """Estimate the difference for each of P divisions.

    Args:
        pooled: the animals.
        scored: (P, m) 1 where a scored animal is in the other group.
        unscored: (P, u) 1 where an unscored animal is.
        fixed: the slope; None fits it.

    Returns:
        (P, L) arrays; `means` are relative to `pooled.centre`.
    """
    sides = _side(pooled, 1 - scored, 1 - unscored), _side(pooled, scored, unscored)
    ff, yf, yy = (sum(getattr(side, name) for side in sides) for name in ("ff", "yf", "yy"))
    has_spread = np.sqrt(ff) > welch.TINY
    safe = np.where(has_spread, ff, 1.0)
    fitted = np.where(has_spread, yf / safe, 0.0)
    slope = np.maximum(fitted, 0.0) if fixed is None else np.full(ff.shape, fixed)
    freedom = len(pooled.y) - 3  # two means and the slope
    # Residuals around a line that was fitted to them are too small.
    inflation = 1.0 if fixed is not None else (freedom + 1) / freedom
    parts = [part for side in sides for part in _variances(side, slope * side.weight, inflation)]
    if fixed is None:
        residual = np.maximum(yy - fitted * yf, 0.0) / freedom
        parts.append((np.where(has_spread, (sides[1].shift - sides[0].shift) ** 2 * residual / safe, 0.0), freedom))
    variance = np.sum([part for part, _ in parts], axis=0)
    below = np.sum([part**2 / freedom for part, freedom in parts], axis=0)
    satterthwaite = np.where(below > 0, variance**2 / np.where(below > 0, below, 1.0), 1.0)
    freedom_of_all = np.maximum(satterthwaite - (fixed is None), 1.0)
    means = sides[0].y + slope * sides[0].shift, sides[1].y + slope * sides[1].shift
    return Difference(means, variance, freedom_of_all, slope)


def _side(pooled: _Pooled, scored: Array, unscored: Array) -> _Side:
    """Sum one group for each of P divisions.

    Args:
        pooled: the animals.
        scored: (P, m) 1 where a scored animal is in this group.
        unscored: (P, u) 1 where an unscored animal is.
    """
    num_scored, num_unscored = int(scored[0].sum()), int(unscored[0].sum())
    y, f = scored @ pooled.y / num_scored, scored @ pooled.f / num_scored
    g = unscored @ pooled.g / max(num_unscored, 1)
    return _Side(
        num_scored=num_scored,
        num_unscored=num_unscored,
        y=y,
        f=f,
        g=g,
        yy=np.maximum(scored @ pooled.y**2 - num_scored * y**2, 0.0),
        ff=np.maximum(scored @ pooled.f**2 - num_scored * f**2, 0.0),
        yf=scored @ (pooled.y * pooled.f) - num_scored * y * f,
        gg=np.maximum(unscored @ pooled.g**2 - num_unscored * g**2, 0.0),
    )


def _variances(side: _Side, coefficient: Array, inflation: float) -> list[tuple[Array, int]]:
    """Variances of a group's share from its scored and its unscored animals, each with its degrees of freedom.

    Args:
        side: the group's sums.
        coefficient: (P, L) of the predictions.
        inflation: of the residuals' variance, >= 1.

    Returns:
        Of the scored animals; of the unscored ones, if any. A single unscored animal shows no spread: that of the
        scored animals' predictions stands in.
    """
    freedom = side.num_scored - 1
    residual = np.maximum(side.yy - 2 * coefficient * side.yf + coefficient**2 * side.ff, 0.0)
    parts = [(inflation * residual / freedom / side.num_scored, freedom)]
    if side.num_unscored > 1:
        rest = side.num_unscored - 1
        parts.append((coefficient**2 * side.gg / rest / side.num_unscored, rest))
    elif side.num_unscored == 1:
        parts.append((coefficient**2 * side.ff / freedom, freedom))
    return parts
