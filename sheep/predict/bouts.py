"""Probabilities per frame -> bouts.

A bout is where the probability stays at or above the threshold. Gaps shorter than the shortest bout are closed before
short bouts are dropped, so that one doubtful frame does not cut a long bout into two that both vanish.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sheep.config import PredictConfig
from sheep.schemas import BOUTS, LABELS

_TIE_S = 1e-6  # a bout of exactly min_bout_s counts in spite of rounding


def bouts(predictions: pa.Table, config: PredictConfig) -> pa.Table:
    """Find the bouts of every label, per animal and video.

    A frame covers the time up to the next frame; the last one lasts as long as the median step.

    Args:
        predictions: PREDICTIONS, rows in any order.
        config: threshold and shortest bout.

    Returns:
        BOUTS by video, animal, label (in the order of LABELS) and start; `probability` is the mean over all frames of
        the bout, those of closed gaps among them. Bouts of one label never touch.
    """
    frames = predictions.to_pandas().sort_values(["video", "animal", "frame"], kind="stable")
    found: list[tuple[str, str, str, float, float, float]] = []
    for (video, animal), rows in frames.groupby(["video", "animal"], sort=True):
        edges_s = _edges(rows["time_s"].to_numpy())
        for label in LABELS:
            probability = rows[label].to_numpy()
            for start, stop in _runs(probability >= config.advanced.threshold, edges_s, config.advanced.min_bout_s):
                mean = float(probability[start:stop].mean(dtype=np.float64))
                found.append((video, animal, label, edges_s[start], edges_s[stop], mean))
    columns = zip(*found, strict=True) if found else [()] * len(BOUTS)
    return pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(columns, BOUTS, strict=True)], schema=BOUTS)


def _edges(time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Start of every frame and the end of the last, (F + 1,) [s]; a single frame has no length."""
    step = float(np.median(np.diff(time_s))) if len(time_s) > 1 else 0.0
    return np.append(time_s, time_s[-1] + step)


def _runs(on: NDArray[np.bool_], edges_s: NDArray[np.float64], min_s: float) -> Sequence[tuple[int, int]]:
    """Half-open ranges of frames: runs of `on`, joined across short gaps, then without the short ones."""
    flips = np.flatnonzero(np.diff(np.concatenate([[False], on, [False]]).astype(np.int8)))
    joined: list[tuple[int, int]] = []
    for start, stop in zip(flips[::2].tolist(), flips[1::2].tolist(), strict=True):
        if joined and edges_s[start] - edges_s[joined[-1][1]] < min_s - _TIE_S:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return [(start, stop) for start, stop in joined if edges_s[stop] - edges_s[start] >= min_s - _TIE_S]
