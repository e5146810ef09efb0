"""Moving regions before a static background -> boxes. For fixed cameras; needs no network and no click.

The background is the median over frames. An animal that rests for most of them becomes part of it, and its place looks
like an animal ("ghost") once it has left. A ghost's outline is an edge in the background image, an animal's outline an
edge in the frame.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import (
    binary_closing,
    binary_dilation,
    binary_erosion,
    binary_opening,
    find_objects,
    gaussian_filter,
    gaussian_gradient_magnitude,
    label,
)

from sheep.prompts.detectors.frames import Detection, SampledFrame, best_frame, shrink

_LONGEST_PX = 320
_GREY = 12.0  # smallest change that counts, of 255; sensor noise and compression stay below
_SIGMAS = 4.0  # further threshold, in standard deviations of the noise at each pixel
_LEAST_FRAC = 0.002  # smallest blob, as a share of the frame
_SURE_FRAC = 0.008  # share of the frame from which a blob loses no score for its size
_MOVING_FRAC = 0.4  # if this share of the pixels changes, the camera moves and the score is 0
_STEADY = 0.5  # below this share of `_MOVING_FRAC` the score is not lowered


def find(frames: Sequence[SampledFrame], num_animals: int) -> list[Detection]:
    """Find the frame that shows the moving animals best, and a box around each.

    Args:
        frames: 3 or more, spread over one video, all of one size.
        num_animals: number of animals to detect; >= 1.

    Returns:
        At most `num_animals` detections on one frame, best first; none where nothing moves. The score is lower where
        the animal has little contrast, is small or cut by the border, where the camera moves, or where more than
        `num_animals` move.
    """
    if len(frames) < 3:
        return []
    images = np.stack([shrink(frame.image, _LONGEST_PX) for frame in frames]).astype(np.float32)
    images = _even_light(images)
    background = np.median(images, axis=0)
    change = np.abs(images - background).max(axis=3)
    noise = 1.48 * np.median(change, axis=0)
    threshold = np.maximum(_GREY, _SIGMAS * np.minimum(gaussian_filter(noise, 1.0), 3 * np.median(noise) + 4))
    share = float(np.median((change > _GREY).mean(axis=(1, 2))))
    steadiness = float(np.clip((_MOVING_FRAC - share) / (_MOVING_FRAC * _STEADY), 0, 1))
    hidden = _edges(background)
    by_frame = [_blobs(image, hidden, one > threshold, one) for image, one in zip(images, change, strict=True)]
    if not any(by_frame):
        return []
    height, width = frames[0].image.shape[:2]
    scale = np.array([width / images.shape[2], height / images.shape[1]] * 2)
    camera = "" if steadiness >= _STEADY else "the camera moves"
    ranked = [
        [
            Detection(
                frame=frame.index,
                box=_box(blob.box * scale),
                score=round(score * steadiness, 3),
                reason=camera or blob.reason,
            )
            for score, blob in blobs
        ]
        for frame, blobs in zip(frames, _ranked(by_frame), strict=True)
    ]
    return best_frame(ranked, num_animals)


def _ranked(by_frame: Sequence[Sequence["_Blob"]]) -> list[list[tuple[float, "_Blob"]]]:
    """Score the blobs of every frame, best first.

    Lower in frames with fewer of them, where one may be two animals that meet.
    """
    usual_area = float(np.quantile([blob.area for blobs in by_frame for blob in blobs], 0.75))
    counts = np.array([sum(blob.present > 0.5 for blob in blobs) for blobs in by_frame])
    apart = np.clip(counts / max(1.0, float(np.quantile(counts, 0.9))), 0, 1)
    found = []
    for blobs, share in zip(by_frame, apart, strict=True):
        for blob in blobs:
            blob.apart = float(share)
        found.append(sorted(((blob.score(usual_area), blob) for blob in blobs), key=lambda one: -one[0]))
    return found


class _Blob:
    """A connected piece of one frame that differs from the background, in pixels of the shrunken frame."""

    def __init__(
        self, box: NDArray[np.float64], area: float, contrast: float, own: float, cut: bool, frac: float
    ) -> None:
        """Compute the factors of the score.

        Args:
            box: (4,) x0, y0, x1, y1.
            area: in pixels.
            contrast: mean change against the background, of 255.
            own: edge strength along its outline in the frame, as a share of that in frame and background; 0 to 1.
            cut: whether it touches the frame's border.
            frac: area as a share of the frame.
        """
        self.box, self.area = box, area
        # Factors of the score, each 0 to 1.
        self.clear = 1 - float(np.exp(-contrast / 20))
        self.present = float(np.clip((own - 0.35) / 0.2, 0, 1))  # an animal's outline is an edge of the frame
        self.whole = 0.5 if cut else 1.0
        self.large = float(np.clip(frac / _SURE_FRAC, 0, 1))
        self.apart = 1.0

    def score(self, usual_area: float) -> float:
        """Multiply the factors; smaller blobs than usual score lower."""
        return (
            self.clear * self.present * self.whole * self.large * self.apart * min(1.0, self.area / usual_area) ** 0.5
        )

    @property
    def reason(self) -> str:
        factors = {
            "stands out little": self.clear,
            "may be where an animal was": self.present,
            "cut by the border": self.whole,
            "small": self.large,
            "may be two that meet": self.apart,
        }
        worst = min(factors, key=lambda name: factors[name])
        return worst if factors[worst] < 0.7 else ""


def _even_light(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Remove clouds and flicker from images (F, H, W, 3).

    Those are differences from the median image that vary slowly, over a tenth of the frame.
    """
    coarse = 8
    sigma = max(images.shape[1:3]) / 10 / coarse
    rows, columns = (np.minimum(np.arange(side) // coarse, (side - 1) // coarse) for side in images.shape[1:3])
    slow = np.clip(images - np.median(images, axis=0), -_GREY, _GREY)[:, ::coarse, ::coarse]
    slow = gaussian_filter(slow, (0, sigma, sigma, 0))[:, rows][:, :, columns]
    return images - gaussian_filter(slow, (0, coarse / 2, coarse / 2, 0), truncate=2.0)


def _edges(image: NDArray[np.float32]) -> NDArray[np.float32]:
    edges: NDArray[np.float32] = gaussian_gradient_magnitude(image.mean(axis=2), 1.0)
    return edges


def _blobs(
    image: NDArray[np.float32], hidden: NDArray[np.float32], moving: NDArray[np.bool_], change: NDArray[np.float32]
) -> list[_Blob]:
    height, width = moving.shape
    round_px = max(1, round(max(height, width) / 160))
    joined = binary_closing(np.pad(binary_opening(moving), 4), iterations=2 * round_px)[4:-4, 4:-4]
    numbered, count = label(joined)
    edges = (_edges(image), hidden)
    found = []
    for number, place in enumerate(find_objects(numbered, count), start=1):
        rows, columns = (slice(max(0, one.start - 1), one.stop + 1) for one in place)
        blob = numbered[rows, columns] == number
        area = float(blob.sum())
        if area < _LEAST_FRAC * height * width:
            continue
        rim = binary_dilation(blob) & ~binary_erosion(blob)
        shown, covered = (float(one[rows, columns][rim].mean()) + 1e-3 for one in edges)
        contrast = float(change[rows, columns][blob].mean())
        rows, columns = place
        box = np.array([columns.start, rows.start, columns.stop, rows.stop], dtype=np.float64)
        cut = rows.start == 0 or columns.start == 0 or rows.stop == height or columns.stop == width
        found.append(_Blob(box, area, contrast, shown / (shown + covered), cut, area / (height * width)))
    return found


def _box(values: NDArray[np.float64]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = (float(round(value, 1)) for value in values)
    return x0, y0, x1, y1
