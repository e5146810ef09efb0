"""Which stored images are worth learning from: animals stand still for minutes, and a video then repeats one image.

The sampler is fair over animals and videos, not over images, so that what repeats within a video crowds out what is rare in it.
"""

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from sheep.errors import ContractError

THUMB_PX = 16


def thin(
    jpegs: Sequence[bytes],
    animals: Sequence[str],
    videos: Sequence[str],
    time_s: Sequence[float],
    *,
    min_gap_s: float,
    min_change: float,
) -> NDArray[np.bool_]:
    """Leave out images that come too soon after, or look too much like, the last one kept of their animal and video.

    Compared with the last one kept, not with the one before: slow change adds up until it counts.

    Args:
        jpegs: the images, in any order.
        animals: of each.
        videos: of each.
        time_s: of each [s].
        min_gap_s: least time since the last one kept; 0 keeps all.
        min_change: least mean difference of their thumbnails [gray levels]; 0 keeps all.

    Returns:
        (N,) bool, what is kept; the first of every animal in every video always is.

    Raises:
        ContractError: an image is none.
    """
    kept = np.ones(len(jpegs), dtype=np.bool_)
    if min_gap_s == 0 and min_change == 0:
        return kept
    last: dict[tuple[str, str], tuple[float, NDArray[np.float32] | None]] = {}
    for row in np.argsort(np.asarray(time_s, dtype=np.float64), kind="stable").tolist():
        key = (animals[row], videos[row])
        before = last.get(key)
        # A hair of slack: time stamps are floats, and 0.2 s after 0.1 s may be 0.0999 s later.
        if before is not None and time_s[row] - before[0] < min_gap_s - 1e-6:
            kept[row] = False
            continue
        small = thumbnail(jpegs[row]) if min_change > 0 else None
        if before is not None and small is not None and before[1] is not None:
            kept[row] = bool(np.abs(small - before[1]).mean() >= min_change)
        if kept[row]:
            last[key] = (time_s[row], small)
    return kept


def thumbnail(jpeg: bytes) -> NDArray[np.float32]:
    """Return (16, 16) gray levels, 0 to 255: means over the image's tiles.

    Raises:
        ContractError: it is no image.
    """
    try:
        image = Image.open(io.BytesIO(jpeg))
        # JPEG decodes straight to an eighth of its size where that is enough, several times faster.
        image.draft("L", (2 * THUMB_PX, 2 * THUMB_PX))
        small = image.convert("L").resize((THUMB_PX, THUMB_PX), Image.Resampling.BOX)
    except (UnidentifiedImageError, OSError) as error:
        raise ContractError(
            f"finetune: a stored image of {len(jpeg)} bytes cannot be read ({error}). Run the crop stage again."
        ) from error
    return np.asarray(small, dtype=np.float32)
