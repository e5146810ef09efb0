"""Removal of near-duplicate images: while an animal stands still for minutes, its video repeats one image.

The sampler balances animals and videos, not the images of a video, so repeated images would displace rare ones.
"""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from sheep.errors import ContractError

THUMB_PX = 16


def drop_near_duplicates(
    jpegs: Sequence[bytes],
    animals: Sequence[str],
    videos: Sequence[str],
    time_s: Sequence[float],
    *,
    min_gap_s: float,
    min_change: float,
) -> NDArray[np.bool_]:
    """Drop images too close in time, or too similar, to the last image kept of the same animal and video.

    Images are compared with the last image kept, not with the preceding one, so that slow change accumulates.

    Args:
        jpegs: N images, in any order.
        animals: of each image.
        videos: of each image.
        time_s: of each image [s].
        min_gap_s: least time since the last image kept; >= 0, 0 keeps all.
        min_change: least mean difference of their thumbnails [gray levels]; 0 to 255, 0 keeps all.

    Returns:
        (N,) bool, True where an image is kept. The first image of every animal in every video is always kept.

    Raises:
        ContractError: a stored image cannot be read.
    """
    keep = np.ones(len(jpegs), dtype=np.bool_)
    if min_gap_s == 0 and min_change == 0:
        return keep
    last: dict[tuple[str, str], tuple[float, NDArray[np.float32] | None]] = {}
    for row in np.argsort(np.asarray(time_s, dtype=np.float64), kind="stable").tolist():
        key = (animals[row], videos[row])
        before = last.get(key)
        # Time stamps are floats: 0.2 s after 0.1 s may be 0.0999 s later.
        if before is not None and time_s[row] - before[0] < min_gap_s - 1e-6:
            keep[row] = False
            continue
        small = thumbnail(jpegs[row]) if min_change > 0 else None
        if before is not None and small is not None and before[1] is not None:
            keep[row] = bool(np.abs(small - before[1]).mean() >= min_change)
        if keep[row]:
            last[key] = (time_s[row], small)
    return keep


def thumbnail(jpeg: bytes) -> NDArray[np.float32]:
    """Return (16, 16) gray levels, 0 to 255: means over the image's tiles.

    Raises:
        ContractError: the image cannot be read.
    """
    try:
        image = Image.open(io.BytesIO(jpeg))
        # JPEG can be decoded directly to an eighth of its size, several times faster than the whole image.
        image.draft("L", (2 * THUMB_PX, 2 * THUMB_PX))
        small = image.convert("L").resize((THUMB_PX, THUMB_PX), Image.Resampling.BOX)
    except (UnidentifiedImageError, OSError) as error:
        raise ContractError(
            f"finetune: a stored image of {len(jpeg)} bytes cannot be read ({error}), expected a JPEG. "
            "Run the crop stage again."
        ) from error
    return np.asarray(small, dtype=np.float32)
