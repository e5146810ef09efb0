"""Stored images, and the sampling of a step's images, independent of the number of workers.

Long videos and animals with many videos would dominate, so a batch is drawn in stages: first the animal, then one of
its videos, then one of that video's images.
"""

import hashlib
import io
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from pycocotools import mask as coco
from torch import Tensor

from sheep.config import seed_for
from sheep.errors import ConfigError, ContractError
from sheep.models.dinov2 import resize

MEMORY_BYTES = 4 * 2**30
"""Images whose decoded size exceeds this are decoded again for every batch."""

_DECODERS = 4
"""Threads that decode a batch."""

_SHRUNK_AT_ONCE = 256
"""Images per resize, which bounds the memory of their float32 copies."""


class ImageSource(Protocol):
    """The images that a training reads."""

    @property
    def animals(self) -> Sequence[str]:
        """Animal of each image."""

    @property
    def videos(self) -> Sequence[str]:
        """Video of each image."""

    def digest(self) -> str:
        """Digest of content and keys; a training resumes on the same images only."""

    def decoded(self, max_px: int) -> "Decoded":
        """Decode to square uint8 images with a side of at most `max_px`."""


class Decoded(Protocol):
    """Decoded images of one size."""

    def take(self, rows: np.ndarray) -> Tensor:
        """Return images of the rows.

        Returns:
            (B, S, S, 3) uint8, or (B, S, S, 4) with the animal's mask, 0 or 255, as fourth channel.
        """


@dataclass(frozen=True, kw_only=True)
class Images:
    """JPEG images with the animal, video and, where needed, mask of each; lists of one length."""

    jpegs: list[bytes]
    animals: list[str]
    videos: list[str]
    masks: list[bytes] | None = None
    """COCO run lengths of the animal in each image, at the image's size."""

    def __post_init__(self) -> None:
        counts = [len(self.jpegs), len(self.animals), len(self.videos)]
        counts += [] if self.masks is None else [len(self.masks)]
        if len(set(counts)) != 1:
            raise ContractError(
                f"finetune: got {counts} images, animals, videos and masks, expected the same number of each. "
                "This is a bug: report it."
            )

    def digest(self) -> str:
        """Digest of every image and key, 16 hexadecimal digits."""
        state = hashlib.sha256()
        for row in zip(self.jpegs, self.animals, self.videos, strict=True):
            state.update(hashlib.sha256(row[0]).digest() + f"{row[1]}\0{row[2]}\0".encode())
        for mask in self.masks or []:
            state.update(hashlib.sha256(mask).digest())
        return state.hexdigest()[:16]

    def decoded(self, max_px: int) -> Decoded:
        """Decode once where the images fit into memory, else for every batch.

        Raises:
            ContractError: a stored image cannot be read.
        """
        side = min(max_px, min(_open(self.jpegs[0]).size))
        lazy = _Jpegs(self.jpegs, self.masks, side)
        if len(self.jpegs) * side * side * (3 if self.masks is None else 4) > MEMORY_BYTES:
            return lazy
        return _Array(lazy.take(np.arange(len(self.jpegs))))


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """Decoded images with the animal and video of each."""

    pixels: np.ndarray
    """(N, S, S, 3) uint8, or (N, S, S, 4) with masks, 0 or 255, as fourth channel."""
    animals: list[str]
    videos: list[str]

    def __post_init__(self) -> None:
        shape, kind = self.pixels.shape, self.pixels.dtype
        if len(shape) != 4 or shape[1] != shape[2] or shape[3] not in (3, 4) or kind != np.uint8:
            raise ContractError(
                f"finetune: got images of {shape} {kind}, expected (N, S, S, 3) or (N, S, S, 4) uint8; floats may hold "
                "nan. Convert them first."
            )
        if not len(self.pixels) == len(self.animals) == len(self.videos):
            counts = (len(self.pixels), len(self.animals), len(self.videos))
            raise ContractError(
                f"finetune: got {counts} images, animals and videos, expected the same number of each. "
                "This is a bug: report it."
            )

    def digest(self) -> str:
        """Digest of every image and key, 16 hexadecimal digits."""
        state = hashlib.sha256(np.ascontiguousarray(self.pixels).data)
        state.update("\0".join([*self.animals, *self.videos]).encode())
        return state.hexdigest()[:16]

    def decoded(self, max_px: int) -> Decoded:
        """Downscale images whose side exceeds `max_px`."""
        pixels = torch.from_numpy(self.pixels)
        if self.pixels.shape[1] <= max_px:
            return _Array(pixels)
        return _Array(torch.cat([_shrink(part, max_px) for part in pixels.split(_SHRUNK_AT_ONCE)]))


