"""Views of the stored crops: the crop, the whole frame, or the crop with everything outside the animal painted grey."""

import pyarrow as pa

from sheep.config import View
from sheep.crop import codec, geometry

_COLUMNS: dict[View, tuple[str, ...]] = {
    "crop": ("crop",),
    "frame": ("frame_image",),
    "masked": ("crop", "crop_mask"),
}


def view_columns(view: View) -> tuple[str, ...]:
    """Return the columns of the crops table that a view needs; not for `track`, which has no image."""
    return _COLUMNS[view]


def image_column(view: View) -> str:
    """Return the column of the crops table with a view's JPEG; the masked view is computed from the crop's."""
    return _COLUMNS[view][0]


def images_of(rows: pa.Table, view: View) -> list[geometry.Pixels]:
    """Decode one view of the crops table.

    Args:
        rows: with the columns that `view_columns` names.
        view: `crop`, `frame` or `masked`; where the animal is lost there is no mask, and `masked` returns the crop.

    Returns:
        One (S, S, 3) uint8 RGB image for each row.
    """
    images = [codec.from_jpeg(data) for data in rows.column(image_column(view)).to_pylist()]
    if view != "masked":
        return images
    masks = rows.column("crop_mask").to_pylist()
    return [
        geometry.grey_outside(image, codec.from_rle(counts, *image.shape[:2]))
        for image, counts in zip(images, masks, strict=True)
    ]
