"""Images + backbone -> the class token's attention to each patch, and its share inside the animal's mask.

Whether a backbone attends to the animal is measured as the attention of the last block from the class token to each
patch, per head, and its share inside the animal's mask.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F

from sheep.errors import ContractError
from sheep.models.dinov2 import Backbone


@torch.inference_mode()
def attention_maps(backbone: Backbone, images: np.ndarray, image_px: int) -> np.ndarray:
    """Compute the last block's attention from the class token to the patches.

    Args:
        backbone: any that `sheep.models.dinov2` loads.
        images: (B, H, W, 3) uint8 RGB.
        image_px: side the images are resized to, a multiple of the patch size.

    Returns:
        (B, heads, h, w) float32 >= 0, h = w = image_px / patch size. Each map sums to at most 1: the rest goes to the
        class token itself and to registers, which have no place in the image.

    Raises:
        ConfigError: as `Backbone.preprocess`.

    Source: the attention maps of DINO, arXiv 2104.14294, figure 1.
    """
    pixels = backbone.preprocess(images, image_px)
    with _eager(backbone):
        output = backbone.model(pixels, output_attentions=True)
    last = output.attentions[-1]  # (B, heads, tokens, tokens), rows sum to 1
    side = image_px // backbone.patch_px
    to_patches = last[:, :, 0, 1 + backbone.num_registers :]
    return to_patches.unflatten(-1, (side, side)).float().cpu().numpy()


def focus(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Compute the share of the attention on patches that falls inside the mask.

    Args:
        maps: (B, heads, h, w) from `attention_maps`.
        masks: (B, H, W) bool or in [0, 1], the animal in the same image at any size; averaged over each patch.

    Returns:
        (B, heads) float32 in [0, 1]; uniform attention scores the mask's share of the image. NaN where the mask is
        empty.

    Raises:
        ContractError: the shapes differ from the above.
    """
    if maps.ndim != 4 or masks.ndim != 3 or len(maps) != len(masks):
        raise ContractError(
            f"focus: got maps {maps.shape} and masks {masks.shape}, expected (B, heads, h, w) and (B, H, W). "
            "This is a bug: report it."
        )
    covered = F.interpolate(
        torch.as_tensor(masks.astype(np.float32))[:, None], size=maps.shape[2:], mode="area"
    ).numpy()
    total = maps.sum(axis=(2, 3))
    inside = (maps * covered).sum(axis=(2, 3)) / np.maximum(total, np.finfo(np.float32).tiny)
    inside[covered.sum(axis=(1, 2, 3)) == 0] = np.nan
    share: np.ndarray = inside.astype(np.float32)
    return share


@contextmanager
def _eager(backbone: Backbone) -> Iterator[None]:
    # Fused attention never computes the attention matrix; transformers then returns None or silently falls back.
    before = backbone.model.config._attn_implementation
    backbone.model.set_attn_implementation("eager")
    try:
        yield
    finally:
        backbone.model.set_attn_implementation(before)
