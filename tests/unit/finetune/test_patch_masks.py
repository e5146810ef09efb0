"""Hidden patches: their number, their blocks, and the fraction of them on the animal."""

import torch

from sheep.finetune.patch_masks import count_hidden, draw_masks


def test_masks_hide_the_fraction_in_one_of_two_views() -> None:
    masks = draw_masks(0, 50, 8, 0.3)
    assert masks.shape == (2, 50, 64)
    counts = masks.sum(dim=2)
    assert set(counts.flatten().tolist()) == {0, 19}
    assert (counts.sum(dim=0) == 19).all()
    assert 10 < int((counts[0] > 0).sum()) < 40
    # In blocks: far more hidden neighbours than scattered patches would have (0.3).
    grids = masks.sum(dim=0).bool().view(50, 8, 8)
    beside = (grids[:, :, 1:] & grids[:, :, :-1]).sum() / grids[:, :, 1:].sum()
    assert beside > 0.6
    assert not draw_masks(0, 5, 8, 0.0).any()
    assert count_hidden(4, 0.01) == 1
    assert torch.equal(masks, draw_masks(0, 50, 8, 0.3))


def test_the_configured_fraction_of_hidden_patches_is_on_the_animal() -> None:
    """A grid of 4 x 4, half of it hidden, three quarters of that on the animal: 6 of 8, if it covers that many."""
    inside = torch.zeros(2, 4, 16, dtype=torch.bool)
    inside[:, 0, :9] = True  # enough
    inside[:, 1, :2] = True  # too few: all of them, and the rest outside
    inside[:, 2] = True  # the animal fills the view: all hidden patches are on it
    hidden = draw_masks(5, 4, 4, 0.5, inside=inside, inside_share=0.75)
    once = hidden.any(dim=0)  # they are in one of the two views
    assert once.sum(dim=1).tolist() == [8, 8, 8, 8]
    assert (once & inside[0]).sum(dim=1).tolist() == [6, 2, 8, 0]
    assert (hidden.sum(dim=2).amin(dim=0) == 0).all()
    # A worker's slice is part of the same global batch.
    part = draw_masks(5, 4, 4, 0.5, mine=slice(2, 4), inside=inside[:, 2:], inside_share=0.75)
    assert torch.equal(part, hidden[:, 2:])
    assert torch.equal(draw_masks(5, 4, 4, 0.5, inside=inside, inside_share=0.0), draw_masks(5, 4, 4, 0.5))
