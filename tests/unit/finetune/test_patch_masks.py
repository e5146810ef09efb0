"""Masks in fine-tuning: aligned with their views, hidden patches, changed backgrounds and the silhouette term."""

import math
from typing import Literal

import numpy as np
import pytest
import torch

from sheep.config import AdvancedFinetuneConfig, FinetuneConfig
from sheep.crop.codec import to_jpeg, to_rle
from sheep.errors import ContractError
from sheep.finetune.augment import patches_on_animal, remove_animal, replace_background
from sheep.finetune.data_loader import DataLoader
from sheep.finetune.dataset import Arrays, Images, Sampler
from sheep.finetune.losses import silhouette_loss
from sheep.finetune.patch_masks import draw_masks
from tests.unit.finetune.settings import changed

CPU = torch.device("cpu")
CONFIG = FinetuneConfig(
    batch_size=4, num_local=0, silhouette_weight=1.0, advanced=AdvancedFinetuneConfig(mask_frac=0.0)
)


def white_squares(background: int = 0) -> Arrays:
    """Four images of a white square, each at another place, the mask as fourth channel."""
    pixels = np.full((4, 64, 64, 4), background, np.uint8)
    pixels[..., 3] = 0
    for number in range(4):
        pixels[number, 10 + 8 * number : 34 + 8 * number, 16:40] = 255
    names = [str(number) for number in range(4)]
    return Arrays(pixels=pixels, animals=names, videos=names)


def draw(images: Arrays, config: FinetuneConfig, mine: slice = slice(0, 4)) -> tuple[torch.Tensor, torch.Tensor]:
    """Brightness (2 B, 1, S, S) of the views in [0, 1] and their masks."""
    loader = DataLoader(images.decoded(96), Sampler(images.animals, images.videos, 0), config, 0, 8)
    batch = loader.batch(3, mine, CPU)
    assert batch.masks is not None
    views = batch.global_views * torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    views = views + torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    return views.mean(1, keepdim=True), batch.masks


def test_masks_are_cropped_and_flipped_as_their_views() -> None:
    views, masks = draw(white_squares(), CONFIG)
    for view, mask in zip(views, masks, strict=True):
        assert 0.05 < mask.mean() < 0.9
        assert view[mask > 0.9].min() > view[mask < 0.1].max()


def test_a_worker_s_slice_is_part_of_the_same_global_batch() -> None:
    images = white_squares(background=30)
    whole, masks = draw(images, CONFIG)
    for mine in (slice(0, 2), slice(2, 4)):
        views, part = draw(images, CONFIG, mine)
        torch.testing.assert_close(views, torch.cat([whole[mine], whole[4:][mine]]))
        torch.testing.assert_close(part, torch.cat([masks[mine], masks[4:][mine]]))


def test_stored_masks_are_the_fourth_channel() -> None:
    mask = np.zeros((32, 32), bool)
    mask[8:24, 8:24] = True
    grey = np.full((32, 32, 3), 90, np.uint8)
    images = Images(jpegs=[to_jpeg(grey, 95)], animals=["a"], videos=["v"], masks=[to_rle(mask)])
    taken = images.decoded(16).take(np.array([0]))
    assert taken.shape == (1, 16, 16, 4)
    expected = np.zeros((16, 16), bool)
    expected[4:12, 4:12] = True
    assert np.array_equal(taken[0, ..., 3].numpy() > 127, expected)
    assert images.digest() != Images(jpegs=images.jpegs, animals=["a"], videos=["v"], masks=[to_rle(~mask)]).digest()
    with pytest.raises(ContractError, match="masks"):
        Images(jpegs=images.jpegs, animals=["a"], videos=["v"], masks=[])


def test_silhouette_term_by_hand() -> None:
    """A logit of 0 costs ln 2; a large logit costs nothing where it is right, and itself where it is wrong."""
    masks = torch.zeros(1, 1, 4, 4)
    masks[..., :2] = 1.0  # left half
    nothing = silhouette_loss(torch.zeros(1, 4), torch.zeros(1, 16), masks)
    assert float(nothing) == pytest.approx(2 * math.log(2), rel=1e-6)
    right = torch.tensor([[50.0, -50.0, 50.0, -50.0]])  # 2 x 2, row by row
    sure = silhouette_loss(right, torch.where(masks.flatten(1) > 0, 50.0, -50.0), masks)
    assert float(sure) == pytest.approx(0.0, abs=1e-6)
    wrong = silhouette_loss(-right, torch.where(masks.flatten(1) > 0, 50.0, -50.0), masks)
    assert float(wrong) == pytest.approx(50.0, rel=1e-6)


