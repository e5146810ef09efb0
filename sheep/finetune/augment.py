"""Random views of a batch of images: resized crop, flip, colour; all images at once.

Every choice comes from uniform noise that is handed in, drawn for the global batch, so that a view depends on seed, step and
place in the global batch only, never on which worker makes it. No vertical flip and no rotation: which way is up is what the
labels are about. No blur and no solarisation: the images are small and the colours of wool, grass and straw are evidence.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

NUM_NOISE = 8
"""Uniform numbers per view."""

GLOBAL_AREA = (0.32, 1.0)
LOCAL_AREA = (0.05, 0.32)
"""Shares of the image's area that global and local crops cover. Source: DINOv2, arXiv 2304.07193, and its released configuration."""

_ASPECT = 4 / 3
_BRIGHTNESS, _CONTRAST, _SATURATION = 0.3, 0.3, 0.2
_GRAY_SHARE = 0.1
_LUMA = (0.299, 0.587, 0.114)


_GREY = 114 / 255
"""What surrounds the animal in the masked view, and frames in crops that reach outside them."""
_LEAST_DIM = 0.5
_SEEN_SHARE = 0.5
"""A patch with more of the animal than this is on it."""


def draw_noise(seed: int, num_images: int, num_views: int) -> Tensor:
    """Return (num_images, num_views, NUM_NOISE) uniform numbers in [0, 1)."""
    return torch.rand(num_images, num_views, NUM_NOISE, generator=torch.Generator().manual_seed(seed))


def make_views(images: Tensor, noise: Tensor, view_px: int, area: tuple[float, float]) -> Tensor:
    """Make one random view of each image.

    Args:
        images: (B, 3, H, W) float in [0, 1].
        noise: (B, NUM_NOISE) uniform in [0, 1).
        view_px: side of the views.
        area: least and largest share of the image's area.

    Returns:
        (B, 3, view_px, view_px) float in [0, 1].

    Source: random resized crop as in torchvision, colour jitter with the ranges above, in one affine map per image.
    """
    noise = noise.to(images.device)
    return _colour(crop(images, noise[:, :5], view_px, area), noise[:, 5:])


def crop(images: Tensor, noise: Tensor, view_px: int, area: tuple[float, float]) -> Tensor:
    """Cut and flip as `make_views` does, without its colours; for masks, which have to follow their images.

    Args:
        images: (B, C, H, W) float.
        noise: (B, 5), the first columns of `draw_noise`.
        view_px: side of the result.
        area: least and largest share of the image's area.
    """
    share = area[0] + (area[1] - area[0]) * noise[:, 0]
    aspect = torch.exp((2 * noise[:, 1] - 1) * math.log(_ASPECT))
    width = (share * aspect).sqrt().clamp(max=1)
    height = (share / aspect).sqrt().clamp(max=1)
    centre_x = (2 * noise[:, 2] - 1) * (1 - width)
    centre_y = (2 * noise[:, 3] - 1) * (1 - height)
    flip = torch.where(noise[:, 4] < 0.5, 1.0, -1.0)
    zero = torch.zeros_like(width)
    affine = torch.stack(
        [torch.stack([width * flip, zero, centre_x], dim=-1), torch.stack([zero, height, centre_y], dim=-1)], dim=1
    )
    grid = F.affine_grid(affine, [len(images), images.shape[1], view_px, view_px], align_corners=False)
    # Images are kept at no more than 1.5 times the global side, so plain bilinear sampling skips at most every third pixel.
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _colour(images: Tensor, noise: Tensor) -> Tensor:
    jitter = (2 * noise - 1).view(-1, 3, 1, 1, 1)
    brightness = 1 + _BRIGHTNESS * jitter[:, 0]
    contrast = 1 + _CONTRAST * jitter[:, 1]
    # The lowest noise makes the view gray; the rest of the range sets the saturation.
    saturation = torch.where(noise[:, 2].view(-1, 1, 1, 1) < _GRAY_SHARE, 0.0, 1 + _SATURATION * jitter[:, 2])
    luma = torch.tensor(_LUMA, device=images.device).view(1, 3, 1, 1)
    gray = (images * luma).sum(dim=1, keepdim=True)
    mean = gray.mean(dim=(2, 3), keepdim=True)
    coloured = gray + saturation * (images - gray)
    return (brightness * (mean + contrast * (coloured - mean))).clamp(0, 1)


def repaint(images: Tensor, masks: Tensor, ground: Tensor | None, noise: Tensor, share: float) -> Tensor:
    """Dim or swap the ground around the animal in some of the images.

    Args:
        images: (B, 3, H, W) float in [0, 1].
        masks: (B, 1, H, W) in [0, 1], the animal; an image without any is left alone.
        ground: (B, 3, H, W) what to show around it; None: the image's own, half to wholly towards grey.
        noise: (B, 2) uniform in [0, 1): whether, and how far towards grey.
        share: of the images that are changed.

    Returns:
        (B, 3, H, W) float in [0, 1].
    """
    noise = noise.to(images.device)[..., None, None, None]
    if ground is None:
        ground = torch.lerp(images, torch.full_like(images, _GREY), _LEAST_DIM + (1 - _LEAST_DIM) * noise[:, 1])
    changed = (noise[:, 0] < share) & (masks.amax(dim=(1, 2, 3), keepdim=True) > 0)
    return torch.where(changed, torch.lerp(ground, images, masks), images)


def without_animal(images: Tensor, masks: Tensor) -> Tensor:
    """Fill the animal with the mean colour of its ground, (B, 3, H, W) in [0, 1]: the ground for another animal."""
    outside = 1 - masks
    mean = (images * outside).sum(dim=(2, 3), keepdim=True) / outside.sum(dim=(2, 3), keepdim=True).clamp_min(1e-6)
    return torch.lerp(images, mean.expand_as(images), masks)


def on_animal(masks: Tensor, grid: int) -> Tensor:
    """Which patches lie mostly on the animal: (B, 1, S, S) in [0, 1] -> (B, grid * grid) bool."""
    return F.adaptive_avg_pool2d(masks, grid).flatten(1) > _SEEN_SHARE
