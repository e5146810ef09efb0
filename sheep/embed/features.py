"""Stored images + backbone -> one vector per image.

The class token summarises an image; the means of patch tokens keep what it omits. `cls_grid` keeps the layout too: a
lowered and a raised head differ in position, not in content, and one mean over all patches loses position.
"""

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sheep.config import EmbedConfig, Pool
from sheep.errors import ConfigError
from sheep.models.dinov2 import Backbone, Tokens

_PARTS: dict[Pool, int] = {"cls": 1, "cls_mean": 2, "cls_grid": 5}
"""Tokens that are joined to one vector."""

Image = NDArray[np.uint8]
"""(H, W, 3) RGB."""


def embed(images: Iterable[Image], backbone: Backbone, config: EmbedConfig) -> NDArray[np.floating]:
    """Embed images, one vector each.

    Args:
        images: of one size or several; consumed batch by batch.
        backbone: in eval mode.
        config: pooling, image side, batch size and type of the result.

    Returns: (F, D') of config.dtype, D' = width(backbone, config.advanced.pool). An image's vector does not depend on
        the others in its batch, except for rounding in the last digits. No images give (0, D').

    Raises:
        ConfigError: an image of another shape or type, or image_px is not a multiple of the patch size.
    """
    backbone.check_size(config.image_px)
    parts = [_embed_batch(batch, backbone, config) for batch in _batches(images, config.batch_size)]
    empty = np.zeros((0, width(backbone, config.advanced.pool)), np.float32)
    return np.concatenate(parts or [empty]).astype(config.dtype)


def width(backbone: Backbone, pool: Pool) -> int:
    """Return the number of values in an embedding, D'."""
    return backbone.dim * _PARTS[pool]


def pool_tokens(tokens: Tokens, pool: Pool) -> Tensor:
    """Join the class token with means of patch tokens.

    Args:
        tokens: of B images with a square grid of patches.
        pool: `cls`, `cls_mean`, or `cls_grid`: the class token and the means of the top left, top right, bottom left
            and bottom right quarters. In a grid of odd side, the middle row and column belong to both halves.

    Returns:
        (B, D') float.

    Raises:
        ConfigError: `cls_grid` with fewer than 2 x 2 patches.
    """
    if pool == "cls":
        return tokens.cls
    if pool == "cls_mean":
        return torch.cat([tokens.cls, tokens.patches.mean(dim=1)], dim=-1)
    side = round(tokens.patches.shape[1] ** 0.5)
    if side < 2:
        raise ConfigError(
            f"embed.advanced.pool: got 'cls_grid' with {side} x {side} patches, expected at least 2 x 2. "
            "Raise embed.image_px."
        )
    grid = tokens.patches.unflatten(1, (side, side))  # (B, h, w, D)
    first, second = slice(0, (side + 1) // 2), slice(side // 2, side)
    quarters = [grid[:, rows, columns].mean(dim=(1, 2)) for rows in (first, second) for columns in (first, second)]
    return torch.cat([tokens.cls, *quarters], dim=-1)


@torch.inference_mode()
def _embed_batch(images: list[Image], backbone: Backbone, config: EmbedConfig) -> NDArray[np.float32]:
    """(B, D') of at most `config.batch_size` images."""
    # Images may differ in size: resize those of one shape together, then run the whole batch.
    shapes = [image.shape for image in images]
    pixels: list[Tensor] = [torch.empty(0)] * len(images)
    for shape in dict.fromkeys(shapes):
        rows = [row for row, other in enumerate(shapes) if other == shape]
        same = backbone.preprocess(np.stack([images[row] for row in rows]), config.image_px)
        for row, image in zip(rows, same, strict=True):
            pixels[row] = image
    # Pad to the full batch: kernels are selected by shape, and would round the last, shorter batch differently.
    padding = [torch.zeros_like(pixels[0])] * (config.batch_size - len(images))
    tokens = backbone.forward(torch.stack(pixels + padding))
    vectors: NDArray[np.float32] = pool_tokens(tokens, config.advanced.pool)[: len(images)].float().cpu().numpy()
    return vectors


def _batches(images: Iterable[Image], size: int) -> Iterator[list[Image]]:
    source = iter(images)
    while batch := list(islice(source, size)):
        yield batch
