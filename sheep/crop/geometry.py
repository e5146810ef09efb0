"""Masks -> boxes -> smooth square windows around the animal -> crops. Nothing is read or written here."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt, gaussian_filter1d, label, maximum_filter1d

Pixels = NDArray[np.uint8]

_PAD_GREY = 114


@dataclass(frozen=True, slots=True)
class Outline:
    """Box and area of a mask."""

    box: tuple[float, float, float, float] | None
    """x0, y0, x1, y1 [px] of the largest piece, x1 and y1 exclusive; None for an empty mask."""
    area_px: int
    """Of the whole mask, specks included."""
    edge: bool
    """The largest piece touches the frame's border."""


def outline(mask: NDArray[np.bool_]) -> Outline:
    """Measure a mask of shape (H, W).

    Box and edge are those of the largest connected piece: SAM-2's masks have specks far from the animal, and a single
    one would enlarge the windows of all frames around it.
    """
    whole = bounds(mask)
    if whole is None:
        return Outline(None, 0, False)
    box = bounds(largest(mask)) or whole
    edge = box[0] == 0 or box[1] == 0 or box[2] == mask.shape[1] or box[3] == mask.shape[0]
    return Outline((float(box[0]), float(box[1]), float(box[2]), float(box[3])), int(mask.sum()), edge)


def bounds(mask: NDArray[np.bool_]) -> tuple[int, int, int, int] | None:
    """Box around every pixel of a mask (H, W): x0, y0, x1, y1 [px], x1 and y1 exclusive; None for an empty mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Keep the largest connected piece of a mask (H, W); of equally large ones the first in reading order.

    Pixels that touch at a corner are connected. An empty mask stays empty.
    """
    box = bounds(mask)
    if box is None:
        return mask
    inside = np.s_[box[1] : box[3], box[0] : box[2]]  # labelling the whole frame would cost more
    pieces, count = label(mask[inside], structure=np.ones((3, 3), dtype=bool))
    if count == 1:
        return mask
    kept = np.zeros_like(mask)
    kept[inside] = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    return kept


def windows(
    boxes: NDArray[np.float64],
    time_s: NDArray[np.float64],
    frame_size_px: tuple[int, int],
    *,
    margin_frac: float,
    smooth_s: float,
) -> NDArray[np.float64]:
    """Compute a smooth square window around the boxes of one animal.

    The side is the largest box side within `smooth_s` before and after, widened by the margin, then smoothed; the
    centre is smoothed by a Gaussian with standard deviation `smooth_s / 2` and zero phase, so that crops neither jitter
    nor lag. Where the animal is lost the window moves linearly between the frames in which it is seen, and stays before
    the first and after the last of them. A window that fits is moved inside the frame; a larger one is centred on it.

    Args:
        boxes: (F, 4) float64 [px], rows of nan where the animal is lost.
        time_s: (F,) float64 [s], strictly rising.
        frame_size_px: (height, width).
        margin_frac: added to the side, as a share of the box's longer side; >= 0.
        smooth_s: >= 0 [s], see above; 0 follows the boxes exactly.

    Returns:
        (F, 3) float64: x0, y0, side [px]. Without any box, the largest centred square.
    """
    height, width = frame_size_px
    seen = np.flatnonzero(~np.isnan(boxes[:, 0]))
    if not len(seen):
        side = float(min(height, width))
        return np.tile([(width - side) / 2, (height - side) / 2, side], (len(boxes), 1))
    held = boxes[seen]
    filled = np.stack([np.interp(time_s, time_s[seen], held[:, column]) for column in range(4)], axis=1)
    centre = (filled[:, :2] + filled[:, 2:]) / 2
    side_px = np.maximum((filled[:, 2:] - filled[:, :2]).max(axis=1), 2.0) * (1 + margin_frac)
    reach = _frames(smooth_s, time_s)
    if reach > 0:
        side_px = gaussian_filter1d(
            maximum_filter1d(side_px, 2 * round(reach) + 1, mode="nearest"), reach / 2, mode="nearest"
        )
        centre = gaussian_filter1d(centre, reach / 2, axis=0, mode="nearest")
    corner = centre - side_px[:, None] / 2
    room = np.array([width, height]) - side_px[:, None]  # negative where the window is larger than the frame
    corner = np.where(room >= 0, np.clip(corner, 0, np.maximum(room, 0)), room / 2)
    return np.concatenate([corner, side_px[:, None]], axis=1)


