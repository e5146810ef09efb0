"""Encoders without a network: a few pixels of the crop, or the animal's position and size.

As baselines they go through the same folds, windows, probe and search as the backbones. A backbone that does not beat
them has not been shown to recognise behaviour. They load neither a network nor torch.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

PIXELS_PX = 20
"""Side of the image that the baseline `pixels` reads [px]."""

TRACK_COLUMNS = ("x0", "y0", "x1", "y1", "height_px", "width_px", "object_score", "area_px", "lost")
"""What the baseline `geometry` reads of the tracks table, besides the key and time."""


def pixels(images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Return the pixels of each image, scaled down.

    Args:
        images: (H, W, 3) uint8 RGB each.

    Returns:
        (F, 3 * PIXELS_PX ** 2) in [0, 1]: each image scaled down by averaging areas, row by row, red, green, blue. No
        images give no rows.
    """
    small = np.zeros((len(images), PIXELS_PX, PIXELS_PX, 3), dtype=np.float32)
    for row, image in enumerate(images):
        small[row] = np.asarray(Image.fromarray(image).resize((PIXELS_PX, PIXELS_PX), Image.Resampling.BOX))
    return small.reshape(len(images), 3 * PIXELS_PX**2) / np.float32(255)


def geometry(rows: pa.Table) -> NDArray[np.float32]:
    """Return position, size and shape from the track; a temporal window adds motion.

    Args:
        rows: the whole TRACKS of one video, any number of animals, with at least TRACK_COLUMNS, `animal` and `time_s`.

    Returns:
        (F, 9): x and y of the box's centre, its width and height, as shares of the frame's width and height; the
        logarithm of the box's width over its height; the logarithm of the mask's share of the frame; the mask's share
        of the box, which stray specks can take above 1; SAM-2's logit; 1 where the animal is lost. Box and area of a
        lost frame are those that the crop stage uses: interpolated between the frames where the animal is seen, the
        nearest seen before the first and after the last; for an animal that is never seen, the largest centred square.
    """
    height, width, score, lost = (
        rows.column(name).to_numpy().astype(np.float64) for name in ("height_px", "width_px", "object_score", "lost")
    )
    measured = np.stack(
        [rows.column(name).to_numpy().astype(np.float64) for name in ("x0", "y0", "x1", "y1", "area_px")], axis=1
    )
    time_s, animals = rows.column("time_s").to_numpy(), np.array(rows.column("animal").to_pylist(), dtype=str)
    for animal in np.unique(animals):
        of_animal = np.flatnonzero(animals == animal)
        seen = of_animal[lost[of_animal] == 0]
        if len(seen):
            for column in range(measured.shape[1]):
                measured[of_animal, column] = np.interp(time_s[of_animal], time_s[seen], measured[seen, column])
        else:
            side = min(height[of_animal[0]], width[of_animal[0]])
            x0, y0 = (width[of_animal[0]] - side) / 2, (height[of_animal[0]] - side) / 2
            measured[of_animal] = (x0, y0, x0 + side, y0 + side, side**2)
    x0s, y0s, x1s, y1s, area = measured.T
    box_width, box_height = x1s - x0s, y1s - y0s
    features = [(x0s + x1s) / 2 / width, (y0s + y1s) / 2 / height, box_width / width, box_height / height]
    features += [np.log(box_width / box_height), np.log(area / (height * width)), area / (box_width * box_height)]
    return np.stack([*features, score, lost], axis=1).astype(np.float32)
