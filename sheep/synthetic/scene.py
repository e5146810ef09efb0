"""A scene of the meadow: who, where and when -> frames with exact masks and labels of the focal animal.

`draw_scene` draws everything random (pasture, coats, behaviours, paths, things in front, camera), `render` only paints,
one frame at a time, so a video needs the memory of one frame. The same configuration and seed give the same bytes.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sheep.errors import ConfigError
from sheep.schemas import LABELS
from sheep.synthetic import pasture
from sheep.synthetic.animal import NOSE_TO_TAIL, Canvas, Coat, Pose, Skin, draw_coat, make_skin, paint
from sheep.synthetic.behaviour import Behaviour, simulate

__all__ = ["LABELS", "Coat", "Frame", "Scene", "SceneConfig", "draw_coat", "draw_scene", "render"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneConfig:
    """What a scene is drawn from."""

    height_px: int = 192
    """Frame height, at least 32."""
    width_px: int = 256
    """Frame width, at least 32; even sizes are needed for H.264."""
    num_frames: int = 100
    """Length of the clip, at least 1."""
    fps_hz: float = 5.0
    """Frames per second, above 0."""
    num_others: tuple[int, int] = (0, 3)
    """Fewest and most other animals."""
    standing_frac: float = 0.5
    """Long-run share of frames in which the focal animal is labelled standing, 0.1 to 0.9."""
    focal_length_frac: tuple[float, float] = (0.2, 0.4)
    """Range of the focal animal's length, nose to tail and side on, as a share of the frame's width."""
    other_species: tuple[float, float, float] = (0.7, 0.15, 0.15)
    """Weights with which another animal is a sheep, a cow or a dog."""
    prop_prob: float = 0.4
    """Chance of each of at most two bushes or posts in front of the animals."""
    jitter_px: float = 0.5
    """Standard deviation of the camera's shake, 0 to 2."""
    flicker_frac: float = 0.015
    """Standard deviation of the gain from frame to frame."""
    cloud_frac: float = 0.25
    """How much of the light a passing cloud takes, 0 to 1."""
    noise_sd: tuple[float, float] = (1.5, 5.0)
    """Range of the sensor noise's standard deviation, in grey levels of 255."""

    def __post_init__(self) -> None:
        checks = {
            "height_px": self.height_px >= 32,
            "width_px": self.width_px >= 32,
            "num_frames": self.num_frames >= 1,
            "fps_hz": self.fps_hz > 0,
            "num_others": 0 <= self.num_others[0] <= self.num_others[1] <= 200,
            "standing_frac": 0.1 <= self.standing_frac <= 0.9,
            "prop_prob": 0 <= self.prop_prob <= 1,
            "focal_length_frac": 0.05 <= self.focal_length_frac[0] <= self.focal_length_frac[1] <= 0.6,
            "other_species": len(self.other_species) == 3
            and min(self.other_species) >= 0
            and sum(self.other_species) > 0,
            "jitter_px": 0 <= self.jitter_px <= 2,
            "flicker_frac": 0 <= self.flicker_frac <= 0.2,
            "cloud_frac": 0 <= self.cloud_frac < 1,
            "noise_sd": 0 <= self.noise_sd[0] <= self.noise_sd[1],
        }
        for name, good in checks.items():
            if not good:
                raise ConfigError(
                    f"SceneConfig.{name}: got {getattr(self, name)}, out of the range its docstring gives"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class Actor:
    """One animal through the whole scene; arrays have F rows. x, y: ground point [px]; unit_px: px per body unit."""

    coat: Coat
    skin: Skin
    behaviour: Behaviour
    x: FloatArray
    y: FloatArray
    unit_px: FloatArray
    yaw: FloatArray
    stride: FloatArray

    def pose(self, frame: int) -> Pose:
        """The pose to paint in one frame."""
        return Pose(
            x=float(self.x[frame]),
            y=float(self.y[frame]),
            unit_px=float(self.unit_px[frame]),
            yaw=float(self.yaw[frame]),
            upright=float(self.behaviour.upright[frame]),
            neck=float(self.behaviour.neck[frame]),
            stride=float(self.stride[frame]),
            speed=float(self.behaviour.speed[frame]),
            chew=float(self.behaviour.chew[frame]),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """Everything random, drawn: actors[0] is the focal animal.

    Background, clouds and noise are planes to take windows of.
    """

    config: SceneConfig
    actors: tuple[Actor, ...]
    props: tuple[pasture.Prop, ...]
    background: pasture.Plane
    clouds: pasture.Plane
    noise: pasture.Plane
    jitter_px: FloatArray
    gain: FloatArray
    cloud_at_px: NDArray[np.int64]
    noise_at_px: NDArray[np.int64]
    sun: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Frame:
    """One frame and its truth.

    image: (H, W, 3) uint8 RGB. ids: (H, W) uint8, the visible part of each animal: 0 none, 1 focal, 2 and up others.
    labels: (6,) uint8 in the order of LABELS, for the focal animal (also where it is hidden).
    """

    image: NDArray[np.uint8]
    ids: NDArray[np.uint8]
    labels: NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Ground:
    """The pasture's perspective: rows on which animals may stand, and how large they look there."""

    horizon_px: float
    height_px: int
    width_px: int

    def scale(self, y: FloatArray | float) -> FloatArray:
        """Size at row y, relative to the middle of the meadow."""
        return 0.55 + 0.9 * (np.asarray(y) - self.horizon_px) / (self.height_px - self.horizon_px)


def _child(rng: np.random.Generator) -> np.random.Generator:
    return np.random.default_rng(rng.integers(0, 2**63, size=2))


def draw_scene(config: SceneConfig, rng: np.random.Generator, *, coat: Coat | None = None) -> Scene:
    """Draw a scene.

    Args:
        config: sizes and rates.
        rng: the only source of randomness.
        coat: the focal animal's appearance; drawn when not given.
    """
    shape = (config.height_px, config.width_px)
    horizon = config.height_px * rng.uniform(0.12, 0.36)
    ground = _Ground(horizon_px=horizon, height_px=config.height_px, width_px=config.width_px)
    focal_coat = coat if coat is not None else draw_coat(_child(rng))
    # The unit at the middle of the meadow, such that the focal animal has its length on its first row.
    home_y = horizon + (config.height_px - horizon) * rng.uniform(0.5, 0.85)
    length_px = config.width_px * rng.uniform(*config.focal_length_frac)
    unit_px = length_px / NOSE_TO_TAIL / float(ground.scale(home_y))
    focal = _draw_actor(
        config, ground, focal_coat, unit_px, (rng.uniform(0.3, 0.7) * config.width_px, home_y), _child(rng)
    )
    actors = [focal]
    for _ in range(int(rng.integers(config.num_others[0], config.num_others[1] + 1))):
        actors.append(_draw_other(config, ground, unit_px, focal, _child(rng)))
    props = _draw_props(config, ground, unit_px, actors[0], _child(rng))
    return _draw_camera(config, shape, horizon, tuple(actors), props, rng)


def _draw_camera(
    config: SceneConfig,
    shape: tuple[int, int],
    horizon: float,
    actors: tuple[Actor, ...],
    props: tuple[pasture.Prop, ...],
    rng: np.random.Generator,
) -> Scene:
    """Pasture, light, shake and noise around the actors."""
    frames = config.num_frames
    shake = rng.standard_normal((frames, 2))
    for index in range(1, frames):
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


def _draw_actor(
    config: SceneConfig,
    ground: _Ground,
    coat: Coat,
    unit_px: float,
    start: tuple[float, float],
    rng: np.random.Generator,
    *,
    standing_frac: float | None = None,
    rows: tuple[float, float] = (0.42, 0.92),
) -> Actor:
    """One animal's behaviour and path; unit_px is the focal animal's mid-meadow, rows a share of the meadow."""
    share = config.standing_frac if standing_frac is None else standing_frac
    behaviour = simulate(config.num_frames, config.fps_hz, share, rng)
    span = ground.height_px - ground.horizon_px
    limits = (ground.horizon_px + rows[0] * span, ground.horizon_px + rows[1] * span)
    x, y, yaw, stride = _walk(behaviour, config, start, limits, unit_px * coat.size, rng)
    unit = unit_px * coat.size * ground.scale(y)
    return Actor(coat=coat, skin=make_skin(coat), behaviour=behaviour, x=x, y=y, unit_px=unit, yaw=yaw, stride=stride)


def _walk(
    behaviour: Behaviour,
    config: SceneConfig,
    start: tuple[float, float],
    limits: tuple[float, float],
    unit_px: float,
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Integrate walking bouts to positions [px], yaw [rad] and strides walked."""
    frames, step_s = config.num_frames, 1 / config.fps_hz
    pace_px_s = unit_px * rng.uniform(0.55, 0.95)
    x, y = start
    yaw = aim = _heading(rng, None)
    out = np.empty((4, frames))
    stride, bout = rng.uniform(0, 1), -1
    margin = min(1.0 * unit_px, 0.3 * config.width_px)
    for index in range(frames):
        speed = behaviour.speed[index]
        if speed > 0.05 and behaviour.bout[index] != bout:
            bout = int(behaviour.bout[index])
            stay = rng.random() < 0.6
            aim = _heading(rng, math.cos(yaw) > 0 if stay else math.cos(yaw) <= 0)
        if (x < margin and math.cos(aim) < 0) or (x > config.width_px - margin and math.cos(aim) > 0):
            aim = math.pi - aim
        if (y < limits[0] and math.sin(aim) > 0) or (y > limits[1] and math.sin(aim) < 0):
            aim = -aim
        turn = math.remainder(aim - yaw, 2 * math.pi)
        most = 3.5 * step_s * (1.0 if speed > 0.05 else 0.0)
        yaw += max(-most, min(most, turn))
        advance = speed * pace_px_s * step_s
        x += advance * math.cos(yaw)
        y -= advance * math.sin(yaw) * 0.3
        stride += advance / unit_px / 0.85
        out[:, index] = x, y, yaw, stride
    return out[0], out[1], out[2], out[3]


def _heading(rng: np.random.Generator, right: bool | None) -> float:
    """A heading near the side view: 0 looks right, pi left; positive away from the camera."""
    lean = float(np.clip(rng.normal(0, 0.42), -0.95, 0.95))
    look_right = rng.random() < 0.5 if right is None else right
    return lean if look_right else math.pi - lean


def _draw_other(config: SceneConfig, ground: _Ground, unit_px: float, focal: Actor, rng: np.random.Generator) -> Actor:
    """Another animal, placed so that it does not hide the focal one at first or for long."""
    weights = np.array(config.other_species) / sum(config.other_species)
    species = ("sheep", "cow", "dog")[int(rng.choice(3, p=weights))]
    coat = draw_coat(_child(rng), species)
    if species == "sheep" and rng.random() < 0.4:
        coat = replace(coat, wool=focal.coat.wool, face=focal.coat.face)
    span = ground.height_px - ground.horizon_px
    for _ in range(6):
        start = (rng.uniform(0.05, 0.95) * config.width_px, ground.horizon_px + span * rng.uniform(0.2, 0.95))
        actor = _draw_actor(
            config, ground, coat, unit_px, start, _child(rng), standing_frac=rng.uniform(0.3, 0.8), rows=(0.2, 0.95)
        )
        hidden = _hidden_frac(focal, actor)
        if hidden[0] < 0.25 and float((hidden > 0.7).mean()) <= 0.03:
            return actor
    # No luck: behind the focal animal it can hide nothing.
    top = float((focal.y.min() - ground.horizon_px) / span) - 0.02
    start = (rng.uniform(0.05, 0.95) * config.width_px, ground.horizon_px + span * 0.9 * top)
    child, share = _child(rng), rng.uniform(0.3, 0.8)
    rows = (0.5 * top, 0.9 * top)
    return _draw_actor(config, ground, coat, unit_px, start, child, standing_frac=share, rows=rows)


def _box(actor: Actor) -> FloatArray:
    """Rough boxes (F, 4) of an animal, x0 y0 x1 y1 [px]."""
    along = 0.75 * np.abs(np.cos(actor.yaw)) + 0.25
    top = 0.45 + 0.75 * actor.behaviour.upright
    unit = actor.unit_px
    return np.stack([actor.x - along * unit, actor.y - top * unit, actor.x + along * unit, actor.y], axis=1)


def _overlap(box: FloatArray, over: FloatArray) -> FloatArray:
    """Share (F,) of `box` that `over` covers."""
    across = np.clip(np.minimum(box[:, 2], over[:, 2]) - np.maximum(box[:, 0], over[:, 0]), 0, None)
    down = np.clip(np.minimum(box[:, 3], over[:, 3]) - np.maximum(box[:, 1], over[:, 1]), 0, None)
    return across * down / ((box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1]))


def _hidden_frac(focal: Actor, other: Actor) -> FloatArray:
    """Rough share (F,) of the focal animal that another one hides."""
    return np.where(other.y > focal.y, _overlap(_box(focal), _box(other)), 0.0)


def _draw_props(
    config: SceneConfig, ground: _Ground, unit_px: float, focal: Actor, rng: np.random.Generator
) -> tuple[pasture.Prop, ...]:
    """At most two things in front; each leaves most of the focal animal free in frame 0."""
    props = []
    for _ in range(2):
        if rng.random() >= config.prop_prob:
            continue
        for _ in range(6):
            x, y = rng.uniform(0, config.width_px), ground.height_px * rng.uniform(0.85, 1.08)
            prop = pasture.draw_prop(
                (config.height_px, config.width_px), x, y, unit_px * float(ground.scale(y)), _child(rng)
            )
            _, box_h, box_w = prop.rgba.shape
            over = np.array([[prop.x, prop.y, prop.x + box_w, prop.y + box_h]], np.float64)
            hidden = _overlap(_box(focal), over)
            if hidden[0] < 0.2 and float((hidden > 0.6).mean()) <= 0.03:
                props.append(prop)
                break
    return tuple(props)


def render(scene: Scene) -> Iterator[Frame]:
    """Paint a scene, frame after frame."""
    for frame in range(scene.config.num_frames):
        yield _render_frame(scene, frame)


def _render_frame(scene: Scene, frame: int) -> Frame:
    config = scene.config
    shape = (config.height_px, config.width_px)
    shift_y, shift_x = scene.jitter_px[frame]
    image = pasture.shifted(scene.background, pasture.MARGIN_PX + shift_y, pasture.MARGIN_PX + shift_x, shape)
    canvas = Canvas(image)
    ids = np.zeros(shape, np.uint8)
    things: list[tuple[float, int]] = [(float(actor.y[frame]), index) for index, actor in enumerate(scene.actors)]
    things += [(prop.ground_y, -1 - index) for index, prop in enumerate(scene.props)]
    for _, index in sorted(things):
        if index < 0:
            _paint_prop(image, ids, scene.props[-1 - index], shift_y, shift_x)
            continue
        pose = scene.actors[index].pose(frame)
        pose = replace(pose, x=pose.x - shift_x, y=pose.y - shift_y)
        actor = scene.actors[index]
        canvas.cover.fill(0)
        paint(canvas, pose, actor.coat, actor.skin, scene.sun)
        ids[canvas.cover > 0.5] = index + 1
    at = scene.cloud_at_px[frame]
    image *= scene.clouds[:, at : at + shape[1]] * np.float32(scene.gain[frame])
    top, left = scene.noise_at_px[frame]
    image += scene.noise[:, top : top + shape[0], left : left + shape[1]]
    np.maximum(image, 0, out=image)
    np.minimum(image, 255, out=image)
    picture = np.ascontiguousarray(image.astype(np.uint8).transpose(1, 2, 0))
    return Frame(image=picture, ids=ids, labels=scene.actors[0].behaviour.labels[frame])


def _paint_prop(
    image: pasture.Plane, ids: NDArray[np.uint8], prop: pasture.Prop, shift_y: float, shift_x: float
) -> None:
    """Composite a thing in front, shifted with the camera by fractions of a pixel."""
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