def cut(image: Pixels, window: NDArray[np.float64], side_px: int) -> Pixels:
    """Cut a square window out of a frame and scale it.

    Args:
        image: (H, W, 3) uint8 RGB.
        window: x0, y0, side [px]; may reach outside the frame, which is grey there.
        side_px: side of the result.

    Returns:
        (side_px, side_px, 3) uint8 RGB, bilinear.
    """
    x0, y0, side = (float(value) for value in window)
    height, width = image.shape[:2]
    outside = int(np.ceil(max(0.0, -x0, -y0, x0 + side - width, y0 + side - height)))
    if outside:
        image = np.pad(image, ((outside, outside), (outside, outside), (0, 0)), constant_values=_PAD_GREY)
    box = (x0 + outside, y0 + outside, x0 + outside + side, y0 + outside + side)
    return np.asarray(Image.fromarray(image).resize((side_px, side_px), Image.Resampling.BILINEAR, box=box))


def cut_mask(
    mask: NDArray[np.bool_], window: NDArray[np.float64], side_px: int, *, grow_frac: float
) -> NDArray[np.bool_]:
    """Cut a window out of the largest piece of a mask, as `cut` does out of the frame.

    Args:
        mask: (H, W) bool.
        window: x0, y0, side [px]; may reach outside the frame, where there is no mask.
        side_px: side of the result.
        grow_frac: the piece is dilated by this share of `side_px`, so that thin legs and the outline stay.

    Returns:
        (side_px, side_px) bool: nearest neighbour, then dilated. Empty where the mask is, or where its largest piece
        is outside the window.
    """
    x0, y0, side = (float(value) for value in window)
    steps = (np.arange(side_px) + 0.5) * (side / side_px)
    rows, columns = (np.floor(start + steps).astype(int) for start in (y0, x0))
    inside = [(places >= 0) & (places < size) for places, size in zip((rows, columns), mask.shape, strict=True)]
    found = np.zeros((side_px, side_px), dtype=bool)
    found[np.ix_(*inside)] = largest(mask)[np.ix_(rows[inside[0]], columns[inside[1]])]
    if not found.any():
        return found
    grown: NDArray[np.bool_] = distance_transform_edt(~found) <= grow_frac * side_px
    return grown


def grey_outside(image: Pixels, mask: NDArray[np.bool_]) -> Pixels:
    """Paint everything outside the mask in the grey of the padding: the masked view.

    Args:
        image: (S, S, 3) uint8 RGB, a stored crop.
        mask: (S, S) bool, from `cut_mask`; an empty one leaves the crop unchanged.

    Returns:
        (S, S, 3) uint8.
    """
    if not mask.any():
        return image
    return np.where(mask[..., None], image, np.uint8(_PAD_GREY))


def letterbox(image: Pixels, side_px: int) -> Pixels:
    """Scale a whole frame into a square, with grey bars above and below or beside it.

    Args:
        image: (H, W, 3) uint8 RGB.
        side_px: side of the result.

    Returns:
        (side_px, side_px, 3) uint8 RGB, bilinear.
    """
    height, width = image.shape[:2]
    longer = max(height, width)
    return cut(image, np.array([(width - longer) / 2, (height - longer) / 2, longer]), side_px)


def _frames(seconds: float, time_s: NDArray[np.float64]) -> float:
    """Convert a duration to frames, by the median gap between frames; 0 for a single frame."""
    return seconds / float(np.median(np.diff(time_s))) if len(time_s) > 1 else 0.0
