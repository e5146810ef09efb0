"""Divisions of animals, their least p, and intervals at the edge."""

import math

import numpy as np
import pytest

from sheep.compare import welch


@pytest.mark.parametrize(
    ("sizes", "least"),
    [((3, 3), 2 / 20), ((5, 3), 1 / 56), ((3, 5), 1 / 56), ((4, 4), 2 / 70), ((10, 10), 1 / 1000), ((0, 0), 2 / 1)],
)
def test_least_p_is_what_the_most_extreme_division_gets(sizes: tuple[int, int], least: float) -> None:
    divisions = welch.divide(*sizes, 999, np.random.default_rng(0))
    assert divisions.least_p == pytest.approx(least)
    assert (divisions.members.sum(axis=1) == sizes[1]).all()
    if min(sizes) >= 3:
        base, other = np.linspace(0, 0.1, sizes[0])[:, None], np.linspace(0.8, 0.9, sizes[1])[:, None]
        p, _ = welch.permute(base, other, 999, np.random.default_rng(0))
        assert p[0] == pytest.approx(least)  # groups that are fully apart


def test_all_divisions_are_distinct_and_hold_the_actual_one() -> None:
    divisions = welch.divide(3, 2, 999, np.random.default_rng(0))
    assert divisions.is_exact
    assert divisions.words == "all 10 divisions"
    assert len({tuple(row) for row in divisions.members.tolist()}) == 10
    assert divisions.members[0].tolist() == [0, 0, 0, 1, 1]
    assert welch.divide(10, 10, 99, np.random.default_rng(0)).words == "99 random divisions"


def test_constant_shares_have_no_interval_and_others_stay_in_range() -> None:
    low, high = welch.interval(np.full((4, 1), 0.3), np.full((4, 1), 0.5), 0.95)
    assert math.isnan(low[0])
    assert math.isnan(high[0])
    low, high = welch.interval(np.array([[0.0], [1.0]]), np.array([[1.0], [0.9]]), 0.95)
    assert (low[0], high[0]) == (-1.0, 1.0)
