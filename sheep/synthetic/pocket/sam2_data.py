"""Meadow scenes -> what a small SAM-2 learns from: images, the animals in them, prompts, and what each should give.

Any animal may be the target, the others (mostly of its species) are what it must be told apart by; a click beside every
animal means "nothing". Without these a network can score well while it ignores its prompt, as our first attempt did.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sheep.models.sam2.predictor import prepare
from sheep.schemas import Prompt
from sheep.synthetic.scene import Scene, SceneConfig, draw_scene, render

MIN_PROMPT_PX = 24
"""Visible pixels, at the network's resolution, from which an animal may be prompted."""
MIN_SEEN_PX = 4
"""Visible pixels from which an animal counts as present."""
_FAR_PX = -10_000.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenes:
    """Rendered scenes. images: (S, F, H, W, 3) uint8 RGB.

    Ids: (S, F, H, W) uint8, 0 ground, 1 the focal animal, 2.. others.
    """

    images: NDArray[np.uint8]
    ids: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompts:
    """P prompts. coords: (P, N, 2) float32 [network px].

    Labels: (P, N) int32 as in SAM-2 (0 not, 1 on, 2 3 corners); targets: (P,) ids, 0 none.
    """

    coords: Tensor
    labels: Tensor
    targets: Tensor


