"""Masks stay aligned with their views, and the batch of a worker is a slice of the global batch."""

from typing import Literal

import numpy as np
import pytest
import torch

from sheep.config import AdvancedFinetuneConfig, FinetuneConfig
from sheep.finetune.data_loader import DataLoader
from sheep.finetune.dataset import Arrays, Sampler
from tests.unit.finetune.settings import changed

CPU = torch.device("cpu")
CONFIG = FinetuneConfig(
    batch_size=4, num_local=0, silhouette_weight=1.0, advanced=AdvancedFinetuneConfig(mask_frac=0.0)
)


def white_squares(background: int = 0) -> Arrays:
    """Return four images of a white square at different places, with its mask as fourth channel."""
    pixels = np.full((4, 64, 64, 4), background, np.uint8)
    pixels[..., 3] = 0
    for number in range(4):
        pixels[number, 10 + 8 * number : 34 + 8 * number, 16:40] = 255
    names = [str(number) for number in range(4)]
    return Arrays(pixels=pixels, animals=names, videos=names)


def draw(images: Arrays, config: FinetuneConfig, mine: slice = slice(0, 4)) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the brightness (2 B, 1, S, S) of the views, in [0, 1], and their masks."""
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
