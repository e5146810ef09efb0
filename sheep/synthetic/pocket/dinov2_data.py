"""Synthetic scenes -> training images and labelled test crops for the pocket DINOv2."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sheep.config import seed_for
from sheep.crop import geometry
from sheep.finetune.dataset import Arrays
from sheep.synthetic.scene import SceneConfig, SceneFrame, draw_scene, render

TRAIN_NAMESPACE = "pocket.dinov2"
"""Seeds of training scenes, weights and batches."""
EVAL_NAMESPACE = "pocket.dinov2.eval"
"""Seeds of evaluation scenes; no training scene is among them."""

_FRAME_SIZES_PX = ((128, 128), (144, 192), (192, 256), (240, 320))
_NUM_BACKGROUNDS = 200
_CROP_PX = 96
_CROP_FACTOR = 1.3
_MIN_CROP_PIXELS = 30
_MIN_VIEW_PIXELS = 60

Pixels = NDArray[np.uint8]


def generate_images(
    seed: int, *, num_scenes: int, frames_per_scene: int, image_px: int, background_frac: float
) -> Arrays:
    """Generate the training images: in each frame the focal animal, and another animal if present.

    Args:
        seed: of the scenes, in a namespace of their own.
        num_scenes: >= 1.
        frames_per_scene: frames of each scene, 1.5 s apart.
        image_px: side S of the images.
        background_frac: share of the animals that are pasted on the background of another scene, 0 to 1.

    Returns:
        Arrays (N, S, S, 4), the mask as last channel. `animals` are scenes and `videos` are kinds of view, so the
        sampler balances batches over both.
    """
    pixels: list[Pixels] = []
    scenes: list[str] = []
    kinds: list[str] = []
    backgrounds: list[Pixels] = []
    for number in range(num_scenes):
        rng = np.random.default_rng(seed_for(seed, TRAIN_NAMESPACE, f"scene {number}"))
        for frame in _sparse_frames(rng, frames_per_scene):
            for kind, image in _views(frame, rng, image_px):
                if kind == "place":
                    backgrounds = [*backgrounds[-_NUM_BACKGROUNDS:], image]
                    continue  # shows no single animal, so the silhouette term has no target
                if backgrounds and rng.random() < background_frac:
                    image = _paste(image, backgrounds[int(rng.integers(len(backgrounds)))])
                pixels.append(image)
                scenes.append(f"scene {number}")
                kinds.append(f"scene {number} {kind}")
    return Arrays(pixels=np.stack(pixels), animals=scenes, videos=kinds)


def generate_crops(
    seed: int, num_scenes: int, frames_per_scene: int, namespace: str = EVAL_NAMESPACE
) -> tuple[list[Pixels], NDArray[np.uint8], NDArray[np.int64]]:
    """Crop the focal animal at its true box x 1.3, in every frame in which at least 30 of its pixels are visible.

    Args:
        seed: of the scenes.
        num_scenes: scenes, each with another focal animal.
        frames_per_scene: frames of each scene, 0.4 s apart.
        namespace: separates these scenes from others of the same seed.

    Returns:
        F crops (96, 96, 3), their labels (F, 6) 0 or 1, and the number of each crop's scene (F,).
    """
    images: list[Pixels] = []
    labels: list[NDArray[np.uint8]] = []
    groups: list[int] = []
    for number in range(num_scenes):
        rng = np.random.default_rng(seed_for(seed, namespace, f"scene {number}"))
        scene = draw_scene(SceneConfig(num_frames=frames_per_scene, fps_hz=2.5), rng)
        for frame in render(scene):
            window = _animal_window(frame.ids == 1, _CROP_FACTOR, min_pixels=_MIN_CROP_PIXELS)
            if window is not None:
                images.append(geometry.cut(frame.image, window, _CROP_PX))
                labels.append(frame.labels)
                groups.append(number)
    return images, np.stack(labels), np.asarray(groups)


def _sparse_frames(rng: np.random.Generator, count: int) -> Iterator[SceneFrame]:
    """Render one random scene with frames 1.5 s apart, so that their postures differ.

    Args:
        rng: source of randomness.
        count: frames.
    """
    height, width = _FRAME_SIZES_PX[int(rng.integers(len(_FRAME_SIZES_PX)))]
    settings = SceneConfig(height_px=height, width_px=width, num_frames=count, fps_hz=1 / 1.5, num_others=(0, 4))
    yield from render(draw_scene(settings, rng))


def _views(frame: SceneFrame, rng: np.random.Generator, image_px: int) -> Iterator[tuple[str, Pixels]]:
    """Cut the training views out of a frame.

    Args:
        frame: rendered frame.
        rng: source of randomness.
        image_px: side S of the views.

    Yields:
        Kind and image (S, S, 4): `focal` and `other` are animals of at least 60 pixels at their box x 1.2 to 2.0,
        `place` is a random part of the frame or all of it.
    """
    others = [number for number in range(2, int(frame.ids.max()) + 1)]
    wanted = [("focal", 1)] + ([("other", int(rng.choice(others)))] if others else [])
    for kind, number in wanted:
        window = _animal_window(frame.ids == number, rng.uniform(1.2, 2.0), min_pixels=_MIN_VIEW_PIXELS)
        if window is not None:
            yield kind, _cut(frame.image, frame.ids == number, window, image_px)
    height, width = frame.ids.shape
    side = float(max(height, width)) if rng.random() < 0.4 else rng.uniform(0.35, 1.0) * height
    # Where the window is larger than the frame it is centred, with grey borders, as the crop stage letterboxes.
    free = np.array([width - side, height - side])
    corner = np.where(free > 0, rng.uniform(0, 1, 2) * free, free / 2)
    yield "place", _cut(frame.image, frame.ids > 0, np.array([*corner, side]), image_px)


def _cut(image: Pixels, mask: NDArray[np.bool_], window: NDArray[np.float64], side_px: int) -> Pixels:
    """Cut a window out of an image, with the mask as fourth channel.

    Args:
        image: (H, W, 3).
        mask: (H, W).
        window: x0, y0, side [px].
        side_px: side S of the result.

    Returns:
        (S, S, 4).
    """
    kept = Image.fromarray(mask.astype(np.uint8) * 255).transform(
        (side_px, side_px),
        Image.Transform.EXTENT,
        (window[0], window[1], window[0] + window[2], window[1] + window[2]),
        Image.Resampling.BILINEAR,
    )
    return np.concatenate([geometry.cut(image, window, side_px), np.asarray(kept)[..., None]], axis=-1)


def _paste(image: Pixels, background: Pixels) -> Pixels:
    """Composite the animal of one image on another image; the mask stays.

    Args:
        image: (S, S, 4) with the mask as alpha.
        background: (S, S, 4).
    """
    alpha = image[..., 3:].astype(np.float32) / 255
    mixed = alpha * image[..., :3] + (1 - alpha) * background[..., :3]
    return np.concatenate([mixed.astype(np.uint8), image[..., 3:]], axis=-1)


def _animal_window(mask: NDArray[np.bool_], factor: float, min_pixels: int) -> NDArray[np.float64] | None:
    """Compute the square window around an animal.

    Args:
        mask: (H, W).
        factor: side of the window over the longer side of the animal's box.
        min_pixels: smallest visible area.

    Returns:
        x0, y0, side [px]; None where fewer pixels are visible.
    """
    rows, columns = np.nonzero(mask)
    if len(rows) < min_pixels:
        return None
    x0, x1, y0, y1 = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
    side = max(x1 - x0, y1 - y0) * factor
    return np.array([(x0 + x1 - side) / 2, (y0 + y1 - side) / 2, side])