def draw_scenes(config: SceneConfig, num_scenes: int, rng: np.random.Generator, *, away_share: float = 0.0) -> Scenes:
    """Render scenes into memory: 0.2 MB a frame of 192 x 256.

    Args:
        config: what they are drawn from.
        num_scenes: how many.
        rng: source of randomness.
        away_share: share of the scenes whose focal animal is away for a quarter to a half of the frames; pasture and
            others stay.
    """
    shape = (num_scenes, config.num_frames, config.height_px, config.width_px)
    images, ids = np.empty((*shape, 3), np.uint8), np.empty(shape, np.uint8)
    for scene in range(num_scenes):
        drawn = draw_scene(config, rng)
        if rng.random() < away_share:
            length = int(rng.integers(config.num_frames // 4, config.num_frames // 2 + 1))
            start = int(rng.integers(1, config.num_frames - length + 1))
            drawn = take_away(drawn, slice(start, start + length))
        for index, frame in enumerate(render(drawn)):
            images[scene, index], ids[scene, index] = frame.image, frame.ids
    return Scenes(images=images, ids=ids)


def take_away(scene: Scene, frames: slice) -> Scene:
    """Put the focal animal far outside for some frames."""
    x = scene.actors[0].x.copy()
    x[frames] = _FAR_PX
    return replace(scene, actors=(replace(scene.actors[0], x=x), *scene.actors[1:]))


def draw_clip(
    scenes: Scenes, num_frames: int, image_px: int, rng: np.random.Generator, *, num_tries: int = 1
) -> tuple[Tensor, Tensor]:
    """Cut a random clip from a random scene.

    Every frame or every second, a window of it or all, mirrored or not, recoloured.

    Every fourth is repainted, each animal and the ground in a colour of its own, so that an animal is not known by its
    colour.

    Args:
        scenes: what to cut from.
        num_frames: frames of the clip, F.
        image_px: side of the network's input, S.
        rng: source of randomness.
        num_tries: clips drawn; of those in which animals touch, the one in which they touch most is taken, else the
            last. Two animals that pass are rare in a random clip, and are where a track is lost.

    Returns:
        images (F, 3, S, S) float32, normalised; ids (F, S, S) uint8.
    """
    drawn = [_draw_times(scenes, num_frames, rng) for _ in range(num_tries)]
    scene, times = max(reversed(drawn), key=lambda one: _touching(scenes.ids[one])) if num_tries > 1 else drawn[0]
    rows, columns = _window(scenes.images.shape[2], rng), _window(scenes.images.shape[3], rng)
    images, ids = scenes.images[scene, times, rows, columns], scenes.ids[scene, times, rows, columns]
    if rng.random() < 0.5:
        images, ids = images[:, :, ::-1], ids[:, :, ::-1]
    if rng.random() < 0.25:
        images = _repaint(images, ids, rng)
    pixels = torch.stack([prepare(image, image_px) for image in images])
    gain = torch.from_numpy(rng.uniform(0.8, 1.25) * rng.uniform(0.93, 1.07, 3)).float()[:, None, None]
    offset = torch.from_numpy(rng.normal(0, 0.15, 3)).float()[:, None, None]
    at = [((np.arange(image_px) + 0.5) * size / image_px).astype(np.int64) for size in ids.shape[1:]]
    return pixels * gain + offset, torch.from_numpy(ids[:, at[0]][:, :, at[1]])


def draw_cut(
    clip: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Show another scene for a while, with none of the animals followed: they are gone, though others are there."""
    images, ids = clip[0].clone(), clip[1].clone()
    start = int(rng.integers(1, len(ids)))
    stop = int(rng.integers(start + 1, len(ids) + 1))
    images[start:stop] = other[0][start:stop]
    ids[start:stop] = 0
    return images, ids


def draw_prompts(ids: Tensor, kinds: list[str], rng: np.random.Generator) -> Prompts:
    """Draw one prompt per kind for one image.

    Args:
        ids: (S, S) uint8.
        kinds: of `box`, `point`, `two` (a click on it and one beside it) and `ground` (a click on no animal); `point`s
            become `ground` and the others clicks on ground where no animal is large enough. All of one number of
            points: box with two, point with ground.
        rng: source of randomness. Animals are dealt in a random order, so that prompts of one image ask for different
            ones.
    """
    plane = ids.numpy()
    sizes = np.bincount(plane.ravel(), minlength=2)
    animals = rng.permutation(np.flatnonzero(sizes[1:] >= MIN_PROMPT_PX) + 1)
    coords, labels, targets = [], [], []
    for index, kind in enumerate(kinds):
        ground = kind == "ground" or not len(animals)
        target = 0 if ground else int(animals[index % len(animals)])
        if kind == "box" and target:
            points, label = _draw_box(plane == target, rng), [2, 3]
        else:
            points, label = _draw_point(plane == target, rng)[None], [1]
            if kind in ("two", "box"):
                points, label = np.concatenate([points, _draw_point(plane != target, rng)[None]]), [1, 0]
                if not target:
                    label = [1, 1]  # two clicks on the ground
        coords.append(points)
        labels.append(label)
        targets.append(target)
    return Prompts(
        coords=torch.from_numpy(np.stack(coords)).float(),
        labels=torch.tensor(labels, dtype=torch.int32),
        targets=torch.tensor(targets),
    )


def _repaint(images: NDArray[np.uint8], ids: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Move the mean colour of every animal and of the ground to a random one, and lower the contrast within each."""
    first, owners = images[0].reshape(-1, 3).astype(np.float32), ids[0].ravel()
    gains = np.zeros((256, 1), np.float32)
    offsets = np.zeros((256, 3), np.float32)
    for owner in range(int(ids.max()) + 1):
        mine = first[owners == owner]
        mean = mine.mean(0) if len(mine) else np.full(3, 128, np.float32)
        tone, tint = rng.uniform(15, 240), rng.normal(0, 15, 3)
        gains[owner] = rng.uniform(0.15, 1.0)
        offsets[owner] = tone + tint - gains[owner] * mean
    painted = images * gains[ids] + offsets[ids]
    return np.clip(painted, 0, 255).astype(np.uint8)


def _draw_times(scenes: Scenes, num_frames: int, rng: np.random.Generator) -> tuple[int, slice]:
    num_scenes, num_drawn = scenes.images.shape[:2]
    scene = int(rng.integers(num_scenes))
    stride = 1 + int(rng.random() < 0.4 and 2 * (num_frames - 1) < num_drawn)
    start = int(rng.integers(num_drawn - stride * (num_frames - 1)))
    return scene, slice(start, start + stride * (num_frames - 1) + 1, stride)


def _touching(ids: NDArray[np.uint8]) -> int:
    """Count pairs of neighbours in a row that show two different animals, over all frames (F, H, W)."""
    left, right = ids[:, :, :-1], ids[:, :, 1:]
    return int(((left != right) & (left > 0) & (right > 0)).sum())


def _window(size: int, rng: np.random.Generator) -> slice:
    length = size if rng.random() < 0.4 else int(size * rng.uniform(0.55, 1.0))
    start = int(rng.integers(size - length + 1))
    return slice(start, start + length)


def _draw_point(where: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw x, y in a pixel of `where`; SAM-2 adds half a pixel to coordinates."""
    inside = np.flatnonzero(where)
    if not len(inside):
        return rng.uniform(0, where.shape[1], 2)
    row, column = divmod(int(rng.choice(inside)), where.shape[1])
    return np.array([column, row]) + rng.uniform(-0.5, 0.5, 2)


def _draw_box(where: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a box's two corners, each off by about 3 % of the side."""
    rows, columns = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
    corners = np.array([[columns[0], rows[0]], [columns[-1] + 1, rows[-1] + 1]], np.float64)
    noise = np.clip(rng.normal(0, 0.03, (2, 2)), -0.1, 0.1) * (corners[1] - corners[0])
    jittered: NDArray[np.float64] = np.clip(corners + noise, 0, where.shape[0])
    return jittered


def draw_questions(ids: NDArray[np.uint8], rng: np.random.Generator) -> Iterator[tuple[str, int, Prompt]]:
    """Prompts on a first frame: kind, the animal they are scored against, the prompt."""
    sizes = np.bincount(ids.ravel(), minlength=2)
    if sizes[1]:
        yield "box", 1, _prompt("box", _box_of(ids == 1))
        yield "point", 1, _prompt("point", _pixel_of(ids == 1, rng))
        yield "ground", 1, _prompt("point", _pixel_of(ids == 0, rng))
    others = np.flatnonzero(sizes[2:] > 150) + 2
    if len(others):
        other = int(rng.choice(others))
        yield "other", other, _prompt("box", _box_of(ids == other))


def _prompt(kind: Any, xy: tuple[float, ...]) -> Prompt:
    return Prompt(video="eval", animal="a", frame=0, kind=kind, xy=xy)


def _box_of(mask: NDArray[np.bool_]) -> tuple[float, ...]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _pixel_of(mask: NDArray[np.bool_], rng: np.random.Generator) -> tuple[float, ...]:
    row, column = divmod(int(rng.choice(np.flatnonzero(mask))), mask.shape[1])
    return float(column), float(row)


def draw_ellipse(box: tuple[float, ...], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Fill the ellipse inscribed in a box x0, y0, x1, y1: what a box alone tells."""
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside: NDArray[np.bool_] = ((x - (box[0] + box[2]) / 2) / (box[2] - box[0]) * 2) ** 2 + (
        (y - (box[1] + box[3]) / 2) / (box[3] - box[1]) * 2
    ) ** 2 <= 1
    return inside


def jaccard(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """J per frame (F, H, W) of those in which there is something to find."""
    seen = truth.any((1, 2))
    both, either = (found & truth)[seen].sum((1, 2)), (found | truth)[seen].sum((1, 2))
    scores: NDArray[np.float64] = both / np.maximum(either, 1)
    return scores
