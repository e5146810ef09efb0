"""Input and output of every detector: a few frames of a video, and scored boxes in them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True, slots=True)
class SampledFrame:
    """One of a few frames sampled from a video."""

    index: int
    """Number in the file."""
    image: NDArray[np.uint8]
    """(H, W, 3) uint8 RGB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Detection:
    """A box that may hold an animal."""

    frame: int
    """Number of the frame in the file."""
    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 [px], x1 and y1 exclusive."""
    score: float
    """0 to 1."""
    reason: str = ""
    """Why the score is low, in a few words; empty where it is not."""


def sample(frames: Iterable[SampledFrame], count: int) -> list[SampledFrame]:
    """Sample frames evenly from a stream of unknown length, holding at most 2 * count of them.

    Args:
        frames: any number, in order.
        count: how many to return; >= 1.

    Returns:
        `count` frames in order, the first one included; all of them where there are fewer.
    """
    kept: list[SampledFrame] = []
    step = 1
    # Keep every step-th frame; whenever 2 * count are held, drop every second and double the step.
    for number, frame in enumerate(frames):
        if number % step:
            continue
        kept.append(frame)
        if len(kept) == 2 * count:
            kept, step = kept[::2], 2 * step
    if len(kept) <= count:
        return kept
    return [kept[i] for i in np.linspace(0, len(kept) - 1, count).round().astype(int)]


def shrink(image: NDArray[np.uint8], longest_px: int) -> NDArray[np.uint8]:
    """Shrink an image to a longest side, by area averaging; smaller images are returned unchanged.

    Args:
        image: (H, W, 3) uint8 RGB.
        longest_px: longer side of the result.
    """
    height, width = image.shape[:2]
    factor = longest_px / max(height, width)
    if factor >= 1:
        return image
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def earliest_good(scores: Sequence[float]) -> int:
    """Return the index of the first score of at least 0.85 times the best.

    Tracking starts there, and earlier frames get no rows, so an early frame is preferred to a slightly higher score.
    """
    best = max(scores)
    return next(index for index, score in enumerate(scores) if score >= 0.85 * best)


def best_frame(by_frame: Sequence[Sequence[Detection]], num_animals: int) -> list[Detection]:
    """Choose the earliest frame that shows `num_animals` animals almost as well as any.

    Args:
        by_frame: detections of each frame, best first.
        num_animals: number of animals to detect; >= 1.

    Returns:
        At most `num_animals` detections of one frame, best first. Where most frames show a further animal, it is
        unknown which ones to track: scores are then lowered, by a factor down to 0.4 if that one is as clear.
    """
    most = min(num_animals, max((len(detections) for detections in by_frame), default=0))
    if not most:
        return []
    worst = [detections[most - 1].score if len(detections) >= most else 0.0 for detections in by_frame]
    chosen = earliest_good(worst)
    rivals = [detections[most].score if len(detections) > most else 0.0 for detections in by_frame]
    rival = max(float(np.quantile(rivals, 0.75)), rivals[chosen])
    share = 1 - 0.6 * min(1.0, rival / max(worst[chosen], 1e-6))
    reason = "other animals are as clear: prompt the one to track" if share < 0.7 else ""
    return [
        replace(one, score=round(one.score * share, 3), reason=one.reason or reason) for one in by_frame[chosen][:most]
    ]
