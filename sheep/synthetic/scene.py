"""A synthetic scene: animals, positions and times -> frames with exact masks and labels of the focal animal.

`draw_scene` samples everything random (pasture, coats, behaviours, paths, foreground objects, camera). `render` only
paints, one frame at a time, so a video needs the memory of one frame. Equal configuration and seed give equal bytes.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sheep.errors import ConfigError
from sheep.synthetic import pasture
from sheep.synthetic.animal import NOSE_TO_TAIL, Coat, draw_coat, paint
from sheep.synthetic.behaviour import LABELS
from sheep.synthetic.canvas import Canvas, Plane
from sheep.synthetic.motion import Actor, FloatArray, Ground, covered_frac, draw_actor, occluded_frac, rough_boxes

__all__ = ["LABELS", "Actor", "Coat", "Scene", "SceneConfig", "SceneFrame", "draw_coat", "draw_scene", "render"]

_MAX_TRIES = 6
"""Attempts to place another animal or an object so that it leaves the focal animal visible."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneConfig:
    """The distribution that scenes are sampled from."""

    height_px: int = 192
    """Frame height, at least 32."""
    width_px: int = 256
    """Frame width, at least 32; even sizes are needed for H.264."""
    num_frames: int = 100
    """Length of the clip, at least 1."""
    fps_hz: float = 5.0
    """Frames per second, above 0."""
    num_others: tuple[int, int] = (0, 3)
    """Fewest and most other animals, 0 to 200."""
    standing_frac: float = 0.5
    """Long-run share of frames in which the focal animal is labelled standing, 0.1 to 0.9."""
    focal_length_frac: tuple[float, float] = (0.2, 0.4)
    """Range of the focal animal's length, nose to tail in side view, as a share of the frame's width, 0.05 to 0.6."""
    other_species: tuple[float, float, float] = (0.7, 0.15, 0.15)
    """Weights with which another animal is a sheep, a cow or a dog; none negative, not all 0."""
    prop_prob: float = 0.4
    """Chance of each of at most two foreground objects (bushes or posts), 0 to 1."""
    jitter_px: float = 0.5
    """Standard deviation of the camera shake, 0 to 2."""
    flicker_frac: float = 0.015
    """Standard deviation of the brightness gain from frame to frame, 0 to 0.2."""
    cloud_frac: float = 0.25
    """Largest share of the light that a passing cloud takes, 0 to 1."""
    noise_sd: tuple[float, float] = (1.5, 5.0)
    """Range of the sensor noise's standard deviation, in grey levels of 255; 0 or more."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: a value is outside the range given in its docstring.
        """
        checks = {
            "height_px": (self.height_px >= 32, ">= 32"),
            "width_px": (self.width_px >= 32, ">= 32"),
            "num_frames": (self.num_frames >= 1, ">= 1"),
            "fps_hz": (self.fps_hz > 0, "> 0"),
            "num_others": (0 <= self.num_others[0] <= self.num_others[1] <= 200, "fewest <= most, 0 to 200"),
            "standing_frac": (0.1 <= self.standing_frac <= 0.9, "0.1 to 0.9"),
            "prop_prob": (0 <= self.prop_prob <= 1, "0 to 1"),
            "focal_length_frac": (
                0.05 <= self.focal_length_frac[0] <= self.focal_length_frac[1] <= 0.6,
                "lowest <= highest, 0.05 to 0.6",
            ),
            "other_species": (
                len(self.other_species) == 3 and min(self.other_species) >= 0 and sum(self.other_species) > 0,
                "three weights >= 0, not all 0",
            ),
            "jitter_px": (0 <= self.jitter_px <= 2, "0 to 2"),
            "flicker_frac": (0 <= self.flicker_frac <= 0.2, "0 to 0.2"),
            "cloud_frac": (0 <= self.cloud_frac < 1, ">= 0 and < 1"),
            "noise_sd": (0 <= self.noise_sd[0] <= self.noise_sd[1], "lowest <= highest, >= 0"),
        }
        for name, (good, expected) in checks.items():
            if not good:
                raise ConfigError(f"scene.{name}: got {getattr(self, name)}, expected {expected}. Change the setting.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """Everything random about a scene of F frames, already sampled."""

    config: SceneConfig
    """What it was sampled from."""
    actors: tuple[Actor, ...]
    """Its animals; the first is the focal animal."""
    props: tuple[pasture.Prop, ...]
    """Foreground objects."""
    background: Plane
    """(3, H + 2 MARGIN_PX, W + 2 MARGIN_PX), see `pasture.draw_pasture`."""
    clouds: Plane
    """(H, W + travel) factors on the light."""
    noise: Plane
    """(3, H + 32, W + 32) sensor noise."""
    jitter_px: FloatArray
    """(F, 2) displacement of the camera, y and x [px]."""
    gain: FloatArray
    """(F,) factor on the brightness."""
    cloud_at_px: NDArray[np.int64]
    """(F,) left side of the frame's window of `clouds`."""
    noise_at_px: NDArray[np.int64]
    """(F, 2) top and left side of the frame's window of `noise`."""
    sun: float
    """Sideways direction of the light, -1 to 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneFrame:
    """One frame and its ground truth."""

    image: NDArray[np.uint8]
    """(H, W, 3) RGB."""
    ids: NDArray[np.uint8]
    """(H, W), the visible part of each animal: 0 none, 1 the focal animal, 2 and up the others."""
    labels: NDArray[np.uint8]
    """(6,) of the focal animal in the order of LABELS, also where it is occluded."""


def _child(rng: np.random.Generator) -> np.random.Generator:
    """Derive an independent generator, so that one part of a scene does not depend on how much another part samples."""
    return np.random.default_rng(rng.integers(0, 2**63, size=2))


def draw_scene(config: SceneConfig, rng: np.random.Generator, *, coat: Coat | None = None) -> Scene:
    """Sample a scene.

    Args:
        config: sizes and rates.
        rng: the only source of randomness.
        coat: the focal animal's appearance; sampled if None.
    """
    horizon = config.height_px * rng.uniform(0.12, 0.36)
    ground = Ground(
        horizon_px=horizon,
        height_px=config.height_px,
        width_px=config.width_px,
        num_frames=config.num_frames,
        fps_hz=config.fps_hz,
    )
    focal_coat = coat if coat is not None else draw_coat(_child(rng))
    # The unit at the middle of the meadow, such that the focal animal has its length in the row it starts on.
    home_y = horizon + (config.height_px - horizon) * rng.uniform(0.5, 0.85)
    length_px = config.width_px * rng.uniform(*config.focal_length_frac)
    unit_px = length_px / NOSE_TO_TAIL / float(ground.scale(home_y))
    start = (rng.uniform(0.3, 0.7) * config.width_px, home_y)
    focal = draw_actor(ground, focal_coat, unit_px, start, _child(rng), standing_frac=config.standing_frac)
    actors = [focal]
    for _ in range(int(rng.integers(config.num_others[0], config.num_others[1] + 1))):
        actors.append(_draw_other(config, ground, unit_px, focal, _child(rng)))
    props = _draw_props(config, ground, unit_px, focal, _child(rng))
    return _draw_camera(config, horizon, tuple(actors), props, rng)


def _draw_camera(
    config: SceneConfig,
    horizon: float,
    actors: tuple[Actor, ...],
    props: tuple[pasture.Prop, ...],
    rng: np.random.Generator,
) -> Scene:
    """Sample background, light, camera shake and noise, and complete the scene.

    Args:
        config: sizes and rates.
        horizon: its row [px].
        actors: the animals.
        props: the foreground objects.
        rng: source of randomness.
    """
    shape, frames = (config.height_px, config.width_px), config.num_frames
    shake = rng.standard_normal((frames, 2))
    for index in range(1, frames):
        # First-order autoregressive, with unit variance.
        shake[index] = 0.7 * shake[index - 1] + math.sqrt(1 - 0.49) * shake[index]
    pace_px = rng.uniform(0.0, 0.06) * config.width_px / config.fps_hz
    travel = int(pace_px * frames) + 1
    return Scene(
        config=config,
        actors=actors,
        props=props,
        background=pasture.draw_pasture(shape, horizon, _child(rng)),
        clouds=pasture.make_clouds(shape, travel, config.cloud_frac * rng.random(), _child(rng)),
        noise=pasture.make_noise(shape, rng.uniform(*config.noise_sd), _child(rng)),
        jitter_px=np.clip(shake * config.jitter_px, -pasture.MARGIN_PX + 1, pasture.MARGIN_PX - 2),
        gain=rng.uniform(0.85, 1.1) * (1 + config.flicker_frac * rng.standard_normal(frames)),
        cloud_at_px=(np.arange(frames) * pace_px).astype(np.int64),
        noise_at_px=rng.integers(0, 32, size=(frames, 2)),
        sun=rng.uniform(-1, 1),
    )


def _draw_other(config: SceneConfig, ground: Ground, unit_px: float, focal: Actor, rng: np.random.Generator) -> Actor:
    """Sample another animal that occludes the focal one neither in frame 0 nor for long.

    Args:
        config: frame width and species.
        ground: where and how long.
        unit_px: pixels per body unit at the middle of the meadow.
        focal: the focal animal.
        rng: source of randomness.
    """
    weights = np.array(config.other_species) / sum(config.other_species)
    species = ("sheep", "cow", "dog")[int(rng.choice(3, p=weights))]
    coat = draw_coat(_child(rng), species)
    if species == "sheep" and rng.random() < 0.4:
        coat = replace(coat, wool=focal.coat.wool, face=focal.coat.face)  # colour does not tell the two apart
    span = ground.depth_px
    for _ in range(_MAX_TRIES):
        start = (rng.uniform(0.05, 0.95) * config.width_px, ground.horizon_px + span * rng.uniform(0.2, 0.95))
        child, share = _child(rng), rng.uniform(0.3, 0.8)
        actor = draw_actor(ground, coat, unit_px, start, child, standing_frac=share, rows=(0.2, 0.95))
        occluded = occluded_frac(focal, actor)
        if occluded[0] < 0.25 and float((occluded > 0.7).mean()) <= 0.03:
            return actor
    # Every attempt failed: place it behind the focal animal, where it cannot occlude it.
    top = float((focal.y.min() - ground.horizon_px) / span) - 0.02
    start = (rng.uniform(0.05, 0.95) * config.width_px, ground.horizon_px + span * 0.9 * top)
    child, share = _child(rng), rng.uniform(0.3, 0.8)
    return draw_actor(ground, coat, unit_px, start, child, standing_frac=share, rows=(0.5 * top, 0.9 * top))


def _draw_props(
    config: SceneConfig, ground: Ground, unit_px: float, focal: Actor, rng: np.random.Generator
) -> tuple[pasture.Prop, ...]:
    """Sample at most two foreground objects that leave the focal animal visible in frame 0 and most of the time.

    Args:
        config: frame width and chance of an object.
        ground: where.
        unit_px: pixels per body unit at the middle of the meadow.
        focal: the focal animal.
        rng: source of randomness.
    """
    props = []
    for _ in range(2):
        if rng.random() >= config.prop_prob:
            continue
        for _ in range(_MAX_TRIES):
            x, y = rng.uniform(0, config.width_px), ground.height_px * rng.uniform(0.85, 1.08)
            prop = pasture.draw_prop(x, y, unit_px * float(ground.scale(y)), _child(rng))
            _, box_h, box_w = prop.rgba.shape
            box = np.array([[prop.x, prop.y, prop.x + box_w, prop.y + box_h]], np.float64)
            occluded = covered_frac(rough_boxes(focal), box)
            if occluded[0] < 0.2 and float((occluded > 0.6).mean()) <= 0.03:
                props.append(prop)
                break
    return tuple(props)


def render(scene: Scene) -> Iterator[SceneFrame]:
    """Render a scene, one frame after the other."""
    for frame in range(scene.config.num_frames):
        yield _render_frame(scene, frame)


def _render_frame(scene: Scene, frame: int) -> SceneFrame:
    """Render one frame.

    Args:
        scene: the scene.
        frame: index of the frame, 0 to F - 1.
    """
    shape = (scene.config.height_px, scene.config.width_px)
    shift_y, shift_x = scene.jitter_px[frame]
    image = pasture.shifted(scene.background, pasture.MARGIN_PX + shift_y, pasture.MARGIN_PX + shift_x, shape)
    canvas = Canvas(image)
    ids = np.zeros(shape, np.uint8)
    # Painter's algorithm: from the farthest row to the nearest. Objects have negative indices, -1 for the first.
    layers: list[tuple[float, int]] = [(float(actor.y[frame]), index) for index, actor in enumerate(scene.actors)]
    layers += [(prop.ground_y, -1 - index) for index, prop in enumerate(scene.props)]
    for _, index in sorted(layers):
        if index < 0:
            _paint_prop(image, ids, scene.props[-1 - index], shift_y, shift_x)
            continue
        actor = scene.actors[index]
        pose = actor.pose(frame)
        canvas.cover.fill(0)
        paint(canvas, replace(pose, x=pose.x - shift_x, y=pose.y - shift_y), actor.coat, actor.skin, scene.sun)
        ids[canvas.cover > 0.5] = index + 1
    at = scene.cloud_at_px[frame]
    image *= scene.clouds[:, at : at + shape[1]] * np.float32(scene.gain[frame])
    top, left = scene.noise_at_px[frame]
    image += scene.noise[:, top : top + shape[0], left : left + shape[1]]
    np.maximum(image, 0, out=image)
    np.minimum(image, 255, out=image)
    pixels = np.ascontiguousarray(image.astype(np.uint8).transpose(1, 2, 0))
    return SceneFrame(image=pixels, ids=ids, labels=scene.actors[0].behaviour.labels[frame])


def _paint_prop(image: Plane, ids: NDArray[np.uint8], prop: pasture.Prop, shift_y: float, shift_x: float) -> None:
    """Composite a foreground object, shifted with the camera by fractions of a pixel.

    Args:
        image: (3, H, W), painted in place.
        ids: (H, W), set to 0 where the object is opaque.
        prop: the object.
        shift_y: displacement of the camera downwards [px].
        shift_x: displacement of the camera to the right [px].
    """
    top, left = prop.y - shift_y, prop.x - shift_x
    row, column = math.floor(top), math.floor(left)
    padded = np.pad(prop.rgba, ((0, 0), (1, 1), (1, 1)))
    _, box_h, box_w = padded.shape
    rgba = pasture.shifted(padded, 1 - (top - row), 1 - (left - column), (box_h - 2, box_w - 2))
    y0, x0 = max(row, 0), max(column, 0)
    y1, x1 = min(row + box_h - 2, image.shape[1]), min(column + box_w - 2, image.shape[2])
    if y0 >= y1 or x0 >= x1:
        return
    part = rgba[:, y0 - row : y1 - row, x0 - column : x1 - column]
    under = image[:, y0:y1, x0:x1]
    under *= 1 - part[3]
    under += part[:3]
    ids[y0:y1, x0:x1][part[3] > 0.5] = 0
