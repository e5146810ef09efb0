"""Synthetic scenes -> training data of the pocket SAM-2: images, the animals in them, prompts and their targets.

Any animal may be the target; the others, mostly of its species, are what it must be told apart from. A click on no
animal has an empty target. Without these a network can score well while it ignores its prompt, as our first attempt
did.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

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
"""Visible pixels, at the network's resolution, from which an animal counts as present."""
_MIN_OTHER_PX = 150
"""Visible pixels, at the video's resolution, from which another animal is prompted in the evaluation."""
_FAR_PX = -10_000.0
"""A column outside every frame."""

Ids = NDArray[np.uint8]
Bools = NDArray[np.bool_]
PromptKind = Literal["box", "point", "two", "ground"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenes:
    """S rendered scenes of F frames."""

    images: NDArray[np.uint8]
    """(S, F, H, W, 3) RGB."""
    ids: Ids
    """(S, F, H, W): 0 ground, 1 the focal animal, 2 and up the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompts:
    """P prompts of N points each, as SAM-2's prompt encoder takes them."""

    coords: Tensor
    """(P, N, 2) float32, x and y in pixels of the network's input."""
    labels: Tensor
    """(P, N) int32: 0 a negative click, 1 a positive click, 2 and 3 the corners of a box."""
    targets: Tensor
    """(P,) id of the animal asked for, 0 for none."""


def render_scenes(config: SceneConfig, num_scenes: int, rng: np.random.Generator, *, away_share: float = 0.0) -> Scenes:
    """Render scenes into memory: 0.2 MB a frame of 192 x 256.

    Args:
        config: distribution of the scenes.
        num_scenes: S.
        rng: source of randomness.
        away_share: share of the scenes whose focal animal is absent for a quarter to a half of the frames, 0 to 1.
    """
    shape = (num_scenes, config.num_frames, config.height_px, config.width_px)
    images, ids = np.empty((*shape, 3), np.uint8), np.empty(shape, np.uint8)
    for number in range(num_scenes):
        scene = draw_scene(config, rng)
        if rng.random() < away_share:
            length = int(rng.integers(config.num_frames // 4, config.num_frames // 2 + 1))
            start = int(rng.integers(1, config.num_frames - length + 1))
            scene = remove_focal(scene, slice(start, start + length))
        for index, frame in enumerate(render(scene)):
            images[number, index], ids[number, index] = frame.image, frame.ids
    return Scenes(images=images, ids=ids)


def remove_focal(scene: Scene, frames: slice) -> Scene:
    """Move the focal animal out of the frame for a while; pasture and other animals stay.

    Args:
        scene: a sampled scene.
        frames: when it is absent.
    """
    x = scene.actors[0].x.copy()
    x[frames] = _FAR_PX
    return replace(scene, actors=(replace(scene.actors[0], x=x), *scene.actors[1:]))


def sample_clip(
    scenes: Scenes, num_frames: int, image_px: int, rng: np.random.Generator, *, num_tries: int = 1
) -> tuple[Tensor, Tensor]:
    """Cut a random clip from a random scene, and augment it.

    A clip is every frame or every second one, all of it or part of it, flipped or not, with changed colours. Every
    fourth clip is repainted, each animal and the ground in a colour of its own, so that colour alone does not identify
    an animal.

    Args:
        scenes: what to cut from.
        num_frames: frames of the clip, F.
        image_px: side of the network's input, S.
        rng: source of randomness.
        num_tries: clips sampled, of which the one is used in which animals touch most, or the last if none touch.
            Animals that pass each other are rare in a random clip, and there tracks get lost.

    Returns:
        images (F, 3, S, S) float32, normalised; ids (F, S, S) uint8.
    """
    tried = [_sample_times(scenes, num_frames, rng) for _ in range(num_tries)]
    scene, times = max(reversed(tried), key=lambda one: _num_touching(scenes.ids[one])) if num_tries > 1 else tried[0]
    rows, columns = _window(scenes.images.shape[2], rng), _window(scenes.images.shape[3], rng)
    images, ids = scenes.images[scene, times, rows, columns], scenes.ids[scene, times, rows, columns]
    if rng.random() < 0.5:
        images, ids = images[:, :, ::-1], ids[:, :, ::-1]
    if rng.random() < 0.25:
        images = _repaint(images, ids, rng)
    pixels = torch.stack([prepare(image, image_px) for image in images])
    gain = torch.from_numpy(rng.uniform(0.8, 1.25) * rng.uniform(0.93, 1.07, 3)).float()[:, None, None]
    offset = torch.from_numpy(rng.normal(0, 0.15, 3)).float()[:, None, None]
    # Ids cannot be interpolated: each pixel of the network's input takes the nearest one.
    at = [((np.arange(image_px) + 0.5) * size / image_px).astype(np.int64) for size in ids.shape[1:]]
    return pixels * gain + offset, torch.from_numpy(ids[:, at[0]][:, :, at[1]])


def replace_frames(
    clip: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Replace some frames by another scene: the target is absent, though other animals are visible.

    Args:
        clip: images (F, 3, S, S) and ids (F, S, S).
        other: another clip of the same size.
        rng: source of randomness.

    Returns:
        The clip, with ids 0 in the replaced frames; frame 0 is never replaced.
    """
    images, ids = clip[0].clone(), clip[1].clone()
    start = int(rng.integers(1, len(ids)))
    stop = int(rng.integers(start + 1, len(ids) + 1))
    images[start:stop] = other[0][start:stop]
    ids[start:stop] = 0
    return images, ids


def sample_prompts(ids: Tensor, kinds: list[PromptKind], rng: np.random.Generator) -> Prompts:
    """Sample one prompt per kind for one image; prompts of one image ask for different animals where there are enough.

    Args:
        ids: (S, S) uint8.
        kinds: `box`, `point`, `two` (a positive and a negative click) or `ground` (a click on no animal), all with
            equally many points: `box` with `two`, `point` with `ground`. Where no animal is large enough, all are
            clicks on the ground.
        rng: source of randomness.
    """
    plane = ids.numpy()
    sizes = np.bincount(plane.ravel(), minlength=2)
    animals = rng.permutation(np.flatnonzero(sizes[1:] >= MIN_PROMPT_PX) + 1)
    coords, labels, targets = [], [], []
    for index, kind in enumerate(kinds):
        ground = kind == "ground" or not len(animals)
        target = 0 if ground else int(animals[index % len(animals)])
        if kind == "box" and target:
            points, label = _jittered_box(plane == target, rng), [2, 3]
        else:
            points, label = _random_point(plane == target, rng)[None], [1]
            if kind in ("two", "box"):
                points, label = np.concatenate([points, _random_point(plane != target, rng)[None]]), [1, 0]
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


def _repaint(images: NDArray[np.uint8], ids: Ids, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Move the mean colour of every animal and of the ground to a random one, and lower the contrast within each.

    Args:
        images: (F, H, W, 3).
        ids: (F, H, W).
        rng: source of randomness.
    """
    first, owners = images[0].reshape(-1, 3).astype(np.float32), ids[0].ravel()
    gains = np.zeros((256, 1), np.float32)
    offsets = np.zeros((256, 3), np.float32)
    for owner in range(int(ids.max()) + 1):
        mine = first[owners == owner]
        mean = mine.mean(0) if len(mine) else np.full(3, 128, np.float32)
        tone, tint = rng.uniform(15, 240), rng.normal(0, 15, 3)
        gains[owner] = rng.uniform(0.15, 1.0)
        offsets[owner] = tone + tint - gains[owner] * mean
    painted: NDArray[np.uint8] = np.clip(images * gains[ids] + offsets[ids], 0, 255).astype(np.uint8)
    return painted


def _sample_times(scenes: Scenes, num_frames: int, rng: np.random.Generator) -> tuple[int, slice]:
    """Sample a scene and a range of its frames, with a stride of 1 or 2.

    Args:
        scenes: what to choose from.
        num_frames: frames of the clip, at most those of a scene.
        rng: source of randomness.
    """
    num_scenes, num_rendered = scenes.images.shape[:2]
    scene = int(rng.integers(num_scenes))
    stride = 1 + int(rng.random() < 0.4 and 2 * (num_frames - 1) < num_rendered)
    start = int(rng.integers(num_rendered - stride * (num_frames - 1)))
    return scene, slice(start, start + stride * (num_frames - 1) + 1, stride)


def _num_touching(ids: Ids) -> int:
    """Count horizontal neighbours that show two different animals, over all frames (F, H, W)."""
    left, right = ids[:, :, :-1], ids[:, :, 1:]
    return int(((left != right) & (left > 0) & (right > 0)).sum())


def _window(size: int, rng: np.random.Generator) -> slice:
    """Sample a range of rows or columns: all of them, or 55 % and more.

    Args:
        size: number of rows or columns.
        rng: source of randomness.
    """
    length = size if rng.random() < 0.4 else int(size * rng.uniform(0.55, 1.0))
    start = int(rng.integers(size - length + 1))
    return slice(start, start + length)


def _random_point(where: Bools, rng: np.random.Generator) -> NDArray[np.float64]:
    """Sample a point in a random pixel of a mask; SAM-2 adds half a pixel to coordinates.

    Args:
        where: (S, S); any point where it is empty.
        rng: source of randomness.

    Returns:
        (2,) x, y.
    """
    inside = np.flatnonzero(where)
    if not len(inside):
        return rng.uniform(0, where.shape[1], 2)
    row, column = divmod(int(rng.choice(inside)), where.shape[1])
    return np.array([column, row]) + rng.uniform(-0.5, 0.5, 2)


def _jittered_box(where: Bools, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the corners of a mask's box with noise of 3 % of its sides (standard deviation), at most 10 %.

    Args:
        where: (S, S), not empty.
        rng: source of randomness.

    Returns:
        (2, 2): x0 y0, x1 y1.
    """
    rows, columns = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
    corners = np.array([[columns[0], rows[0]], [columns[-1] + 1, rows[-1] + 1]], np.float64)
    noise = np.clip(rng.normal(0, 0.03, (2, 2)), -0.1, 0.1) * (corners[1] - corners[0])
    jittered: NDArray[np.float64] = np.clip(corners + noise, 0, where.shape[0])
    return jittered


def evaluation_prompts(ids: Ids, rng: np.random.Generator) -> Iterator[tuple[str, int, Prompt]]:
    """Prompt the first frame of an evaluation video.

    Args:
        ids: (H, W) of frame 0.
        rng: source of randomness.

    Yields:
        Kind, the animal that the result is scored against, and the prompt. `box` and `point` are on the focal animal,
        `ground` is a click on no animal, `other` a box around another animal of more than 150 pixels.
    """
    sizes = np.bincount(ids.ravel(), minlength=2)
    if sizes[1]:
        yield "box", 1, _prompt("box", _box_of(ids == 1))
        yield "point", 1, _prompt("point", _pixel_of(ids == 1, rng))
        yield "ground", 1, _prompt("point", _pixel_of(ids == 0, rng))
    others = np.flatnonzero(sizes[2:] > _MIN_OTHER_PX) + 2
    if len(others):
        other = int(rng.choice(others))
        yield "other", other, _prompt("box", _box_of(ids == other))


def _prompt(kind: Literal["box", "point"], xy: tuple[float, ...]) -> Prompt:
    """Make a prompt in frame 0."""
    return Prompt(video="eval", animal="a", frame=0, kind=kind, xy=xy)


def _box_of(mask: Bools) -> tuple[float, ...]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _pixel_of(mask: Bools, rng: np.random.Generator) -> tuple[float, ...]:
    """Sample a pixel (x, y) of a mask."""
    row, column = divmod(int(rng.choice(np.flatnonzero(mask))), mask.shape[1])
    return float(column), float(row)


def inscribed_ellipse(box: tuple[float, ...], shape: tuple[int, ...]) -> Bools:
    """Fill the ellipse inscribed in a box: the best guess from a box alone.

    Args:
        box: x0, y0, x1, y1 [px].
        shape: (H, W) of the result.
    """
    y, x = np.mgrid[: shape[0], : shape[1]] + 0.5
    across = (x - (box[0] + box[2]) / 2) / (box[2] - box[0]) * 2
    down = (y - (box[1] + box[3]) / 2) / (box[3] - box[1]) * 2
    inside: Bools = across**2 + down**2 <= 1
    return inside


def jaccard(predicted: Bools, truth: Bools) -> NDArray[np.float64]:
    """Compute the intersection over union of each frame in which the animal is visible.

    Args:
        predicted: (F, H, W).
        truth: (F, H, W).

    Returns:
        One value 0 to 1 per frame whose truth is not empty.
    """
    seen = truth.any((1, 2))
    both, either = (predicted & truth)[seen].sum((1, 2)), (predicted | truth)[seen].sum((1, 2))
    scores: NDArray[np.float64] = both / np.maximum(either, 1)
    return scores
