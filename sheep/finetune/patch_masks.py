"""Which patches are hidden from the student: blocks, exactly as many in every hidden view."""

import torch
from torch import Tensor

_NUM_BLOCKS = 12


def count_hidden(num_patches: int, mask_frac: float) -> int:
    """Patches hidden in a masked view: the share, rounded, at least one where the share is above 0."""
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

    One of the two, not a random half of all: every worker then holds as many hidden patches as every other, and averages over
    workers are averages over patches.

    Args:
        seed: of this step.
        num_images: images in the global batch.
        grid: patches along a side.
        mask_frac: share hidden in a masked view, 0 to 0.9.
        mine: which images of the global batch are wanted, n of them.
        inside: (2, n, grid * grid) bool, the patches on the animal in both views; without it blocks fall anywhere.
        inside_share: share of the hidden patches that lie on the animal, rounded; fewer where it covers fewer.

    Returns:
        (2, n, grid * grid) bool; True is hidden. As many in every hidden view, whatever lies on the animal.

    Source: block-wise masking of BEiT and iBOT (arXiv 2111.07832, A.1). There, blocks are added until enough is covered. Here a
        patch is ranked by the first of a row of random blocks that covers it, which fixes the number and needs no loop.
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
    rank = (first + order).argsort(dim=1).argsort(dim=1)[mine]
    count = count_hidden(grid * grid, mask_frac)
    chosen = torch.stack([~second[mine], second[mine]])[..., None]
    if inside is None or inside_share == 0:
        return (rank < count) & chosen
    return _prefer(rank.to(inside.device), inside, count, round(inside_share * count)) & chosen.to(inside.device)


def _prefer(rank: Tensor, inside: Tensor, count: int, on_animal: int) -> Tensor:
    """Take patches in the order of their rank, `on_animal` of `count` from inside as far as there are, the rest from outside."""
    num_patches, num_inside = rank.shape[-1], inside.sum(dim=-1, keepdim=True)
    within = (rank + num_patches * ~inside).argsort(dim=-1).argsort(dim=-1)  # place among the inside ones, for these
    beyond = (rank + num_patches * inside).argsort(dim=-1).argsort(dim=-1)
    # Where too little lies outside, the animal takes what is left.
    wanted = torch.full_like(num_inside, on_animal).clamp_min(count - (num_patches - num_inside)).minimum(num_inside)
    return torch.where(inside, within < wanted, beyond < count - wanted)