def test_hidden_patches_lie_on_the_animal_as_asked() -> None:
    """Grid of 4 x 4, half of it hidden, three quarters of that on the animal: 6 of 8, as far as it covers that many."""
    inside = torch.zeros(2, 4, 16, dtype=torch.bool)
    inside[:, 0, :9] = True  # enough
    inside[:, 1, :2] = True  # too few: all of these, the rest outside
    inside[:, 2] = True  # the animal fills the view: all hidden patches lie on it
    hidden = draw_masks(5, 4, 4, 0.5, inside=inside, inside_share=0.75)
    once = hidden.any(dim=0)  # they are in one of the two views
    assert once.sum(dim=1).tolist() == [8, 8, 8, 8]
    assert (once & inside[0]).sum(dim=1).tolist() == [6, 2, 8, 0]
    assert (hidden.sum(dim=2).amin(dim=0) == 0).all()
    # A worker's slice is part of the same global batch.
    part = draw_masks(5, 4, 4, 0.5, mine=slice(2, 4), inside=inside[:, 2:], inside_share=0.75)
    assert torch.equal(part, hidden[:, 2:])
    assert torch.equal(draw_masks(5, 4, 4, 0.5, inside=inside, inside_share=0.0), draw_masks(5, 4, 4, 0.5))


def test_a_patch_lies_on_the_animal_that_covers_most_of_it() -> None:
    masks = torch.zeros(1, 1, 8, 8)
    masks[..., :4, :3] = 1  # of the four tiles: three quarters of the first
    assert patches_on_animal(masks, 2).tolist() == [[True, False, False, False]]


def test_background_is_dimmed_or_swapped_by_hand() -> None:
    images, masks = torch.full((2, 3, 2, 2), 0.8), torch.zeros(2, 1, 2, 2)
    masks[:, :, 0] = 1  # the upper row is the animal
    noise = torch.tensor([[0.4, 1.0], [0.6, 1.0]])  # the first is changed, to full grey
    gray = 114 / 255
    dimmed = replace_background(images, masks, None, noise, 0.5)
    torch.testing.assert_close(dimmed[0, 0], torch.tensor([[0.8, 0.8], [gray, gray]]))
    torch.testing.assert_close(dimmed[1], images[1])
    half = replace_background(images, masks, None, torch.zeros(2, 2), 0.5)
    torch.testing.assert_close(half[0, 0, 1], torch.full((2,), (0.8 + gray) / 2))
    swapped = replace_background(images, masks, torch.full_like(images, 0.1), noise, 0.5)
    torch.testing.assert_close(swapped[0, 0], torch.tensor([[0.8, 0.8], [0.1, 0.1]]))
    unmasked = replace_background(images, torch.zeros_like(masks), None, noise, 1.0)  # no animal: left as it is
    torch.testing.assert_close(unmasked, images)


def test_the_animal_is_removed_from_a_swapped_background() -> None:
    image, mask = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)), torch.zeros(1, 1, 4, 4)
    mask[..., :2, :] = 1
    background = remove_animal(image, mask)
    torch.testing.assert_close(background[..., 2:, :], image[..., 2:, :])
    torch.testing.assert_close(background[0, :, 0, 0], image[0, :, 2:].mean(dim=(1, 2)))


@pytest.mark.parametrize("background", ["dim", "swap"])
def test_backgrounds_and_hidden_patches_are_slices_of_the_global_batch(background: Literal["dim", "swap"]) -> None:
    config = changed(
        CONFIG, background=background, background_share=0.7, mask_frac=0.4, mask_inside=1.0, num_local=2, drop_path=0.3
    )
    images = white_squares(background=30)
    images.pixels[:, :, :8, :3] = np.array([0, 60, 120, 180], np.uint8)[
        :, None, None, None
    ]  # each has its own background
    loader = DataLoader(images.decoded(96), Sampler(images.animals, images.videos, 0), config, 0, 8, num_branches=6)
    whole = loader.batch(3, slice(0, 4), CPU)
    plain = DataLoader(
        images.decoded(96), Sampler(images.animals, images.videos, 0), changed(CONFIG, num_local=2), 0, 8
    ).batch(3, slice(0, 4), CPU)
    differs = (whole.global_views - plain.global_views).abs().amax(dim=(1, 2, 3)) > 0.05
    assert 0 < int(differs.sum()) < 8
    for mine in (slice(0, 2), slice(2, 4)):
        part = loader.batch(3, mine, CPU)
        for name, views in (("global_views", 2), ("local_views", 2), ("hidden", 2)):
            got, expected = getattr(part, name), getattr(whole, name)
            torch.testing.assert_close(got, expected.unflatten(0, (views, 4))[:, mine].flatten(0, 1), msg=name)
        for name in ("global_branch_scale", "local_branch_scale"):
            got, expected = getattr(part, name), getattr(whole, name)
            assert got is not None
            assert expected is not None
            assert torch.equal(got, expected.unflatten(0, (2, 4))[:, mine].flatten(0, 1))
