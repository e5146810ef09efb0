"""The surroundings: meadow, sky, trees, fence, rocks and hay, foreground objects, cloud shadows and sensor noise.

All of it is generated once per scene; a frame only shifts, dims and adds. Planes are (3, H, W) float32, 0 to 255.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sheep.synthetic.canvas import Plane

MARGIN_PX = 8
"""Background generated beyond every edge, for the camera's jitter."""


def fractal(
    shape: tuple[int, int],
    cells: float,
    octaves: int,
    rng: np.random.Generator,
    *,
    gain: float = 0.55,
    aspect: float = 1.0,
) -> Plane:
    """Generate smooth noise (value noise summed over octaves) that wraps around, with mean 0 and standard deviation 1.

    Args:
        shape: (H, W).
        cells: number of noise cells along the width at the coarsest octave; at least 2.
        octaves: number of layers, >= 1; each has twice the cells and `gain` times the amplitude of the one before.
        rng: source of randomness.
        gain: ratio of amplitudes, above 0.
        aspect: height of a cell over its width.

    Returns:
        (H, W) float32.
    """
    height, width = shape
    total = np.zeros(shape, np.float32)
    for octave in range(octaves):
        across = max(2, round(cells * 2**octave))
        down = max(2, round(cells * 2**octave * height / width / aspect))
        grid = rng.standard_normal((down, across), dtype=np.float32)
        total += np.float32(gain**octave) * _stretch(grid, shape)
    total -= total.mean()
    total /= max(float(total.std()), 1e-6)
    return total


def _stretch(grid: Plane, shape: tuple[int, int]) -> Plane:
    """Interpolate a grid with smooth weights; wraps around, so the result tiles.

    Args:
        grid: (h, w).
        shape: (H, W) of the result.
    """
    for axis, size in enumerate(shape):
        count = grid.shape[axis]
        at = np.arange(size, dtype=np.float32) * np.float32(count / size)
        low = at.astype(np.int64)
        part = at - low
        part = part * part * (3 - 2 * part)
        first, second = grid.take(low % count, axis), grid.take((low + 1) % count, axis)
        part = part[:, None] if axis == 0 else part[None, :]
        grid = first + (second - first) * part
    return grid


def shifted(plane: Plane, y: float, x: float, shape: tuple[int, int]) -> Plane:
    """Cut a window at a real position, with bilinear interpolation.

    Args:
        plane: (C, h, w).
        y: top of the window [px], 0 to h - H - 1.
        x: left side of the window [px], 0 to w - W - 1.
        shape: (H, W) of the window.

    Returns:
        (C, H, W).
    """
    iy, ix = int(np.floor(y)), int(np.floor(x))
    fy, fx = np.float32(y - iy), np.float32(x - ix)
    height, width = shape
    rows = plane[:, iy : iy + height + 1, ix : ix + width + 1]
    rows = rows[:, :, :-1] + fx * (rows[:, :, 1:] - rows[:, :, :-1])
    out: Plane = rows[:, :-1] + fy * (rows[:, 1:] - rows[:, :-1])
    return out


@dataclass(frozen=True, kw_only=True, slots=True)
class Prop:
    """A foreground object that can occlude animals: a bush or a post."""

    rgba: Plane
    """(4, h, w); colours 0 to 255, premultiplied by alpha (0 to 1)."""
    x: int
    """Left side of its box [px]; may lie outside the frame."""
    y: int
    """Top of its box [px]."""
    ground_y: float
    """Row on which it stands [px]; it occludes animals that stand farther up."""


def make_clouds(shape: tuple[int, int], travel_px: int, depth: float, rng: np.random.Generator) -> Plane:
    """Generate a wide plane of light factors; each frame takes a window of it farther right.

    Args:
        shape: (H, W) of a frame.
        travel_px: how far the clouds move during the scene, >= 0.
        depth: largest share of the light that a cloud takes, 0 to 1.
        rng: source of randomness.

    Returns:
        (H, W + travel_px) float32, 1 - depth to 1.
    """
    field = fractal((shape[0], shape[1] + travel_px), 4, 2, rng, aspect=0.5)
    light: Plane = (1 - depth / (1 + np.exp(-3 * (field - 0.4)))).astype(np.float32)
    return light


def make_noise(shape: tuple[int, int], sd: float, rng: np.random.Generator) -> Plane:
    """Generate a bank of sensor noise; each frame takes a window of it.

    Args:
        shape: (H, W) of a frame.
        sd: standard deviation in grey levels of 255.
        rng: source of randomness.

    Returns:
        (3, H + 32, W + 32) float32; a share of 0.8 is common to all channels, a share of 0.6 is of each channel alone.
    """
    height, width = shape
    luma = rng.standard_normal((1, height + 32, width + 32), dtype=np.float32)
    chroma = rng.standard_normal((3, height + 32, width + 32), dtype=np.float32)
    noise: Plane = np.float32(sd) * (np.float32(0.8) * luma + np.float32(0.6) * chroma)
    return noise


