"""Antialiased painting primitives: tapered segments and soft shadows on a planar float image.

Each primitive only touches the pixels of its own bounding box, so an animal costs as much as the pixels it covers.
Coordinates are real numbers: a shift of a tenth of a pixel changes the antialiased edges by a tenth.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Colour = tuple[float, float, float]
"""RGB, 0 to 255."""

TEXTURE_PX = 128
"""Side of a body texture; a power of two, so that wrapping around is a bitwise and."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Skin:
    """A tileable texture for a body; its planes are (TEXTURE_PX, TEXTURE_PX) float32."""

    tone: Plane
    """Factor on the colour, around 1."""
    bump: Plane
    """Offset of the silhouette, -1.5 to 1.5, in units of `lumps` times the radius."""
    patch: Plane | None
    """Opacity of the patches, 0 to 1; None for a coat without patches."""
    patch_colour: Colour
    """Colour of the patches."""
    lumps: float
    """Largest bump as a share of the segment's radius."""
    texels: float
    """Texels per radius."""


class Canvas:
    """An image to paint on, and the coverage of the animal that is being painted."""

    def __init__(self, image: Plane) -> None:
        """Start with zero coverage.

        Args:
            image: (3, H, W) float32 RGB, 0 to 255; painted in place.
        """
        self.image = image
        self.cover: Plane = np.zeros_like(image[0])
        self._xs = np.arange(image.shape[2], dtype=np.float32)
        self._ys = np.arange(image.shape[1], dtype=np.float32)[:, None]

    def _span(self, low: float, high: float, axis: int) -> tuple[int, int]:
        """Clip a real interval to the pixels of the image.

        Args:
            low: start [px].
            high: end [px].
            axis: axis of the (3, H, W) image, 1 or 2.

        Returns:
            Half-open pixel range (start, stop); empty where stop <= start.
        """
        return max(0, math.floor(low)), min(self.image.shape[axis], math.ceil(high) + 1)

    def segment(
        self,
        a: tuple[float, float],
        b: tuple[float, float],
        radii: tuple[float, float],
        colour: Colour,
        *,
        light: float = 0.22,
        skin: Skin | None = None,
        offset: float = 0.0,
    ) -> None:
        """Paint a segment with round ends and a linearly changing radius, and add it to `cover`.

        Args:
            a: start (x, y) [px].
            b: end (x, y) [px].
            radii: radius at `a` and at `b` [px]; at least 0.6 px is painted.
            colour: RGB, 0 to 255.
            light: strength of the shading from the top (brighter) to the bottom (darker), 0 to 1.
            skin: texture; None paints a smooth segment.
            offset: horizontal shift of the texture [px], so that it turns with the body.
        """
        ra, rb = max(radii[0], 0.6), max(radii[1], 0.6)
        pad = 1.0 + (skin.lumps * ra if skin else 0.0)
        x0, x1 = self._span(min(a[0] - ra, b[0] - rb) - pad, max(a[0] + ra, b[0] + rb) + pad, 2)
        y0, y1 = self._span(min(a[1] - ra, b[1] - rb) - pad, max(a[1] + ra, b[1] + rb) + pad, 1)
        if x0 >= x1 or y0 >= y1:
            return
        # Position along the axis, 0 at `a` and 1 at `b`, then the offset from the nearest point of the axis.
        xs, ys = self._xs[x0:x1] - np.float32(a[0]), self._ys[y0:y1] - np.float32(a[1])
        dx, dy = b[0] - a[0], b[1] - a[1]
        square = max(dx * dx + dy * dy, 1e-6)
        along = xs * np.float32(dx / square) + ys * np.float32(dy / square)
        np.maximum(along, 0, out=along)
        np.minimum(along, 1, out=along)
        off_x, off_y = xs - along * np.float32(dx), ys - along * np.float32(dy)
        radius = along
        radius *= np.float32(rb - ra)
        radius += np.float32(ra)
        tone = off_y / radius
        tone *= np.float32(-light)
        tone += np.float32(1.0)
        # Opacity: radius minus distance, clipped to 0..1 below, which antialiases the edge over one pixel.
        off_x *= off_x
        off_y *= off_y
        off_x += off_y
        alpha = np.sqrt(off_x, out=off_x)
        np.subtract(radius, alpha, out=alpha)
        alpha += np.float32(0.5)
        colours: list[Plane | np.float32] = [np.float32(value) for value in colour]
        if skin is not None:
            index = _texture_index(xs + np.float32(offset), ys, np.float32(skin.texels / ra))
            alpha += skin.bump.take(index) * np.float32(skin.lumps * ra)
            tone *= skin.tone.take(index)
            colours = _patched(colours, colour, skin, index)
        np.maximum(alpha, 0, out=alpha)
        np.minimum(alpha, 1, out=alpha)
        for channel in range(3):
            under = self.image[channel, y0:y1, x0:x1]
            under += alpha * (tone * colours[channel] - under)
        cover = self.cover[y0:y1, x0:x1]
        cover += alpha * (1 - cover)

    def shade(self, centre: tuple[float, float], radii: tuple[float, float], strength: float) -> None:
        """Darken a soft ellipse: the contact shadow of an animal. Does not change `cover`.

        Args:
            centre: (x, y) [px].
            radii: horizontal and vertical radius [px], above 0.
            strength: largest share of the light that is taken, 0 to 1.
        """
        x0, x1 = self._span(centre[0] - radii[0], centre[0] + radii[0], 2)
        y0, y1 = self._span(centre[1] - radii[1], centre[1] + radii[1], 1)
        if x0 >= x1 or y0 >= y1:
            return
        xs = (self._xs[x0:x1] - np.float32(centre[0])) / np.float32(radii[0])
        ys = (self._ys[y0:y1] - np.float32(centre[1])) / np.float32(radii[1])
        dark = 1 - (xs * xs + ys * ys)
        np.maximum(dark, 0, out=dark)
        dark *= np.float32(-1.6 * strength)
        np.maximum(dark, np.float32(-strength), out=dark)
        dark += 1
        self.image[:, y0:y1, x0:x1] *= dark


def _patched(
    colours: list[Plane | np.float32], colour: Colour, skin: Skin, index: NDArray[np.int32]
) -> list[Plane | np.float32]:
    """Blend a colour with the patches of a skin.

    Args:
        colours: the colour's channels, returned as they are for a skin without patches.
        colour: RGB, 0 to 255.
        skin: the texture.
        index: (H, W) texel of each pixel.

    Returns:
        Three channels.
    """
    if skin.patch is None:
        return colours
    patch = skin.patch.take(index)
    return [value + patch * np.float32(other - value) for value, other in zip(colour, skin.patch_colour, strict=True)]


def _texture_index(xs: Plane, ys: Plane, texels_per_px: np.float32) -> NDArray[np.int32]:
    """Map pixels to texels, wrapping around.

    Args:
        xs: (W,) positions [px] relative to the texture's origin.
        ys: (H, 1) positions [px].
        texels_per_px: scale.

    Returns:
        (H, W) indices into a flattened texture.
    """
    columns = (xs * texels_per_px).astype(np.int32) & (TEXTURE_PX - 1)
    rows = (ys * texels_per_px).astype(np.int32) & (TEXTURE_PX - 1)
    return rows * TEXTURE_PX + columns
