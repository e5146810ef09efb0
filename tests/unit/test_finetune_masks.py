"""What masks add to fine-tuning: views and masks stay aligned, and the silhouette term is what it says."""

import math

import numpy as np
import pytest
import torch

from sheep.config import FinetuneConfig
from sheep.crops import to_jpeg, to_rle
from sheep.errors import ContractError
from sheep.finetune.batches import Batches
from sheep.finetune.images import Arrays, Images, Sampler
from sheep.finetune.losses import silhouette_loss

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
