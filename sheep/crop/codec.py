"""Stored pixels: JPEG images and COCO run-length masks."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from sheep.crop.geometry import Pixels


def to_rle(mask: NDArray[np.bool_]) -> bytes:
    """Encode a mask (H, W) as COCO compressed run lengths."""
    counts: bytes = coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]
    return counts


def from_rle(counts: bytes, height_px: int, width_px: int) -> NDArray[np.bool_]:
    """Decode COCO run lengths to a mask (H, W)."""
    mask: NDArray[np.bool_] = coco.decode({"counts": counts, "size": [height_px, width_px]}).astype(bool)
    return mask


def to_jpeg(image: Pixels, quality: int) -> bytes:
    """Encode (H, W, 3) RGB; full chroma resolution, since crops are small."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()


def from_jpeg(data: bytes) -> Pixels:
    """Decode a stored image to (H, W, 3) RGB."""
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))
