"""How far two observers of the same animals agree: the most that any score against one of them can mean.

Frames are pooled over all animals and videos that both scored. There is no interval: few animals are scored twice.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

MIN_IOU = 0.5
"""Two bouts are one if they share this part of the time that either covers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """How far observers agree on one label."""

    label: str
    num_animals: int
    """Animals that two observers scored for this label."""
    num_frames: int
    """Frames that both scored."""
    kappa: float
    """Cohen's kappa over frames: 1 is full agreement, 0 what chance gives; nan where both saw one class only."""
    bout_f1: float
    """Bouts of one observer that the other has too, 2 matches / all bouts; nan without any bout."""


def agreement(
    first: NDArray[np.floating], second: NDArray[np.floating], tracks: Sequence[str], animals: Sequence[str], label: str
) -> Agreement:
    """Compare two observers' scores of one label.

    Args:
        first: (F,) 0 or 1; nan is unscored. Frames of one track follow each other in time.
        second: (F,) the other observer's, of the same frames.
        tracks: (F,) animal and video of each frame: bouts do not reach from one into another.
        animals: (F,) animal of each frame.
        label: its name.

    Source: Cohen 1960, "A coefficient of agreement for nominal scales".
    """
    both = ~np.isnan(first) & ~np.isnan(second)
    one, other = first[both] > 0.5, second[both] > 0.5
    codes = np.unique(np.asarray(tracks, dtype=str)[both], return_inverse=True)[1]
    kappa = math.nan
    if len(one) and (one.any() or other.any()) and not (one.all() and other.all()):
        kappa = float(cohen_kappa_score(one, other))
    bouts, others = _bouts(one, codes), _bouts(other, codes)
    total = len(bouts) + len(others)
    return Agreement(
        label=label,
        num_animals=len(set(np.asarray(animals, dtype=str)[both].tolist())),
        num_frames=int(both.sum()),
        kappa=kappa,
        bout_f1=2 * _num_matches(bouts, others) / total if total else math.nan,
    )


def _bouts(held: NDArray[np.bool_], codes: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return half-open ranges of frames: runs of `held` (F,) within one track each."""
    starts = held & np.concatenate([[True], ~held[:-1] | (codes[1:] != codes[:-1])]) if len(held) else held
    stops = held & np.concatenate([~held[1:] | (codes[1:] != codes[:-1]), [True]]) if len(held) else held
    return list(zip(np.flatnonzero(starts).tolist(), (np.flatnonzero(stops) + 1).tolist(), strict=True))


def _num_matches(first: Sequence[tuple[int, int]], second: Sequence[tuple[int, int]]) -> int:
    """Count pairs of bouts that are one. At half and more, a bout can match one other only."""
    count = place = 0
    for start, stop in first:
        while place < len(second) and second[place][1] <= start:
            place += 1
        for low, high in second[place:]:
            if low >= stop:
                break
            shared, union = min(stop, high) - max(start, low), max(stop, high) - min(start, low)
            count += shared / union > MIN_IOU
    return count
