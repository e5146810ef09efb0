"""Temporal windows by hand, across gaps, and never across animals or videos."""

import numpy as np
import pytest

from sheep.config import WindowConfig
from sheep.errors import ContractError
from sheep.search.windows import slide, slide_all

HALF_SECOND = WindowConfig(half_width_s=0.5)


def test_parts_by_hand_with_clamped_edges() -> None:
    values = np.array([[0.0], [2.0], [6.0]], dtype=np.float32)
    own, mean, spread, step, rise = slide(values, np.array([0.0, 0.5, 1.0]), HALF_SECOND).T
    assert own.tolist() == [0, 2, 6]
    assert mean == pytest.approx([1, 8 / 3, 4], rel=1e-6)
    assert spread == pytest.approx([1, np.std([0, 2, 6]), 2], rel=1e-6)
    assert step == pytest.approx([2, 3, 4], rel=1e-6)
    assert rise.tolist() == [2, 6, 4]


def test_width_is_in_seconds_not_frames() -> None:
    # dropped frames: the last frame is 2 s after the others, and alone in its window
    values = np.array([[1.0], [3.0], [100.0]], dtype=np.float32)
    joined = slide(values, np.array([0.0, 0.1, 2.1]), HALF_SECOND)
    assert joined[2].tolist() == pytest.approx([100, 100, 0, 0, 0])
    assert joined[0].tolist() == pytest.approx([1, 2, 1, 2, 2])


def test_frame_rate_does_not_change_the_mean_of_a_ramp() -> None:
    for hz in (5, 25):
        time_s = np.arange(0, 4, 1 / hz)
        middle = slide(time_s[:, None], time_s, HALF_SECOND)[len(time_s) // 2]
        assert middle[1] == pytest.approx(middle[0], abs=1e-5)
        assert middle[4] == pytest.approx(1.0 if hz == 25 else 0.8, abs=0.05)


def test_matches_direct_sums_far_from_zero() -> None:
    rng = np.random.default_rng(0)
    values, time_s = (1000 + rng.normal(size=(50, 3))).astype(np.float32), np.cumsum(rng.uniform(0.05, 0.3, 50))
    joined = slide(values, time_s, HALF_SECOND)
    for i in range(50):
        near = values[np.abs(time_s - time_s[i]) <= 0.5].astype(float)
        steps = np.abs(np.diff(near, axis=0)).mean(axis=0) if len(near) > 1 else np.zeros(3)
        parts = [values[i], near.mean(axis=0), near.std(axis=0), steps, near[-1] - near[0]]
        np.testing.assert_allclose(joined[i], np.concatenate(parts), atol=2e-4)


def test_zero_width_is_the_vector_itself_and_short_input_works() -> None:
    values = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
    assert (slide(values, np.arange(4.0), WindowConfig()) == values).all()
    assert slide(values[:0], np.zeros(0), HALF_SECOND).shape == (0, 10)
    assert slide(values[:1], np.zeros(1), HALF_SECOND)[0, 4:].tolist() == [0] * 6


def test_never_crosses_groups() -> None:
    rng = np.random.default_rng(0)
    values, time_s = rng.normal(size=(6, 2)).astype(np.float32), np.array([0.0, 0.1, 0.2, 0.0, 0.1, 0.2])
    groups = ["v\0b"] * 3 + ["v\0a"] * 3
    joined = slide_all(values, time_s, groups, HALF_SECOND)
    assert (joined[:3] == slide(values[:3], time_s[:3], HALF_SECOND)).all()
    changed = values.copy()
    changed[3:] += 50
    assert (slide_all(changed, time_s, groups, HALF_SECOND)[:3] == joined[:3]).all()
    order = [0, 3, 1, 4, 2, 5]  # interleaved rows keep their place
    shuffled = slide_all(values[order], time_s[order], [groups[i] for i in order], HALF_SECOND)
    assert (shuffled == joined[order]).all()


def test_time_that_does_not_increase_and_ragged_rows_are_refused() -> None:
    values = np.zeros((3, 1), dtype=np.float32)
    with pytest.raises(ContractError, match="row 2"):
        slide(values, np.array([0.0, 1.0, 1.0]), HALF_SECOND)
    with pytest.raises(ContractError, match="one time per vector"):
        slide(values, np.zeros(2), HALF_SECOND)
    with pytest.raises(ContractError, match="expected equal numbers"):
        slide_all(values, np.arange(3.0), ["a"], HALF_SECOND)
    with pytest.raises(ContractError, match="row 1"):
        slide_all(values, np.array([0.0, 0.0, 1.0]), ["a", "a", "b"], HALF_SECOND)
