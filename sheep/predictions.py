"""Probabilities per frame in; the predictions table and the bouts table out.

A bout is where the probability stays at or above the threshold. Gaps shorter than the shortest bout are closed before
short bouts are dropped, so that one doubtful frame does not cut a long bout into two that both vanish.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sheep.config import PredictConfig
from sheep.errors import ContractError
from sheep.tables import BOUTS, KEY, LABELS, PREDICTIONS, validate

FINAL_FOLD = -1
"""The fold of animals without labels, which no probe was trained on: the final probe predicts them."""

_TIE_S = 1e-6  # a bout of exactly min_bout_s counts in spite of rounding


def tabulate(
    keys: pa.Table, probability: NDArray[np.floating], fold: NDArray[np.integer] | int = FINAL_FOLD
) -> pa.Table:
    """Put probabilities beside their keys.

    Args:
        keys: video, animal, frame, time_s; other columns are ignored.
        probability: (F, L) in [0, 1], in the order of `keys`.
        fold: (F,) outer fold whose probe predicted each row, or one for all.

    Returns:
        PREDICTIONS.

    Raises:
        ContractError: shapes differ, a probability is outside [0, 1] or nan, or a key occurs twice.
    """
    if probability.shape != (keys.num_rows, len(LABELS)):
        raise ContractError(f"predictions: probability {probability.shape}, expected ({keys.num_rows}, {len(LABELS)}).")
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ContractError(
            "predictions: probabilities outside [0, 1] or nan, expected none. Check embeddings and probe."
        )
    folds = np.broadcast_to(np.asarray(fold, dtype=np.int32), (keys.num_rows,))
    columns = [keys.column(name).combine_chunks() for name in (*KEY, "time_s")] + [pa.array(folds, pa.int32())]
    columns += [pa.array(probability[:, i].astype(np.float32), pa.float32()) for i in range(len(LABELS))]
    return validate(pa.Table.from_arrays(columns, schema=PREDICTIONS), PREDICTIONS, "predictions")


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
            for start, stop in _runs(probability >= config.threshold, edges_s, config.min_bout_s):
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
