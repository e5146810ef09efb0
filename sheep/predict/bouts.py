"""Probabilities per frame -> bouts.

A bout is a run of frames whose probability is at or above the threshold. Gaps shorter than the shortest bout are closed
before short bouts are dropped, so that one uncertain frame does not cut a long bout into two that are both dropped.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sheep.config import PredictConfig
from sheep.schemas import BOUTS, labels_of

_TIE_S = 1e-6  # a bout of exactly min_bout_s counts in spite of rounding


def bouts(predictions: pa.Table, config: PredictConfig, exclusive: Sequence[Sequence[str]] = ()) -> pa.Table:
    """Find the bouts of every label, per animal and video.

    A frame covers the time up to the next frame; the last one lasts as long as the median step.

    Args:
        predictions: the predictions table, rows in any order.
        config: threshold and shortest bout.
        exclusive: groups of labels of which at most one holds at a time: in each frame the most probable one can.

    Returns:
        BOUTS by video, animal, label (in the order of the columns) and start; `probability` is the mean over all frames
        of the bout, those of closed gaps among them. Bouts of one label never touch.
    """
    frames = predictions.to_pandas().sort_values(["video", "animal", "frame"], kind="stable")
    labels = labels_of(predictions)
    rows: list[dict[str, str | float]] = []
    for (video, animal), of_animal in frames.groupby(["video", "animal"], sort=True):
        edges_s = _edges(of_animal["time_s"].to_numpy())
        probabilities = {label: of_animal[label].to_numpy() for label in labels}
        for label, probability in probabilities.items():
            on = (probability >= config.advanced.threshold) & _most_probable(label, probabilities, exclusive)
            for start, stop in _runs(on, edges_s, config.advanced.min_bout_s):
                mean = float(probability[start:stop].mean(dtype=np.float64))
                bout = {"video": video, "animal": animal, "label": label, "probability": mean}
                rows.append({**bout, "start_s": edges_s[start], "stop_s": edges_s[stop]})
    return pa.Table.from_pylist(rows, schema=BOUTS)


def _most_probable(
    label: str, probabilities: Mapping[str, NDArray[np.float32]], exclusive: Sequence[Sequence[str]]
) -> NDArray[np.bool_]:
    """Tell in which frames (F,) no other label of the same group is more probable; of equal ones the first counts."""
    first = np.ones(len(probabilities[label]), dtype=bool)
    for group in exclusive:
        if label in group:
            best = np.argmax(np.stack([probabilities[other] for other in group]), axis=0)
            first &= best == list(group).index(label)
    return first


def _edges(time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Start of every frame and end of the last, (F + 1,) [s]; a single frame has no duration."""
    step = float(np.median(np.diff(time_s))) if len(time_s) > 1 else 0.0
    return np.append(time_s, time_s[-1] + step)


def _runs(on: NDArray[np.bool_], edges_s: NDArray[np.float64], min_s: float) -> Sequence[tuple[int, int]]:
    """Half-open ranges of frames: runs of `on` (F,), joined across gaps shorter than `min_s`, without shorter runs.

    Args:
        on: (F,) whether the label holds.
        edges_s: (F + 1,) from `_edges`.
        min_s: shortest gap and run that stays [s].
    """
    # Padded with False, so that a run at either end has both of its flips: starts are even, stops odd.
    flips = np.flatnonzero(np.diff(np.concatenate([[False], on, [False]]).astype(np.int8)))
    joined: list[tuple[int, int]] = []
    for start, stop in zip(flips[::2].tolist(), flips[1::2].tolist(), strict=True):
        if joined and edges_s[start] - edges_s[joined[-1][1]] < min_s - _TIE_S:
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
    return [(start, stop) for start, stop in joined if edges_s[stop] - edges_s[start] >= min_s - _TIE_S]
