"""Patches masked for the student: blocks, the same number in every masked view."""

import torch
from torch import Tensor

_NUM_BLOCKS = 12
"""Random blocks per image; patches that none of them covers are masked last."""


def count_hidden(num_patches: int, mask_frac: float) -> int:
    """Patches hidden in a masked view.

    Args:
        num_patches: of the view.
        mask_frac: share to hide, 0 to 0.9.

    Returns:
        The share, rounded; at least 1 where it is above 0.
    """
    return max(1, round(num_patches * mask_frac)) if mask_frac > 0 else 0


def draw_masks(
    seed: int,
    num_images: int,
    grid: int,
    mask_frac: float,
    *,
    mine: slice = slice(None),
    inside: Tensor | None = None,
    inside_share: float = 0.0,
) -> Tensor:
    """Hide blocks of patches in one of the two global views of each image.

    One of the two, not a random half of all views: every worker then has the same number of hidden patches, and means
    over workers are means over patches.

    Args:
        seed: of this step.
        num_images: images in the global batch.
        grid: patches along a side.
        mask_frac: share hidden in a masked view, 0 to 0.9.
        mine: this worker's images of the global batch, n of them.
        inside: (2, n, grid * grid) bool, the patches on the animal in both views; None lets blocks fall anywhere.
        inside_share: share of the hidden patches that lie on the animal, 0 to 1, rounded; fewer where it covers fewer.

    Returns:
        (2, n, grid * grid) bool, True is hidden; the same number in every masked view, however large the animal.

    Source: block-wise masking of BEiT and iBOT (arXiv 2111.07832, A.1), which adds blocks until enough is covered. Here
        each patch is ranked by the first random block that covers it: that fixes the number without a loop.
    """
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(num_images, _NUM_BLOCKS, 2, generator=generator)
    extent = torch.rand(num_images, _NUM_BLOCKS, 2, generator=generator)
    order = torch.rand(num_images, grid * grid, generator=generator)
    second = torch.rand(num_images, generator=generator) < 0.5
    size = (1 + extent * (grid / 2)).floor().clamp(max=grid)
    start = (corner * (grid - size + 1)).floor()
    along = torch.arange(grid)
    spans = (along >= start[..., None]) & (along < (start + size)[..., None])  # (N, blocks, 2, grid)
    covered = (spans[:, :, 0, :, None] & spans[:, :, 1, None, :]).flatten(2)  # (N, blocks, P)
    first = torch.where(covered.any(dim=1), covered.int().argmax(dim=1), _NUM_BLOCKS)
    # `order` breaks ties within a block at random; argsort of argsort turns values into ranks.
    rank = (first + order).argsort(dim=1).argsort(dim=1)[mine]
    count = count_hidden(grid * grid, mask_frac)
    masked_view = torch.stack([~second[mine], second[mine]])[..., None]
    if inside is None or inside_share == 0:
        return (rank < count) & masked_view
    return _prefer(rank.to(inside.device), inside, count, round(inside_share * count)) & masked_view.to(inside.device)


def _prefer(rank: Tensor, inside: Tensor, count: int, on_animal: int) -> Tensor:
    """Hide patches in the order of their rank, a given number of them on the animal.

    Args:
        rank: (n, P) int, 0 to P - 1.
        inside: (2, n, P) bool, the patches on the animal.
        count: patches to hide in each view.
        on_animal: how many of them to place on the animal, limited by its area.

    Returns:
        (2, n, P) bool, `count` of them True in each view.
    """
    num_patches, num_inside = rank.shape[-1], inside.sum(dim=-1, keepdim=True)
    within = (rank + num_patches * ~inside).argsort(dim=-1).argsort(dim=-1)  # rank among the patches inside
    beyond = (rank + num_patches * inside).argsort(dim=-1).argsort(dim=-1)  # rank among the patches outside
    # If the background has too few patches, more are taken from the animal.
    wanted = torch.full_like(num_inside, on_animal).clamp_min(count - (num_patches - num_inside)).minimum(num_inside)
    return torch.where(inside, within < wanted, beyond < count - wanted)
