"""Views are determined by their noise; backgrounds are dimmed or swapped around the animal."""

import torch

from sheep.finetune.augment import (
    NUM_NOISE,
    draw_noise,
    make_views,
    patches_on_animal,
    remove_animal,
    replace_background,
)


def test_noise_determines_crop_and_flip_of_a_view() -> None:
    ramp = torch.linspace(0, 1, 32).view(1, 1, 1, 32).expand(1, 3, 32, 32)  # brighter to the right
    middle = torch.full((1, NUM_NOISE), 0.5)  # no jitter
    middle[0, 4] = 0.1  # no flip
    torch.testing.assert_close(make_views(ramp, middle, 32, (1.0, 1.0)), ramp, atol=1e-5, rtol=0)
    flipped = middle.clone()
    flipped[0, 4] = 0.9
    torch.testing.assert_close(make_views(ramp, flipped, 32, (1.0, 1.0)), ramp.flip(-1), atol=1e-5, rtol=0)
    left = middle.clone()
    left[0, 2] = 0.0  # a quarter of the area, its left edge at the image's
    view = make_views(ramp, left, 16, (0.25, 0.25))
    torch.testing.assert_close(view, ramp[:, :, 8:24, :16], atol=1e-5, rtol=0)


def test_a_view_depends_on_its_own_noise_only() -> None:
    images = torch.rand(4, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    noise = draw_noise(3, 4, 2)
    together = make_views(images, noise[:, 1], 24, (0.3, 1.0))
    alone = torch.cat([make_views(images[i : i + 1], noise[i : i + 1, 1], 24, (0.3, 1.0)) for i in range(4)])
    torch.testing.assert_close(together, alone)
    assert together.min() >= 0
    assert together.max() <= 1


def test_a_patch_is_on_the_animal_if_most_of_it_is_covered() -> None:
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
    unmasked = replace_background(images, torch.zeros_like(masks), None, noise, 1.0)  # no animal: unchanged
    torch.testing.assert_close(unmasked, images)


def test_the_animal_is_removed_from_a_swapped_background() -> None:
    image, mask = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)), torch.zeros(1, 1, 4, 4)
    mask[..., :2, :] = 1
    background = remove_animal(image, mask)
    torch.testing.assert_close(background[..., 2:, :], image[..., 2:, :])
    torch.testing.assert_close(background[0, :, 0, 0], image[0, :, 2:].mean(dim=(1, 2)))