class Sampler:
    """Draws the images of a step: animals evenly, the videos of an animal evenly, the images of a video evenly."""

    def __init__(self, animals: Sequence[str], videos: Sequence[str], seed: int) -> None:
        """Group the images.

        Args:
            animals: of each image.
            videos: of each image.
            seed: of the study.

        Raises:
            ConfigError: the lists are empty.
        """
        if not animals:
            raise ConfigError("finetune: got no images, expected at least one. Check the crop stage's output.")
        groups: dict[str, dict[str, list[int]]] = {}
        for row, (animal, video) in enumerate(zip(animals, videos, strict=True)):
            groups.setdefault(animal, {}).setdefault(video, []).append(row)
        # Sorted, so that the choice of animal and video does not depend on the order in which parts are listed.
        self._groups = [[videos[video] for video in sorted(videos)] for _, videos in sorted(groups.items())]
        self._seed = seed

    @property
    def num_animals(self) -> int:
        """Number of animals."""
        return len(self._groups)

    def draw(self, step: int, count: int) -> np.ndarray:
        """Draw the images of one step, with replacement; a function of seed and step only.

        Args:
            step: from 0; -1 draws a set that no step has.
            count: images to draw.

        Returns:
            (count,) int64 rows.
        """
        generator = np.random.default_rng(seed_for(self._seed, "finetune.images", str(step)))
        rows = []
        for u_animal, u_video, u_image in generator.random((count, 3)):
            videos = self._groups[int(u_animal * len(self._groups))]
            images = videos[int(u_video * len(videos))]
            rows.append(images[int(u_image * len(images))])
        return np.asarray(rows, dtype=np.int64)


class _Array:
    """Images in memory."""

    def __init__(self, pixels: Tensor) -> None:
        self._pixels = pixels

    def take(self, rows: np.ndarray) -> Tensor:
        return self._pixels[torch.from_numpy(rows)]


class _Jpegs:
    """Images that are decoded whenever a batch takes them."""

    def __init__(self, jpegs: list[bytes], masks: list[bytes] | None, side: int) -> None:
        """Set up without decoding.

        Args:
            jpegs: the images.
            masks: COCO run lengths at the images' size, or None.
            side: to which images and masks are resized.
        """
        self._jpegs, self._masks = jpegs, masks
        self._side = side
        # Decoding and resizing release the interpreter's lock.
        self._pool = ThreadPoolExecutor(_DECODERS, thread_name_prefix="finetune-decoder")

    def take(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(np.stack(list(self._pool.map(self._decode, rows))))

    def _decode(self, row: int) -> np.ndarray:
        image = _open(self._jpegs[row])
        pixels = _pixels(image, self._side)
        if self._masks is None:
            return pixels
        width, height = image.size
        mask = Image.fromarray(coco.decode({"counts": self._masks[row], "size": [height, width]}) * np.uint8(255))
        resized = mask.resize((self._side, self._side), Image.Resampling.BILINEAR)
        return np.concatenate([pixels, np.asarray(resized)[..., None]], axis=-1)


def working_px(global_px: int) -> int:
    """Side at which images are kept: 1.5 times the largest crop, beyond which a larger image only costs time."""
    return math.ceil(1.5 * global_px)


def _open(jpeg: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(jpeg))
    except UnidentifiedImageError as error:
        raise ContractError(
            f"finetune: a stored image of {len(jpeg)} bytes cannot be read as an image, expected a JPEG. "
            "Run the crop stage again."
        ) from error


def _pixels(stored: Image.Image, side: int) -> np.ndarray:
    """Decode and resize.

    Args:
        stored: an opened JPEG.
        side: of the result.

    Returns:
        (side, side, 3) uint8 RGB.

    Raises:
        ContractError: its data are damaged.
    """
    try:
        image = stored.convert("RGB")
    except OSError as error:
        raise ContractError(f"finetune: a stored JPEG is broken ({error}). Run the crop stage again.") from error
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(image)


def _shrink(images: Tensor, side: int) -> Tensor:
    """Resize images, antialiased.

    Args:
        images: (N, S, S, C) uint8.
        side: of the result.

    Returns:
        (N, side, side, C) uint8.
    """
    small = resize(images.permute(0, 3, 1, 2).float(), side)
    return small.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
