"""Half-open intervals."""

import numpy as np

from sheep.annotations.intervals import EDGE_S, clip, join, length, shared, within


def test_touching_and_overlapping_intervals_are_joined_and_empty_ones_dropped() -> None:
    assert join([(5, 6), (1, 2), (2, 3), (2.5, 2.7), (4, 4)]) == ((1, 3), (5, 6))
    assert join([]) == ()


def test_intervals_are_cut() -> None:
    assert clip([(0, 2), (3, 5), (7, 9)], 1, 4) == ((1, 2), (3, 4))
    assert clip([(0, 2)], 2, 4) == ()


def test_shared_parts_equal_those_of_every_pair() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        first, second = (join(map(tuple, np.sort(rng.integers(0, 40, (6, 2)), axis=1).tolist())) for _ in range(2))
        pairs = join((max(a, c), min(b, d)) for a, b in first for c, d in second if max(a, c) < min(b, d))
        assert join(shared(first, second)) == pairs
        assert length(shared(first, second)) == length(pairs)
    assert shared([(0, 1)], [(1, 2)]) == ()


def test_values_are_within_from_the_start_to_before_the_stop() -> None:
    values = np.array([0.0, 1.0, 2.0, 3.0])
    assert within(values, [(1, 3)]).tolist() == [False, True, True, False]
    assert within(values, [(1.0004, 3.0004)], EDGE_S).tolist() == [False, True, True, False]
    assert within(values, []).tolist() == [False] * 4
