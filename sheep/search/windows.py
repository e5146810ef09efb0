"""Temporal windows: each frame's vector joined with statistics of its neighbours in time.

Behaviours such as moving or eating show in how the vector changes. The window's width is in seconds, not frames, so
that it means the same at any frame rate and across dropped frames. It is centred, and so reads future frames: this is
analysis of recordings, not of live video.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sheep.config import WindowConfig
from sheep.errors import ContractError

NUM_PARTS = 5
"""Own vector, mean, standard deviation, mean absolute step, last minus first."""

_TIE_S = 1e-6  # a frame exactly at the edge belongs to the window in spite of rounding


def slide(embeddings: NDArray[np.floating], time_s: NDArray[np.floating], window: WindowConfig) -> NDArray[np.float32]:
    """Join to each frame's vector statistics of the frames within +- half_width_s.

    Args:
        embeddings: (F, D), one row per frame of one animal in one video.
        time_s: (F,) [s], strictly increasing.
        window: half_width_s == 0 leaves the vectors as they are.

    Returns: (F, D) or (F, 5 D) float32: own vector; mean over the window; standard deviation over it; mean absolute
        difference of successive frames in it; its last frame minus its first. At the ends of the video and across gaps,
        the window holds the frames that exist; in a window of one frame, deviation and differences are 0.

    Raises:
        ContractError: lengths differ, or time does not increase strictly.
    """
    if len(embeddings) != len(time_s):
        raise ContractError(
            f"windows: {len(embeddings)} vectors for {len(time_s)} times, expected one time per vector. "
            "This is a bug: report it."
        )
    if not (np.diff(time_s) > 0).all():
        at = int(np.flatnonzero(~(np.diff(time_s) > 0))[0])
        raise ContractError(
            f"windows: time_s is {time_s[at]} and then {time_s[at + 1]} at row {at + 1}, expected strictly "
            "increasing time. "
            "Pass one animal of one video, in the order of frames."
        )
    own = np.asarray(embeddings, dtype=np.float32)
    if window.half_width_s == 0:
        return own
    first = np.searchsorted(time_s, time_s - (window.half_width_s + _TIE_S), side="left")
    stop = np.searchsorted(time_s, time_s + (window.half_width_s + _TIE_S), side="right")
    # Sums over windows are differences of cumulative sums, which are accurate only for centred values.
    centred = own - own.mean(axis=0, dtype=np.float64) if len(own) else own.astype(np.float64)
    mean = _window_sums(centred, first, stop) / (stop - first)[:, None]
    square = _window_sums(centred**2, first, stop) / (stop - first)[:, None]
    spread = np.sqrt(np.maximum(square - mean**2, 0.0))
    steps = _window_sums(np.abs(np.diff(centred, axis=0)), first, stop - 1) / np.maximum(stop - first - 1, 1)[:, None]
    level = own.mean(axis=0, dtype=np.float64) if len(own) else 0.0
    return np.concatenate([own, mean + level, spread, steps, own[stop - 1] - own[first]], axis=1, dtype=np.float32)


def slide_all(
    embeddings: NDArray[np.floating], time_s: NDArray[np.floating], groups: Sequence[str], window: WindowConfig
) -> NDArray[np.float32]:
    """Apply `slide` within each group of rows, never across groups.

    Args:
        embeddings: (F, D).
        time_s: (F,) [s], strictly increasing within each group.
        groups: (F,) an id per animal and video, whose rows a window must not leave.
        window: see `slide`.

    Returns:
        (F, D) or (F, 5 D) float32 in the order of the rows.

    Raises:
        ContractError: lengths differ, or time does not increase strictly within a group.
    """
    if len(embeddings) != len(groups) or len(embeddings) != len(time_s):
        raise ContractError(
            f"windows: {len(embeddings)} vectors, {len(time_s)} times, {len(groups)} groups, expected equal numbers. "
            "This is a bug: report it."
        )
    times = np.asarray(time_s, dtype=float)
    codes = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1] if len(groups) else np.zeros(0, dtype=int)
    parts = 1 if window.half_width_s == 0 else NUM_PARTS
    joined = np.empty((len(embeddings), parts * embeddings.shape[1]), dtype=np.float32)
    order = np.argsort(codes, kind="stable")  # stable: rows of a group stay in the order of time
    for rows in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
        joined[rows] = slide(embeddings[rows], times[rows], window)
    return joined


def _window_sums(values: NDArray[np.float64], first: NDArray[np.int64], stop: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum rows first[i] to stop[i] - 1 for every i."""
    sums = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0, dtype=np.float64)])
    total: NDArray[np.float64] = sums[stop] - sums[first]
    return total
