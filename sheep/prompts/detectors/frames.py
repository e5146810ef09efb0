"""What every way of finding animals takes and gives: a few frames of a video, and boxes in them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Boxes = NDArray[np.float64]


class Still(NamedTuple):
    """One frame."""

    frame: int
    """Number in the file."""
    image: NDArray[np.uint8]
    """(H, W, 3) RGB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """Where an animal may be."""

    frame: int
    """Number in the file."""
    box: tuple[float, float, float, float]
    """x0, y0, x1, y1 [px]."""
    score: float
    """0 to 1."""
    reason: str = ""
    """Why the score is low, in a few words; empty where nothing speaks against the box."""


def thin(frames: Iterable[Still], count: int) -> list[Still]:
    """Keep frames that are spread evenly, without knowing how many will come and without holding more than 2 * count.

    Args:
        frames: any number, in order.
        count: how many are wanted; >= 1.

    Returns:
        At most `count` frames in order, the first among them; all where there are no more.
    """
    kept: list[Still] = []
    step = 1
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
    """Shrink (H, W, 3) so that its longer side is `longest_px`; smaller images stay as they are."""
    height, width = image.shape[:2]
    factor = longest_px / max(height, width)
    if factor >= 1:
        return image
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def overlaps(box: Sequence[float], others: Boxes) -> NDArray[np.float64]:
    """Intersection over union of a box with each of (N, 4)."""
    one = np.asarray(box, dtype=np.float64)
    sides = np.minimum(one[2:], others[:, 2:]) - np.maximum(one[:2], others[:, :2])
    shared = np.clip(sides, 0, None).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1) + (one[2:] - one[:2]).prod()
    return np.asarray(shared / np.maximum(areas - shared, 1e-9))


def earliest_good(scores: Sequence[float]) -> int:
    """Index of the first score that nearly is the best: following starts there, and earlier frames get no rows."""
    best = max(scores)
    return next(index for index, score in enumerate(scores) if score >= 0.85 * best)


def choose(by_frame: Sequence[Sequence[Proposal]], num_animals: int) -> list[Proposal]:
    """Choose the first frame that nearly is the best at showing the animals looked for.

    Args:
        by_frame: boxes of each frame, best first.
        num_animals: how many are looked for.

    Returns: At most `num_animals` boxes of one frame, best first. Where frames usually show one more that is about as
        good, which of them is meant cannot be known: scores are lowered, to 0.4 of themselves for an equal one.
    """
    most = min(num_animals, max((len(found) for found in by_frame), default=0))
    if not most:
        return []
    worst = [found[most - 1].score if len(found) >= most else 0.0 for found in by_frame]
    chosen = earliest_good(worst)
    rivals = [found[most].score if len(found) > most else 0.0 for found in by_frame]
    rival = max(float(np.quantile(rivals, 0.75)), rivals[chosen])
    share = 1 - 0.6 * min(1.0, rival / max(worst[chosen], 1e-6))
    reason = "others are as clear: say which one" if share < 0.7 else ""
    return [
        replace(one, score=round(one.score * share, 3), reason=one.reason or reason) for one in by_frame[chosen][:most]
    ]
