"""Stored pixels: JPEG images and COCO run-length masks."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from sheep.crop.geometry import Pixels


def to_rle(mask: NDArray[np.bool_]) -> bytes:
    """Encode a mask (H, W) as COCO compressed run lengths, column by column."""
    counts: bytes = coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]
    return counts


def from_rle(counts: bytes, height_px: int, width_px: int) -> NDArray[np.bool_]:
    """Decode COCO compressed run lengths.

    Args:
        counts: as `to_rle` returns them.
        height_px: H of the encoded mask.
        width_px: W of the encoded mask.

    Returns:
        (H, W) bool.
    """
    mask: NDArray[np.bool_] = coco.decode({"counts": counts, "size": [height_px, width_px]}).astype(bool)
    return mask


def to_jpeg(image: Pixels, quality: int) -> bytes:
    """Encode an image as JPEG, with full chroma resolution since crops are small.

    Args:
        image: (H, W, 3) uint8 RGB.
        quality: of Pillow's encoder, 1 to 95.
    """
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def from_jpeg(data: bytes) -> Pixels:
    """Decode a stored image to (H, W, 3) uint8 RGB."""
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))
