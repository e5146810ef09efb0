"""Ethograms show gaps and unscored frames as missing; attention is drawn where it is high."""

import math

import numpy as np
from numpy.typing import NDArray

from sheep.report import Timeline
from sheep.report.pictures import _columns, lay_over, pick_heads
from sheep.synthetic.behaviour import LABELS


def ethogram(time_s: list[float], annotation: list[float]) -> Timeline:
    values = np.repeat(np.array(annotation)[:, None], len(LABELS), axis=1)
    return Timeline(
        video="v", animal="a", time_s=np.array(time_s), annotation=values, probability=np.nan_to_num(values)
    )


def test_ethogram_shows_unscored_frames_and_gaps_as_missing() -> None:
    grid, annotation, probability = _columns(ethogram([0, 1, 2, 3, 20, 21], [0, 1, math.nan, 1, 1, 0]))
    assert annotation is not None
    middle = (grid[:-1] + grid[1:]) / 2

    def at(values: NDArray[np.float64], second: float) -> float:
        return float(values[0, np.argmin(abs(middle - second))])

    assert [
        at(annotation, 0.5),
        at(annotation, 1.5),
        at(annotation, 3.5),
        at(annotation, 20.5),
        at(annotation, 21.5),
    ] == [0, 1, 1, 1, 0]
    assert math.isnan(at(annotation, 2.5))
    assert at(probability, 2.5) == 0
    assert math.isnan(at(annotation, 12.0))
    assert math.isnan(at(probability, 12.0))


def test_ethogram_averages_long_videos() -> None:
    _, annotation, _ = _columns(ethogram([i / 100 for i in range(20000)], [float(i % 2) for i in range(20000)]))
    assert annotation is not None
    assert annotation.shape == (6, 1000)
    assert abs(annotation - 0.5).max() < 0.03  # 20 or 21 frames in a column


def test_ethogram_of_a_single_frame() -> None:
    _, annotation, _ = _columns(ethogram([4.0], [1.0]))
    assert annotation is not None
    assert (annotation == 1).all()


def test_attention_heads_are_spread_and_lit_where_they_look() -> None:
    assert [pick_heads(n) for n in (0, 1, 2, 3, 6, 12)] == [[], [0], [0, 1], [0, 1, 2], [0, 2, 5], [0, 6, 11]]
    weights = np.zeros((4, 4), dtype=np.float32)
    weights[0, 3] = 7.0
    drawn = lay_over(np.full((32, 32, 3), 100, dtype=np.uint8), weights).astype(int).sum(axis=-1)
    assert drawn[2, 29] == drawn.max()
    assert drawn[2, 29] > drawn[29, 2] + 100
    assert (
        len(np.unique(lay_over(np.full((8, 8, 3), 100, dtype=np.uint8), np.zeros((2, 2), dtype=np.float32))[0, 0])) <= 3
    )