def draw_pasture(shape: tuple[int, int], horizon_px: float, rng: np.random.Generator) -> Plane:
    """Generate the background.

    Args:
        shape: (H, W) of a frame.
        horizon_px: row of the horizon, from the top of the frame.
        rng: source of randomness.

    Returns:
        (3, H + 2 MARGIN_PX, W + 2 MARGIN_PX).
    """
    height, width = shape[0] + 2 * MARGIN_PX, shape[1] + 2 * MARGIN_PX
    horizon = horizon_px + MARGIN_PX
    image = _meadow((height, width), horizon, rng)
    _sky_and_ridge(image, horizon, rng)
    unit = height / 200
    if rng.random() < 0.6:
        _trees(image, horizon, unit, rng)
    if rng.random() < 0.5:
        _fence(image, horizon, unit, rng)
    for _ in range(int(rng.integers(0, 5))):
        _stone(image, horizon, unit, rng)
    np.maximum(image, 0, out=image)
    np.minimum(image, 255, out=image)
    return image


def _meadow(shape: tuple[int, int], horizon: float, rng: np.random.Generator) -> Plane:
    """Generate grass: two colours mixed by smooth noise, with fine blades and a gradient towards the horizon.

    Args:
        shape: (H, W) with margins.
        horizon: its row [px].
        rng: source of randomness.
    """
    height, width = shape
    lush = np.array([rng.uniform(70, 115), rng.uniform(105, 145), rng.uniform(35, 70)], np.float32)
    dry = np.array([rng.uniform(140, 180), rng.uniform(130, 160), rng.uniform(75, 105)], np.float32)
    share = 1 / (1 + np.exp(-1.5 * (fractal(shape, 4, 3, rng, aspect=0.4) - rng.uniform(-0.2, 1.8))))
    tone = (
        1
        + np.float32(0.05) * fractal(shape, 10, 3, rng, aspect=0.5)
        + np.float32(rng.uniform(0.03, 0.09)) * fractal(shape, width / 5, 2, rng, gain=0.9, aspect=1.8)
    )
    depth = np.clip((np.arange(height, dtype=np.float32) - horizon) / (height - horizon), 0, 1)[:, None]
    tone = tone * (0.85 + 0.2 * depth)
    grass: Plane = (lush[:, None, None] + (dry - lush)[:, None, None] * share) * tone
    return grass


def _sky_and_ridge(image: Plane, horizon: float, rng: np.random.Generator) -> None:
    """Paint a mottled hill above the horizon and the sky above the hill.

    Args:
        image: painted in place.
        horizon: its row [px].
        rng: source of randomness.
    """
    _, height, width = image.shape
    rows = np.arange(height, dtype=np.float32)[:, None]
    ridge = horizon - height * 0.03 + height * 0.03 * fractal((2, width), 3, 3, rng)[0]
    sky = np.array([rng.uniform(170, 215), rng.uniform(190, 220), rng.uniform(205, 240)], np.float32)[:, None, None]
    hill = np.array([rng.uniform(75, 125), rng.uniform(95, 130), rng.uniform(80, 125)], np.float32)[:, None, None]
    mottled = hill * (1 + 0.08 * fractal((height, width), 30, 2, rng))
    for colour, edge in ((mottled, np.full(width, horizon, np.float32)), (sky, ridge)):
        alpha = np.clip(edge[None, :] - rows, 0, 1)
        image += alpha * (colour - image)


def _lumpy(
    shape: tuple[int, int], y: float, x: float, ry: float, rx: float, rough: float, rng: np.random.Generator
) -> tuple[Plane, Plane]:
    """Generate a lumpy ellipse lit from above.

    Args:
        shape: (H, W) of its box.
        y: row of the centre in the box [px].
        x: column of the centre [px].
        ry: vertical radius [px].
        rx: horizontal radius [px].
        rough: depth of the lumps as a share of the radius.
        rng: source of randomness.

    Returns:
        Alpha (0 to 1) and tone (factor on the colour), both (H, W).
    """
    u = (np.arange(shape[1], dtype=np.float32) - np.float32(x)) / np.float32(rx)
    v = ((np.arange(shape[0], dtype=np.float32) - np.float32(y)) / np.float32(ry))[:, None]
    lumps = fractal(shape, max(2, shape[1] / 7), 2, rng)
    alpha = np.clip(
        (1 - np.sqrt(u * u + v * v) + np.float32(rough) * lumps) * np.float32(min(rx, ry)) + np.float32(0.5), 0, 1
    )
    return alpha, (1 - np.float32(0.28) * v) * (1 + np.float32(0.1) * lumps)


def _blob(
    image: Plane,
    x: float,
    y: float,
    rx: float,
    ry: float,
    colour: NDArray[np.float64],
    rough: float,
    rng: np.random.Generator,
) -> None:
    """Paint a lumpy ellipse, clipped to the image.

    Args:
        image: painted in place.
        x: column of the centre [px].
        y: row of the centre [px].
        rx: horizontal radius [px].
        ry: vertical radius [px].
        colour: (3,) RGB, 0 to 255.
        rough: see `_lumpy`.
        rng: source of randomness.
    """
    _, height, width = image.shape
    x0, x1 = max(0, int(x - 1.5 * rx)), min(width, int(x + 1.5 * rx) + 2)
    y0, y1 = max(0, int(y - 1.5 * ry)), min(height, int(y + 1.5 * ry) + 2)
    if x0 >= x1 or y0 >= y1:
        return
    alpha, tone = _lumpy((y1 - y0, x1 - x0), y - y0, x - x0, ry, rx, rough, rng)
    under = image[:, y0:y1, x0:x1]
    under += alpha * (colour.astype(np.float32)[:, None, None] * tone - under)


