"""Views of the stored crops: the crop, the whole frame, or the crop with everything but the animal painted grey."""

import pyarrow as pa

from sheep.config import View
from sheep.crop import codec, geometry

_COLUMNS: dict[View, tuple[str, ...]] = {
    "crop": ("crop",),
    "frame": ("frame_image",),
    "masked": ("crop", "crop_mask"),
}


def view_columns(view: View) -> tuple[str, ...]:
    """Columns of the crops table that a view needs; not for `track`, which is no image."""
    return _COLUMNS[view]


def image_column(view: View) -> str:
    """Return the crops table's column that holds a view's JPEG; the masked view is painted from the crop's."""
    return _COLUMNS[view][0]


def images_of(rows: pa.Table, view: View) -> list[geometry.Pixels]:
    """Decode a view of rows of the crops table; a masked crop without a mask (animal lost) is the crop as it is."""
    images = [codec.from_jpeg(data) for data in rows.column(image_column(view)).to_pylist()]
    if view != "masked":
        return images
    masks = rows.column("crop_mask").to_pylist()
    return [
        geometry.grey_outside(image, codec.from_rle(counts, *image.shape[:2]))
        for image, counts in zip(images, masks, strict=True)
    ]
