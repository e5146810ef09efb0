"""Where each animal of a scene is: behaviour -> a path on the ground, its size in the image, and who occludes whom."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sheep.synthetic.animal import Coat, Pose, make_skin
from sheep.synthetic.behaviour import BehaviourTrace, simulate
from sheep.synthetic.canvas import Skin

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ground:
    """The space and time that a scene's animals move in."""

    horizon_px: float
    """Row of the horizon."""
    height_px: int
    """Frame height."""
    width_px: int
    """Frame width."""
    num_frames: int
    """Frames of the scene."""
    fps_hz: float
    """Frames per second."""

    @property
    def depth_px(self) -> float:
        """Rows between the horizon and the lower edge of the frame."""
        return self.height_px - self.horizon_px

    def scale(self, y: FloatArray | float) -> FloatArray:
        """Size of an animal at row y relative to the middle of the meadow: perspective."""
        factor: FloatArray = 0.55 + 0.9 * (np.asarray(y) - self.horizon_px) / self.depth_px
        return factor


@dataclass(frozen=True, kw_only=True, slots=True)
class Actor:
    """One animal throughout a scene of F frames."""

    coat: Coat
    """Appearance."""
    skin: Skin
    """Texture of that coat."""
    behaviour: BehaviourTrace
    """What it does."""
    x: FloatArray
    """(F,) column of its ground point [px]."""
    y: FloatArray
    """(F,) row of its ground point [px]."""
    unit_px: FloatArray
    """(F,) pixels per body unit."""
    yaw: FloatArray
    """(F,) heading [rad], see `Pose.yaw`."""
    stride: FloatArray
    """(F,) strides walked so far."""

    def pose(self, frame: int) -> Pose:
        """Return the pose to paint in one frame."""
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


def draw_actor(
    ground: Ground,
    coat: Coat,
    unit_px: float,
    start: tuple[float, float],
    rng: np.random.Generator,
    *,
    standing_frac: float,
    rows: tuple[float, float] = (0.42, 0.92),
) -> Actor:
    """Sample one animal's behaviour and path.

    Args:
        ground: where and how long.
        coat: appearance.
        unit_px: pixels per body unit of the focal animal's size class at the middle of the meadow.
        start: ground point (x, y) in frame 0 [px].
        rng: source of randomness.
        standing_frac: expected share of frames in which it stands, 0.1 to 0.9.
        rows: rows it stays within, as shares of the meadow's depth (0 the horizon, 1 the lower edge).
    """
    behaviour = simulate(ground.num_frames, ground.fps_hz, standing_frac, rng)
    limits = (ground.horizon_px + rows[0] * ground.depth_px, ground.horizon_px + rows[1] * ground.depth_px)
    x, y, yaw, stride = _walk(behaviour, ground, start, limits, unit_px * coat.size, rng)
    unit = unit_px * coat.size * ground.scale(y)
    return Actor(coat=coat, skin=make_skin(coat), behaviour=behaviour, x=x, y=y, unit_px=unit, yaw=yaw, stride=stride)


def _walk(
    behaviour: BehaviourTrace,
    ground: Ground,
    start: tuple[float, float],
    limits: tuple[float, float],
    unit_px: float,
    rng: np.random.Generator,
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Integrate the walking bouts over time.

    Args:
        behaviour: speed and bout of each frame.
        ground: frame width and time step.
        start: ground point (x, y) in frame 0 [px].
        limits: highest and lowest row to stay within [px].
        unit_px: pixels per body unit at the middle of the meadow.
        rng: source of randomness.

    Returns:
        x [px], y [px], yaw [rad] and strides walked, each (F,).
    """
    step_s = 1 / ground.fps_hz
    pace_px_s = unit_px * rng.uniform(0.55, 0.95)
    x, y = start
    yaw = aim = _heading(rng, None)
    out = np.empty((4, ground.num_frames))
    stride, bout = rng.uniform(0, 1), -1
    margin = min(1.0 * unit_px, 0.3 * ground.width_px)
    for index in range(ground.num_frames):
        speed = behaviour.speed[index]
        # A new walking bout gets a new heading; in 60 % of the bouts the animal keeps its side.
        if speed > 0.05 and behaviour.bout[index] != bout:
            bout = int(behaviour.bout[index])
            stay = rng.random() < 0.6
            aim = _heading(rng, math.cos(yaw) > 0 if stay else math.cos(yaw) <= 0)
        # Turn back at the sides of the frame, and at the upper and lower limit.
        if (x < margin and math.cos(aim) < 0) or (x > ground.width_px - margin and math.cos(aim) > 0):
            aim = math.pi - aim
        if (y < limits[0] and math.sin(aim) > 0) or (y > limits[1] and math.sin(aim) < 0):
            aim = -aim
        # Turn by at most 3.5 rad/s, and only while walking.
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
    """Sample a heading near the side view.

    Args:
        rng: source of randomness.
        right: whether to face right; None to choose at random.

    Returns:
        Heading [rad], see `Pose.yaw`.
    """
    lean = float(np.clip(rng.normal(0, 0.42), -0.95, 0.95))
    faces_right = rng.random() < 0.5 if right is None else right
    return lean if faces_right else math.pi - lean


def rough_boxes(actor: Actor) -> FloatArray:
    """Estimate the bounding boxes (F, 4) of an animal, x0 y0 x1 y1 [px], without painting it."""
    along = 0.75 * np.abs(np.cos(actor.yaw)) + 0.25
    top = 0.45 + 0.75 * actor.behaviour.upright
    unit = actor.unit_px
    return np.stack([actor.x - along * unit, actor.y - top * unit, actor.x + along * unit, actor.y], axis=1)


def covered_frac(boxes: FloatArray, over: FloatArray) -> FloatArray:
    """Compute the share of each box that another box covers.

    Args:
        boxes: (F, 4) x0 y0 x1 y1 [px].
        over: (F, 4) or (1, 4) of the same kind.

    Returns:
        (F,) 0 to 1.
    """
    across = np.clip(np.minimum(boxes[:, 2], over[:, 2]) - np.maximum(boxes[:, 0], over[:, 0]), 0, None)
    down = np.clip(np.minimum(boxes[:, 3], over[:, 3]) - np.maximum(boxes[:, 1], over[:, 1]), 0, None)
    share: FloatArray = across * down / ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    return share


def occluded_frac(focal: Actor, other: Actor) -> FloatArray:
    """Estimate the share (F,) of one animal that another one occludes; 0 where the other stands farther away.

    Args:
        focal: the animal that may be occluded.
        other: the animal that may be in front.
    """
    return np.where(other.y > focal.y, covered_frac(rough_boxes(focal), rough_boxes(other)), 0.0)