def _trees(image: Plane, horizon: float, unit: float, rng: np.random.Generator) -> None:
    """Paint one to six trees on the horizon.

    Args:
        image: painted in place.
        horizon: its row [px].
        unit: pixels per 1/200 of the image height.
        rng: source of randomness.
    """
    for _ in range(int(rng.integers(1, 7))):
        size = rng.uniform(8, 22) * unit
        green = np.array([rng.uniform(35, 70), rng.uniform(60, 95), rng.uniform(30, 55)])
        x = rng.uniform(0, image.shape[2])
        _blob(image, x, horizon - 0.1 * size, 0.1 * size, 0.5 * size, np.array([70.0, 55, 40]), 0.05, rng)
        _blob(image, x, horizon - 0.8 * size, size * rng.uniform(0.6, 1.0), size * 0.7, green, 0.12, rng)


def _fence(image: Plane, horizon: float, unit: float, rng: np.random.Generator) -> None:
    """Paint a fence of two rails and evenly spaced posts across the image. Args as `_trees`."""
    _, height, width = image.shape
    base = horizon + rng.uniform(0.05, 0.22) * (height - horizon)
    tall, gap = rng.uniform(14, 26) * unit, rng.uniform(26, 60) * unit
    wood = np.array([1.0, 0.92, 0.8]) * rng.uniform(80, 190)
    for level in (0.35, 0.75):
        row = int(base - level * tall)
        thick = max(1, round(1.5 * unit))
        image[:, max(row, 0) : row + thick] = wood[:, None, None] * 0.95
    for x in np.arange(rng.uniform(0, gap), width, gap):
        column, thick = int(x), max(2, round(3 * unit))
        tone = rng.uniform(0.85, 1.05)
        image[:, int(max(base - tall, 0)) : int(base), column : column + thick] = wood[:, None, None] * tone


def _stone(image: Plane, horizon: float, unit: float, rng: np.random.Generator) -> None:
    """Paint a rock or a heap of hay, similar to a sheep in colour and size: a distractor. Args as `_trees`."""
    _, height, width = image.shape
    y = horizon + rng.uniform(0.15, 0.75) * (height - horizon)
    size = rng.uniform(6, 22) * unit * (0.5 + (y - horizon) / (height - horizon))
    light = rng.uniform(140, 215)
    colour = (
        np.array([light, light * 0.96, light * 0.88])
        if rng.random() < 0.65
        else np.array([light, light * 0.85, light * 0.5])
    )
    x = rng.uniform(0, width)
    _blob(image, x, y + 0.35 * size, size * 1.35, size * 0.35, np.array([50.0, 60, 30]), 0.05, rng)
    _blob(image, x, y, size * rng.uniform(1.0, 1.4), size * 0.65, colour, 0.08, rng)


def draw_prop(x: float, ground_y: float, unit_px: float, rng: np.random.Generator) -> Prop:
    """Generate a bush or a post.

    Args:
        x: column of its middle [px].
        ground_y: row on which it stands [px].
        unit_px: pixels per body unit of the animals at that row; scales the object.
        rng: source of randomness.
    """
    post = rng.random() < 0.5
    wide, tall = (0.16, 1.5) if post else (rng.uniform(0.5, 0.9), rng.uniform(0.45, 0.8))
    wide, tall = max(wide * unit_px * rng.uniform(0.8, 1.3), 3.0), tall * unit_px
    box_w, box_h = int(wide * 1.5) + 6, int(tall * 1.4) + 6
    if post:
        colour = np.array([1.0, 0.9, 0.75]) * rng.uniform(70, 170)
        left, top = int((box_w - wide) / 2), max(int(box_h - 3 - tall), 1)
        alpha = np.zeros((box_h, box_w), np.float32)
        alpha[top : box_h - 3, left : left + max(2, int(wide))] = 1
        tone = 1 + np.float32(0.07) * fractal((box_h, box_w), 6, 2, rng, aspect=6)
    else:
        colour = np.array([rng.uniform(40, 90), rng.uniform(70, 120), rng.uniform(30, 60)])
        alpha, tone = _lumpy((box_h, box_w), box_h - 3 - tall / 2, box_w / 2, tall / 2, wide / 2, 0.16, rng)
        alpha[[0, -1]] = 0
        alpha[:, [0, -1]] = 0
    image = colour.astype(np.float32)[:, None, None] * tone * alpha
    return Prop(
        rgba=np.concatenate([image, alpha[None]]),
        x=round(x - box_w / 2),
        y=round(ground_y - box_h + 3),
        ground_y=ground_y,
    )
