"""How each animal spends its time: predictions and labels by frame to one value per animal and label.

A frame is weighted by its duration, the time to the next frame of the same animal and video. A duration is at most
twice the video's median step: across a hole nobody knows what the animal did. All videos of an animal are joined by
observed time, so that twenty seconds do not count as much as an hour.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sheep.errors import ContractError
from sheep.schemas import KEY, labels_of, targets_of

MAX_STEPS = 2.0
"""A frame lasts at most this many median steps of its video."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AnimalShares:
    """How one animal spends its time: as predicted, as scored by hand, and as corrected."""

    animal: str
    group: str
    num_videos: int
    duration_s: float
    """Observed time of all its videos together; > 0."""
    shares: Mapping[str, float]
    """Label -> predicted share of time, 0 to 1; nan where missing."""
    scored_s: Mapping[str, float]
    """Label -> time of the frames that were scored by hand; 0 for none."""
    shares_where_scored: Mapping[str, float]
    """Label -> predicted share of the scored time; nan where nothing was scored."""
    scored: Mapping[str, float]
    """Label -> share of the scored time by hand, 0 to 1; nan where nothing was scored."""

    @property
    def corrected(self) -> dict[str, float]:
        """Label -> predicted share + mean of (label - prediction) over the scored frames; nan without scored frames.

        The mean of (label - prediction) is the rectifier of prediction-powered inference (Angelopoulos et al. 2023).
        Where every frame is scored it is the share by hand; otherwise it can lie a little outside 0 to 1.
        """
        return {
            label: share + self.scored[label] - self.shares_where_scored[label] for label, share in self.shares.items()
        }


@dataclass(frozen=True, slots=True)
class _Sums:
    """What is summed over the frames of one animal."""

    duration_s: float
    predicted: NDArray[np.float64]
    """(L,) duration times probability."""
    scored_s: NDArray[np.float64]
    """(L,) duration of scored frames."""
    predicted_scored: NDArray[np.float64]
    """(L,) duration times probability, of scored frames."""
    labelled: NDArray[np.float64]
    """(L,) duration times label, of scored frames."""

    def __add__(self, more: "_Sums") -> "_Sums":
        return _Sums(
            self.duration_s + more.duration_s,
            self.predicted + more.predicted,
            self.scored_s + more.scored_s,
            self.predicted_scored + more.predicted_scored,
            self.labelled + more.labelled,
        )


def durations(time_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how long each frame of one animal in one video counts.

    Args:
        time_s: (F,) increasing [s], F >= 1.

    Returns:
        (F,) [s]: the time to the next frame, at most twice the median step; for the last frame the median step. A
        single frame has no duration: 0.
    """
    steps = np.diff(time_s)
    if not len(steps):
        return np.zeros(len(time_s))
    median = float(np.median(steps))
    return np.append(np.minimum(steps, MAX_STEPS * median), median)


def animal_shares(
    predictions: pa.Table, label_frames: pa.Table, group_of: Mapping[str, str]
) -> tuple[list[AnimalShares], list[str]]:
    """Estimate each animal's share of time per label.

    Args:
        predictions: the predictions table, rows in any order.
        label_frames: labels by frame, null where unscored, rows in any order; frames that were not predicted are
            ignored, and predicted frames without a row are unscored.
        group_of: animal -> group, for every animal that is predicted.

    Returns:
        One row per animal, by name; and the animals without two frames in any video, which have no observed time.

    Raises:
        ContractError: labels and predictions are of different labels.
    """
    labels = labels_of(predictions)
    if labels_of(label_frames) != labels:
        raise ContractError(
            f"compare: labels of {list(labels_of(label_frames))}, predictions of {list(labels)}, expected the same. "
            "Run the search and predict stages again."
        )
    frames = predictions.select([*KEY, "time_s"]).to_pandas()
    values = np.stack([predictions.column(label).to_numpy().astype(np.float64) for label in labels], axis=1)
    targets = _targets(predictions, label_frames)
    order = frames.sort_values(["animal", "video", "frame"], kind="stable").index.to_numpy()
    frames, values, targets = frames.iloc[order].reset_index(drop=True), values[order], targets[order]
    sums: dict[str, _Sums] = {}
    num_videos: dict[str, int] = {}
    for (animal, _), rows in frames.groupby(["animal", "video"], sort=True).indices.items():
        one = _sum(frames["time_s"].to_numpy()[rows], values[rows], targets[rows])
        sums[animal] = sums[animal] + one if animal in sums else one
        num_videos[animal] = num_videos.get(animal, 0) + 1
    table = [
        _shares(animal, group_of[animal], num_videos[animal], one, labels)
        for animal, one in sums.items()
        if one.duration_s > 0
    ]
    return table, [animal for animal, one in sums.items() if one.duration_s <= 0]


def _targets(predictions: pa.Table, label_frames: pa.Table) -> NDArray[np.float64]:
    """Return (F, L) labels in the order of `predictions`: 0 or 1, nan where unscored."""
    frames = predictions.select(list(KEY)).to_pandas()
    keys = label_frames.select(list(KEY)).to_pandas().assign(row=np.arange(label_frames.num_rows))
    rows = frames.merge(keys, on=list(KEY), how="left")["row"].to_numpy(dtype=float)
    known = ~np.isnan(rows)
    targets = np.full((len(frames), len(labels_of(label_frames))), np.nan)
    targets[known] = targets_of(label_frames)[rows[known].astype(int)]
    return targets


def _sum(time_s: NDArray[np.float64], values: NDArray[np.float64], targets: NDArray[np.float64]) -> _Sums:
    """Sum one animal's frames in one video, by time.

    Args:
        time_s: (F,) increasing [s].
        values: (F, L) probabilities.
        targets: (F, L) labels, nan where unscored.
    """
    weights = durations(time_s)
    scored = ~np.isnan(targets)
    return _Sums(
        duration_s=float(weights.sum()),
        predicted=weights @ values,
        scored_s=weights @ scored,
        predicted_scored=weights @ np.where(scored, values, 0.0),
        labelled=weights @ np.nan_to_num(targets),
    )


def _shares(animal: str, group: str, num_videos: int, sums: _Sums, labels: Sequence[str]) -> AnimalShares:
    """Divide an animal's sums by its observed and scored time."""
    scored_s = np.where(sums.scored_s > 0, sums.scored_s, math.nan)

    def by_label(values: NDArray[np.float64]) -> dict[str, float]:
        return dict(zip(labels, values.tolist(), strict=True))

    return AnimalShares(
        animal=animal,
        group=group,
        num_videos=num_videos,
        duration_s=sums.duration_s,
        shares=by_label(sums.predicted / sums.duration_s),
        scored_s=by_label(sums.scored_s),
        shares_where_scored=by_label(sums.predicted_scored / scored_s),
        scored=by_label(sums.labelled / scored_s),
    )
