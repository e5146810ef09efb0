"""Random views of a batch of images: resized crop, flip, colour; all images at once.

Every choice comes from uniform noise that the caller draws for the global batch, so that a view depends on seed, step
and position in the global batch only, never on the worker that makes it. No vertical flip and no rotation: labels such
as `head_down` depend on the vertical direction. No blur and no solarisation: the images are small, and the colours of
wool, grass and straw are evidence.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

NUM_NOISE = 8
"""Uniform numbers per view: area, aspect, two of position, flip, then brightness, contrast and saturation."""

GLOBAL_AREA = (0.32, 1.0)
LOCAL_AREA = (0.05, 0.32)
"""Shares of the image's area that global and local crops cover. Source: DINOv2, arXiv 2304.07193, and its released
configuration."""

_ASPECT = 4 / 3
"""Largest aspect of a crop, and its inverse the smallest; as in torchvision's RandomResizedCrop."""
_BRIGHTNESS, _CONTRAST, _SATURATION = 0.3, 0.3, 0.2
"""Largest relative change. Ours: DINOv2 uses 0.4, 0.4 and 0.2, and shifts the hue, which would change coat and
ground."""
_GRAY_SHARE = 0.1
"""Share of views without colour. Ours; DINOv2 uses 0.2."""
_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue. Source: ITU-R BT.601."""

_GREY = 114 / 255
"""Colour around the animal in the masked view, and beyond the frame's border in crops."""
_LEAST_DIM = 0.5
"""Least share of grey in a dimmed background."""
_ON_ANIMAL_SHARE = 0.5
"""A patch lies on the animal where the animal covers more than this share of it."""


def draw_noise(seed: int, num_images: int, num_views: int) -> Tensor:
    """Draw the noise of all views of a global batch.

    Args:
        seed: of this step.
        num_images: images in the global batch.
        num_views: views of each image.

    Returns:
        (num_images, num_views, NUM_NOISE) uniform numbers in [0, 1).
    """
    return torch.rand(num_images, num_views, NUM_NOISE, generator=torch.Generator().manual_seed(seed))


def make_views(images: Tensor, noise: Tensor, view_px: int, area: tuple[float, float]) -> Tensor:
    """Make one random view of each image.

    Args:
        images: (B, 3, H, W) float in [0, 1].
        noise: (B, NUM_NOISE) uniform in [0, 1).
        view_px: side of the views.
        area: least and largest share of the image's area; 0 to 1.

    Returns:
        (B, 3, view_px, view_px) float in [0, 1].

    Source: random resized crop as in torchvision, colour jitter with the ranges above, in one affine map per image.
    """
    noise = noise.to(images.device)
    return _jitter(crop(images, noise[:, :5], view_px, area), noise[:, 5:])


def crop(images: Tensor, noise: Tensor, view_px: int, area: tuple[float, float]) -> Tensor:
    """Crop and flip as `make_views` does, without colour jitter; for masks that must match their images.

    Args:
        images: (B, C, H, W) float.
        noise: (B, 5), the first columns of `draw_noise`.
        view_px: side of the result.
        area: least and largest share of the image's area; 0 to 1.

    Returns:
        (B, C, view_px, view_px) float.
    """
    share = area[0] + (area[1] - area[0]) * noise[:, 0]
    aspect = torch.exp((2 * noise[:, 1] - 1) * math.log(_ASPECT))
    # Sides and centres in the coordinates of affine_grid: the image spans -1 to 1.
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
    # Images are stored at most 1.5 times as large as a global crop, so bilinear sampling skips at most every third
    # pixel.
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _jitter(images: Tensor, noise: Tensor) -> Tensor:
    """Change brightness, contrast and saturation.

    Args:
        images: (B, 3, H, W) in [0, 1].
        noise: (B, 3) uniform in [0, 1).

    Returns:
        (B, 3, H, W) in [0, 1].
    """
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


def replace_background(images: Tensor, masks: Tensor, others: Tensor | None, noise: Tensor, share: float) -> Tensor:
    """Dim or swap the background around the animal in some of the images.

    Args:
        images: (B, 3, H, W) float in [0, 1].
        masks: (B, 1, H, W) in [0, 1], the animal; an image with an empty mask is unchanged.
        others: (B, 3, H, W) the backgrounds to swap in; None dims each image's own background, halfway to fully grey.
        noise: (B, 2) uniform in [0, 1): whether to change the image, and how far towards grey.
        share: of the images that are changed, 0 to 1.

    Returns:
        (B, 3, H, W) float in [0, 1].
    """
    noise = noise.to(images.device)[..., None, None, None]
    if others is None:
        others = torch.lerp(images, torch.full_like(images, _GREY), _LEAST_DIM + (1 - _LEAST_DIM) * noise[:, 1])
    changed = (noise[:, 0] < share) & (masks.amax(dim=(1, 2, 3), keepdim=True) > 0)
    return torch.where(changed, torch.lerp(others, images, masks), images)


def remove_animal(images: Tensor, masks: Tensor) -> Tensor:
    """Paint over the animal with the mean colour around it, which leaves a background for another animal.

    Args:
        images: (B, 3, H, W) in [0, 1].
        masks: (B, 1, H, W) in [0, 1], the animal.

    Returns:
        (B, 3, H, W) in [0, 1].
    """
    outside = 1 - masks
    mean = (images * outside).sum(dim=(2, 3), keepdim=True) / outside.sum(dim=(2, 3), keepdim=True).clamp_min(1e-6)
    return torch.lerp(images, mean.expand_as(images), masks)


def patches_on_animal(masks: Tensor, grid: int) -> Tensor:
    """Tell which patches lie mostly on the animal.

    Args:
        masks: (B, 1, S, S) in [0, 1].
        grid: patches along a side.

    Returns:
        (B, grid * grid) bool.
    """
    return F.adaptive_avg_pool2d(masks, grid).flatten(1) > _ON_ANIMAL_SHARE
