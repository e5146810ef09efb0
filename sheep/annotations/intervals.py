"""Half-open intervals [start, stop) of times or frames: joined, cut, and sampled at frames."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]
Intervals = tuple[Interval, ...]
"""Sorted and disjoint."""

EDGE_S = 0.0005 + 1e-6
"""Exports round times to milliseconds: a bout that starts at frame 2 of 30 Hz is written as 0.067, the frame is at
0.06667. Both ends of an interval are therefore moved half a millisecond (and float rounding) earlier."""


def join(intervals: Iterable[Interval]) -> Intervals:
    """Sort intervals, drop empty ones, and join those that touch or overlap.

    Args:
        intervals: in any order, each with start <= stop.
    """
    joined: list[Interval] = []
    for start, stop in sorted(intervals):
        if start >= stop:
            continue
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return tuple(joined)


def clip(intervals: Iterable[Interval], start: float, stop: float) -> Intervals:
    """Return the parts of intervals that lie within [start, stop).

    Args:
        intervals: sorted and disjoint.
        start: lower bound, in the unit of the intervals.
        stop: upper bound.
    """
    return join((max(start, low), min(stop, high)) for low, high in intervals if low < stop and high > start)


def shared(first: Sequence[Interval], second: Sequence[Interval]) -> Intervals:
    """Return the parts that lie in both of two sets of intervals.

    Args:
        first: sorted and disjoint.
        second: sorted and disjoint.
    """
    parts: list[Interval] = []
    i = j = 0
    while i < len(first) and j < len(second):
        start, stop = max(first[i][0], second[j][0]), min(first[i][1], second[j][1])
        if start < stop:
            parts.append((start, stop))
        if first[i][1] <= second[j][1]:  # the one that ends earlier cannot meet a later one
            i += 1
        else:
            j += 1
    return tuple(parts)


def length(intervals: Sequence[Interval]) -> float:
    """Return the summed length of disjoint intervals, in their unit."""
    return float(sum(stop - start for start, stop in intervals))


def within(values: NDArray[np.floating], intervals: Sequence[Interval], edge: float = 0.0) -> NDArray[np.bool_]:
    """Tell which values lie in one of the intervals.

    Args:
        values: (F,) times or frame numbers.
        intervals: half-open, in the unit of `values`.
        edge: both ends are moved earlier by this much.

    Returns:
        (F,) bool.
    """
    inside = np.zeros(len(values), dtype=bool)
    for start, stop in intervals:
        inside |= (values >= start - edge) & (values < stop - edge)
    return inside
