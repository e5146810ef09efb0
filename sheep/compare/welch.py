"""Two groups of animals, one value per animal: the permutation test of Welch's t, and Welch's interval.

The p-value comes from permuting animals between the two groups, with Welch's t as the statistic: exact if the groups do
not differ at all, and close to nominal if they differ in spread only (simulated with 5 animals against 15 of a third of
the spread, 9 % false positives at 5 %; permuting the plain difference, 21 %). At 4 to 15 animals per group, Welch's 95
% intervals covered 93 to 96 % in simulations, bootstrap percentile intervals 84 to 92 %.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CHUNK = 2000
"""Permutations at a time."""
TINY = 1e-12
"""Spread below this share of the largest value is rounding."""


@dataclass(frozen=True, slots=True)
class Divisions:
    """Ways to divide animals into two groups of the sizes that they have."""

    members: NDArray[np.float64]
    """(P, A): 1 where an animal is in the other group, 0 where it is in the reference group."""
    is_exact: bool
    """Whether these are all divisions, the actual one included."""
    least_p: float
    """The smallest p that counting them can give."""

    def p(self, hits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn numbers of divisions that are at least as extreme as the actual one into p.

        Args:
            hits: (L,) counts.

        Returns:
            (L,); where divisions were drawn at random, the actual one is added, so p is never 0.

        Source: p of random permutations, Phipson and Smyth 2010.
        """
        number = len(self.members)
        return hits / number if self.is_exact else (1 + hits) / (1 + number)

    @property
    def words(self) -> str:
        """How many there are, for readers."""
        return f"all {len(self.members)} divisions" if self.is_exact else f"{len(self.members)} random divisions"


def least_p(num_reference: int, num_other: int) -> float:
    """Return the smallest p that all divisions of so few animals can give.

    Args:
        num_reference: animals of the reference group.
        num_other: animals of the other group.

    Returns:
        Two groups of equal size have a mirror of every division, which is as extreme: 2 / count. Else 1 / count.
    """
    return (2 if num_reference == num_other else 1) / math.comb(num_reference + num_other, num_reference)


def divide(num_reference: int, num_other: int, num_permutations: int, rng: np.random.Generator) -> Divisions:
    """Divide animals into two groups: in all ways, or in random ones where there are too many.

    Args:
        num_reference: animals of the reference group, which come first.
        num_other: animals of the other group.
        num_permutations: most that are made.
        rng: draws them where there are more.

    Returns:
        The divisions, with the least p that they can give (`least_p`).
    """
    num_all = num_reference + num_other
    count = math.comb(num_all, num_reference)
    is_exact = count <= num_permutations
    if is_exact:
        first = np.array(list(itertools.combinations(range(num_all), num_reference)), dtype=int)
        first = first.reshape(count, num_reference)
    else:
        first = np.argsort(rng.random((num_permutations, num_all)), axis=1)[:, :num_reference]
    members = np.ones((len(first), num_all))
    np.put_along_axis(members, first, 0.0, axis=1)
    least = least_p(num_reference, num_other) if is_exact else 1 / (1 + num_permutations)
    return Divisions(members, is_exact, least)


def permute(
    base: NDArray[np.float64], other: NDArray[np.float64], num_permutations: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], Divisions]:
    """Test by permutation whether two groups have the same mean.

    Args:
        base: (A1, L) a value per animal of the reference group.
        other: (A2, L) of the other group.
        num_permutations: most that are done.
        rng: draws them where there are more.

    Returns:
        Two-sided p per label (L,), and the divisions that were counted.

    Source: studentised permutation test, Chung and Romano 2013, section 2.
    """
    divisions = divide(len(base), len(other), num_permutations, rng)
    pooled = np.concatenate([base, other])
    pooled = pooled - pooled.mean(axis=0)  # keeps sums of squares accurate
    actual = _welch_t(pooled, np.repeat([0.0, 1.0], [len(base), len(other)])[None])[0]
    hits = np.zeros(pooled.shape[1])
    for start in range(0, len(divisions.members), CHUNK):
        permuted = _welch_t(pooled, divisions.members[start : start + CHUNK])
        hits += (permuted >= actual * (1 - 1e-9)).sum(axis=0)  # rounding must not lose the actual division
    return divisions.p(hits), divisions


def _welch_t(pooled: NDArray[np.float64], members: NDArray[np.float64]) -> NDArray[np.float64]:
    """Absolute Welch t of each label for each division.

    Args:
        pooled: (A, L) values of all animals.
        members: (P, A) 1 where an animal is in the other group.

    Returns:
        (P, L); infinite where groups differ without any spread.
    """
    num_other = int(members[0].sum())
    means, errors = [], []
    for weight, size in ((1 - members, len(pooled) - num_other), (members, num_other)):
        mean = weight @ pooled / size
        square = weight @ pooled**2 - size * mean**2
        means.append(mean)
        errors.append(np.maximum(square, 0.0) / (size - 1) / size)
    return studentise(means[1] - means[0], errors[0] + errors[1], np.abs(pooled).max(axis=0))


def studentise(
    difference: NDArray[np.float64], variance: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Divide differences by their standard errors.

    Args:
        difference: (P, L).
        variance: (P, L) of the differences, >= 0.
        scale: (L,) largest absolute value; spread and differences below rounding of it count as 0.

    Returns:
        (P, L) absolute t: two constant groups are infinitely far apart, or equal.
    """
    floor = TINY * scale
    error = np.sqrt(variance)
    t = np.where(error > floor, np.abs(difference) / np.where(error > floor, error, 1.0), np.inf)
    result: NDArray[np.float64] = np.where(np.abs(difference) > floor, t, 0.0)
    return result


def interval(
    base: NDArray[np.float64], other: NDArray[np.float64], confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Welch's t interval of mean(other) - mean(base).

    Args:
        base: (A1, L) a value per animal of the reference group, A1 >= 2.
        other: (A2, L) of the other group, A2 >= 2.
        confidence: 0 to 1.

    Returns:
        Lower and upper ends, (L,) each; nan where neither group has any spread, which says nothing about other animals.
    """
    errors = base.var(axis=0, ddof=1) / len(base), other.var(axis=0, ddof=1) / len(other)
    variance = errors[0] + errors[1]
    below = errors[0] ** 2 / (len(base) - 1) + errors[1] ** 2 / (len(other) - 1)
    freedom = np.where(below > 0, variance**2 / np.where(below > 0, below, 1.0), 1.0)
    return t_interval(other.mean(axis=0) - base.mean(axis=0), variance, freedom, confidence)


def t_interval(
    difference: NDArray[np.float64], variance: NDArray[np.float64], freedom: NDArray[np.float64], confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Student's t interval of differences of shares, which lie within -1 and 1.

    Args:
        difference: (L,).
        variance: (L,) of the differences.
        freedom: (L,) degrees of freedom, >= 1.
        confidence: 0 to 1.

    Returns:
        Lower and upper ends, (L,) each; nan where the variance is 0 up to rounding.
    """
    half = stats.t.ppf((1 + confidence) / 2, freedom) * np.sqrt(variance)
    half = np.where(np.sqrt(variance) > TINY, half, np.nan)
    return np.maximum(difference - half, -1.0), np.minimum(difference + half, 1.0)
