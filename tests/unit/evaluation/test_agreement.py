"""Agreement of two observers: kappa against scikit-learn's definition by hand, bouts matched within one track."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from sheep.evaluation.agreement import Agreement, agreement


def compared(first: Sequence[float], second: Sequence[float], tracks: list[str] | None = None) -> Agreement:
    """Compare two observers of one animal, or of one animal per track."""
    names = tracks or ["a"] * len(first)
    return agreement(np.array(first, dtype=float), np.array(second, dtype=float), names, names, "lying")


def test_kappa_by_hand() -> None:
    # 6 of 8 frames agree; chance: 4/8 * 4/8 + 4/8 * 4/8 = .5; (.75 - .5) / (1 - .5) = .5
    found = compared([1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 1, 0, 0, 0])
    assert found.kappa == pytest.approx(0.5)
    assert (found.num_frames, found.num_animals) == (8, 1)


def test_frames_that_one_did_not_score_do_not_count() -> None:
    found = compared([1, 0, math.nan, 1], [1, 0, 1, math.nan])
    assert (found.kappa, found.num_frames) == (1.0, 2)


def test_where_both_saw_one_class_only_there_is_no_kappa() -> None:
    assert math.isnan(compared([0, 0, 0], [0, 0, 0]).kappa)
    assert math.isnan(compared([1, 1], [1, 1]).kappa)
    assert math.isnan(compared([], []).kappa)
    assert compared([0, 0, 0], [0, 0, 1]).kappa == 0.0


def test_bouts_match_where_they_share_more_than_half() -> None:
    first = [1, 1, 1, 1, 0, 0, 1, 1, 0, 0]
    assert compared(first, first).bout_f1 == 1.0
    # the first bout: 3 of 4 frames shared; the second: 1 of 3
    assert compared(first, [0, 1, 1, 1, 0, 0, 0, 1, 1, 0]).bout_f1 == pytest.approx(2 * 1 / 4)
    assert compared(first, [0] * 10).bout_f1 == 0.0
    assert math.isnan(compared([0, 0], [0, 0]).bout_f1)


def test_a_bout_does_not_reach_into_another_track() -> None:
    tracks = ["a"] * 3 + ["b"] * 3
    found = compared([0, 1, 1, 1, 1, 0], [0, 1, 1, 0, 0, 0], tracks)
    assert found.bout_f1 == pytest.approx(2 * 1 / 3)
    assert found.num_animals == 2
