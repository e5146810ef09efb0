"""What masks add to fine-tuning: views and masks stay aligned, and the silhouette term is what it says."""

import math
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch

from sheep.config import FinetuneConfig
from sheep.crop.codec import to_jpeg, to_rle
from sheep.errors import ContractError
from sheep.finetune.augment import on_animal, repaint, without_animal
from sheep.finetune.data_loader import Batches
from sheep.finetune.dataset import Arrays, Images, Sampler
from sheep.finetune.losses import silhouette_loss
from sheep.finetune.patch_masks import draw_masks

CPU = torch.device("cpu")
CONFIG = FinetuneConfig(batch_size=4, num_local=0, mask_frac=0.0, silhouette_weight=1.0)


def white_squares(ground: int = 0) -> Arrays:
    """Four images of a white square, each at another place, the mask as fourth channel."""
    pixels = np.full((4, 64, 64, 4), ground, np.uint8)
    pixels[..., 3] = 0
    for number in range(4):
        pixels[number, 10 + 8 * number : 34 + 8 * number, 16:40] = 255
    names = [str(number) for number in range(4)]
    return Arrays(pixels=pixels, animals=names, videos=names)


def draw(images: Arrays, config: FinetuneConfig, mine: slice = slice(0, 4)) -> tuple[torch.Tensor, torch.Tensor]:
    """Brightness (2 B, 1, S, S) of the views in [0, 1] and their masks."""
    batches = Batches(images.decoded(96), Sampler(images.animals, images.videos, 0), config, 0, 8)
    batch = batches.draw(3, mine, CPU)
    assert batch.masks is not None
    views = batch.global_views * torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    views = views + torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    return views.mean(1, keepdim=True), batch.masks


def test_masks_are_cut_and_flipped_as_their_views_are() -> None:
    views, masks = draw(white_squares(), CONFIG)
    for view, mask in zip(views, masks, strict=True):
        assert 0.05 < mask.mean() < 0.9
        assert view[mask > 0.9].min() > view[mask < 0.1].max()


def test_a_worker_s_slice_is_part_of_the_same_global_batch() -> None:
    images = white_squares(ground=30)
    whole, masks = draw(images, CONFIG)
    for mine in (slice(0, 2), slice(2, 4)):
        views, part = draw(images, CONFIG, mine)
        torch.testing.assert_close(views, torch.cat([whole[mine], whole[4:][mine]]))
        torch.testing.assert_close(part, torch.cat([masks[mine], masks[4:][mine]]))


def test_stored_masks_come_along_as_fourth_channel() -> None:
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
    """Logits of 0 cost ln 2 a cell; one sure and right cell costs nothing, one sure and wrong its logit."""
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
    """Grid of 4 x 4, half of it hidden, three quarters of that on the animal: 6 of 8, as far as it has so many patches."""
    inside = torch.zeros(2, 4, 16, dtype=torch.bool)
    inside[:, 0, :9] = True  # enough
    inside[:, 1, :2] = True  # too few: all of them, the rest from outside
    inside[:, 2] = True  # nothing but animal: it takes what outside cannot
    hidden = draw_masks(5, 4, 4, 0.5, inside=inside, inside_share=0.75)
    once = hidden.any(dim=0)  # one of the two views has them
    assert once.sum(dim=1).tolist() == [8, 8, 8, 8]
    assert (once & inside[0]).sum(dim=1).tolist() == [6, 2, 8, 0]
    assert (hidden.sum(dim=2).amin(dim=0) == 0).all()
    # The slice of a worker is part of the same whole.
    part = draw_masks(5, 4, 4, 0.5, mine=slice(2, 4), inside=inside[:, 2:], inside_share=0.75)
    assert torch.equal(part, hidden[:, 2:])
    assert torch.equal(draw_masks(5, 4, 4, 0.5, inside=inside, inside_share=0.0), draw_masks(5, 4, 4, 0.5))


def test_a_patch_is_on_the_animal_where_most_of_it_is() -> None:
    masks = torch.zeros(1, 1, 8, 8)
    masks[..., :4, :3] = 1  # of the four tiles: three quarters of the first
    assert on_animal(masks, 2).tolist() == [[True, False, False, False]]


def test_ground_is_dimmed_or_swapped_by_hand() -> None:
    images, masks = torch.full((2, 3, 2, 2), 0.8), torch.zeros(2, 1, 2, 2)
    masks[:, :, 0] = 1  # the upper row is the animal
    noise = torch.tensor([[0.4, 1.0], [0.6, 1.0]])  # the first is changed, wholly
    gray = 114 / 255
    dimmed = repaint(images, masks, None, noise, 0.5)
    torch.testing.assert_close(dimmed[0, 0], torch.tensor([[0.8, 0.8], [gray, gray]]))
    torch.testing.assert_close(dimmed[1], images[1])
    half = repaint(images, masks, None, torch.zeros(2, 2), 0.5)
    torch.testing.assert_close(half[0, 0, 1], torch.full((2,), (0.8 + gray) / 2))
    swapped = repaint(images, masks, torch.full_like(images, 0.1), noise, 0.5)
    torch.testing.assert_close(swapped[0, 0], torch.tensor([[0.8, 0.8], [0.1, 0.1]]))
    nothing = repaint(
        images, torch.zeros_like(masks), None, noise, 1.0
    )  # no mask: nothing to keep, so nothing is changed
    torch.testing.assert_close(nothing, images)


def test_another_image_s_animal_does_not_come_along() -> None:
    image, mask = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)), torch.zeros(1, 1, 4, 4)
    mask[..., :2, :] = 1
    ground = without_animal(image, mask)
    torch.testing.assert_close(ground[..., 2:, :], image[..., 2:, :])
    torch.testing.assert_close(ground[0, :, 0, 0], image[0, :, 2:].mean(dim=(1, 2)))


@pytest.mark.parametrize("background", ["dim", "swap"])
def test_ground_and_hidden_patches_follow_the_global_batch(background: Literal["dim", "swap"]) -> None:
    config = replace(
        CONFIG, background=background, background_share=0.7, mask_frac=0.4, mask_inside=1.0, num_local=2, drop_path=0.3
    )
    images = white_squares(ground=30)
    images.pixels[:, :, :8, :3] = np.array([0, 60, 120, 180], np.uint8)[:, None, None, None]  # a ground of its own each
    batches = Batches(images.decoded(96), Sampler(images.animals, images.videos, 0), config, 0, 8, num_branches=6)
    whole = batches.draw(3, slice(0, 4), CPU)
    plain = Batches(
        images.decoded(96), Sampler(images.animals, images.videos, 0), replace(CONFIG, num_local=2), 0, 8
    ).draw(3, slice(0, 4), CPU)
    changed = (whole.global_views - plain.global_views).abs().amax(dim=(1, 2, 3)) > 0.05
    assert 0 < int(changed.sum()) < 8
    for mine in (slice(0, 2), slice(2, 4)):
        part = batches.draw(3, mine, CPU)
        for name, views in (("global_views", 2), ("local_views", 2), ("hidden", 2)):
            got, expected = getattr(part, name), getattr(whole, name)
            torch.testing.assert_close(got, expected.unflatten(0, (views, 4))[:, mine].flatten(0, 1), msg=name)
        for got, expected in zip(part.kept, whole.kept, strict=True):
            assert got is not None
            assert expected is not None
            assert torch.equal(got, expected.unflatten(0, (2, 4))[:, mine].flatten(0, 1))
