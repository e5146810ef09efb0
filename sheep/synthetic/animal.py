"""How an animal looks: a coat and a pose, painted as tapered segments on a canvas.

The body is a small 3D skeleton in body units (forward, left, up), seen by a camera that points slightly down.
"""

import math
from dataclasses import dataclass

import numpy as np

from sheep.errors import ConfigError
from sheep.synthetic.canvas import TEXTURE_PX, Canvas, Colour, Skin
from sheep.synthetic.pasture import fractal

NOSE_TO_TAIL = 1.62
"""Length of a standing sheep with its head level, in body units; pixels per unit = length in pixels / this."""
CAMERA_SIN = 0.24
"""Body units up in the image per body unit away from the camera: the camera's tilt."""
CAMERA_COS = 0.97
"""Body units up in the image per body unit above the ground."""
_NECK = {"sheep": (0.40, 0.29), "cow": (0.42, 0.36), "dog": (0.26, 0.24)}
"""Species -> length of the neck and of the head in body units."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Coat:
    """Appearance of one individual, the same in all its videos. Colours are RGB, 0 to 255; lengths in body units."""

    species: str
    """sheep, cow or dog."""
    wool: Colour
    """Body."""
    face: Colour
    """Head, ears and legs."""
    size: float
    """Factor on the length in pixels."""
    girth: float
    """Body radius."""
    leg: float
    """Length of a straight leg, hip to ground."""
    ear: float
    """Ear droop, -1 (up) to 1 (hanging)."""
    horned: bool
    """Whether it has horns."""
    patches: float
    """Share of the body in the face's colour, 0 to 1."""
    texture_seed: int
    """Seed of the body's texture."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pose:
    """One animal in one frame: where it stands, how large it appears, and the state of its joints."""

    x: float
    """Ground point below the body's centre [px]."""
    y: float
    """Ground point [px], downwards."""
    unit_px: float
    """Pixels per body unit."""
    yaw: float
    """Heading [rad]: 0 faces right, pi faces left, positive values up to pi face away from the camera."""
    upright: float
    """0 lying to 1 standing."""
    neck: float
    """Elevation of the neck, -1 down to 1 up."""
    stride: float
    """Strides walked so far; the fractional part is the phase of the gait."""
    speed: float
    """Share of walking speed, 0 to 1; scales the swing of the legs."""
    chew: float
    """Displacement of jaw and muzzle, -1 to 1."""


def _toned(colour: Colour, tone: float) -> Colour:
    """Scale the brightness of a colour."""
    return colour[0] * tone, colour[1] * tone, colour[2] * tone


def draw_coat(rng: np.random.Generator, species: str = "sheep") -> Coat:
    """Sample one individual's appearance.

    Args:
        rng: source of randomness.
        species: sheep, cow or dog.

    Raises:
        ConfigError: another species.
    """
    if species == "sheep":
        light = rng.uniform(165, 235)
        wool = (light, light * rng.uniform(0.92, 0.99), light * rng.uniform(0.76, 0.93))
        if rng.random() < 0.15:
            wool = (light * 0.42, light * 0.35, light * 0.30)
        dark = rng.uniform(30, 75) if rng.random() < 0.55 else rng.uniform(150, 215)
        face = (dark, dark * rng.uniform(0.86, 0.96), dark * rng.uniform(0.72, 0.9))
        size, girth, leg = rng.uniform(0.92, 1.08), rng.uniform(0.27, 0.33), rng.uniform(0.56, 0.66)
        patches = rng.choice([0.0, 0.0, 0.0, 0.25])
    elif species == "cow":
        wool = _toned((205.0, 198.0, 188.0), rng.uniform(0.75, 1.1))
        face = _toned((70.0, 45.0, 32.0), rng.uniform(0.5, 1.5))
        size, girth, leg = rng.uniform(1.35, 1.6), rng.uniform(0.25, 0.29), rng.uniform(0.7, 0.78)
        patches = rng.uniform(0.35, 0.6)
    elif species == "dog":
        wool = _toned((60.0, 48.0, 40.0), rng.uniform(0.5, 2.2))
        face = _toned(wool, rng.uniform(0.8, 1.2))
        size, girth, leg, patches = rng.uniform(0.55, 0.7), rng.uniform(0.15, 0.18), rng.uniform(0.55, 0.65), 0.0
    else:
        raise ConfigError(f"species: got {species!r}, expected sheep, cow or dog. Correct it.")
    horned = bool(rng.random() < (0.2 if species == "sheep" else 0.5 if species == "cow" else 0.0))
    return Coat(
        species=species,
        wool=wool,
        face=face,
        size=float(size),
        girth=float(girth),
        leg=float(leg),
        ear=float(rng.uniform(-0.6, 1)),
        horned=horned,
        patches=float(patches),
        texture_seed=int(rng.integers(2**31)),
    )


def make_skin(coat: Coat) -> Skin:
    """Generate the texture of a coat's body; equal coats give equal textures."""
    rng = np.random.default_rng(coat.texture_seed)
    shape = (TEXTURE_PX, TEXTURE_PX)
    woolly = coat.species == "sheep"
    fine = fractal(shape, 24, 2, rng)
    coarse = fractal(shape, 9, 2, rng)
    tone = 1 + (0.13 if woolly else 0.05) * fine + (0.10 if woolly else 0.03) * coarse
    patch = None
    if coat.patches > 0:
        blotch = fractal(shape, 3, 2, rng)
        patch = np.clip((blotch - np.quantile(blotch, 1 - coat.patches)) * 8, 0, 1).astype(np.float32)
    return Skin(
        tone=tone.astype(np.float32),
        bump=np.clip(coarse, -1.5, 1.5).astype(np.float32),
        patch=patch,
        patch_colour=coat.face,
        lumps=0.085 if woolly else 0.01,
        texels=26.0,
    )


def _mix(low: float, mid: float, high: float, level: float) -> float:
    """Interpolate linearly between (-1, low), (0, mid) and (1, high).

    Args:
        low: value at level -1.
        mid: value at level 0.
        high: value at level 1.
        level: usually -1 to 1; extrapolates beyond.
    """
    return mid + level * (high - mid if level > 0 else mid - low)


def _leg_joints(hip: tuple[float, float], foot: tuple[float, float], length: float, bend: float) -> tuple[float, float]:
    """Place the middle joint of a leg of two equal segments.

    Args:
        hip: (forward, up) in body units.
        foot: (forward, up) in body units.
        length: of the straight leg in body units.
        bend: 1 bends the joint forward, -1 backward.

    Returns:
        (forward, up) of the joint; on the line from hip to foot where the leg is stretched.
    """
    df, du = foot[0] - hip[0], foot[1] - hip[1]
    reach = math.hypot(df, du)
    out = math.sqrt(max(0.0, (length / 2) ** 2 - (reach / 2) ** 2)) * bend
    reach = max(reach, 1e-6)
    return hip[0] + df / 2 - du / reach * out, hip[1] + du / 2 + df / reach * out


class _Camera:
    """Projects body units of one pose to pixels."""

    def __init__(self, pose: Pose) -> None:
        self._pose = pose
        self._cos, self._sin = math.cos(pose.yaw), math.sin(pose.yaw)

    def __call__(self, forward: float, left: float, up: float) -> tuple[float, float]:
        """Project a point of the skeleton.

        Args:
            forward: towards the head, in body units.
            left: towards the animal's left side, in body units.
            up: above the ground, in body units.

        Returns:
            (x, y) [px].
        """
        across = forward * self._cos - left * self._sin
        away = forward * self._sin + left * self._cos
        unit = self._pose.unit_px
        return self._pose.x + unit * across, self._pose.y - unit * (up * CAMERA_COS + away * CAMERA_SIN)


def paint(canvas: Canvas, pose: Pose, coat: Coat, skin: Skin, sun: float) -> None:
    """Paint one animal with its shadow, and add the animal to `canvas.cover`.

    Args:
        canvas: painted in place.
        pose: position, size and joints.
        coat: appearance.
        skin: texture of that coat.
        sun: sideways direction of the light, -1 to 1; the shadow falls to the opposite side.
    """
    unit, camera = pose.unit_px, _Camera(pose)
    body_up = coat.leg + 0.14 if coat.species != "dog" else coat.leg + 0.06
    # Height of the spine: the straight legs hold it up, or the belly rests on the ground.
    height = coat.girth * 0.98 + (body_up - coat.girth * 0.98) * pose.upright
    canvas.shade(
        (pose.x - 0.15 * sun * unit, pose.y - 0.02 * unit),
        (unit * (0.45 + 0.5 * abs(math.cos(pose.yaw))), unit * 0.26),
        0.42,
    )
    # Farthest parts first: the end that points away from the camera is painted before the body hides part of it.
    _paint_legs(canvas, pose, coat, camera, height)
    facing_away = math.sin(pose.yaw) > 0.15
    if facing_away:
        _paint_head(canvas, pose, coat, camera, height)
    else:
        _paint_tail(canvas, pose, coat, camera, height)
    half = 0.34 if coat.species == "sheep" else 0.42
    rise = 0.02 * math.sin(4 * math.pi * pose.stride) * pose.speed
    rump, chest = camera(-half, 0, height + rise), camera(half, 0, height + 0.02 - rise)
    girth = coat.girth * (1 + 0.06 * (1 - pose.upright)) * unit
    canvas.segment(rump, chest, (girth * 0.97, girth), coat.wool, light=0.26, skin=skin, offset=pose.yaw * girth)
    if facing_away:
        _paint_tail(canvas, pose, coat, camera, height)
    else:
        _paint_head(canvas, pose, coat, camera, height)


def _paint_legs(canvas: Canvas, pose: Pose, coat: Coat, camera: _Camera, height: float) -> None:
    """Paint four legs, the far side first. Args as `_paint_head`."""
    thick = {"sheep": 0.055, "cow": 0.06, "dog": 0.04}[coat.species] * pose.unit_px
    half = 0.30 if coat.species == "sheep" else 0.40
    left_is_far = math.cos(pose.yaw) > 0  # facing right
    folded = 1 - pose.upright
    for left in (0.13, -0.13) if left_is_far else (-0.13, 0.13):
        colour = _toned(coat.face, 0.62 if (left > 0) == left_is_far else 0.9)
        for front in (False, True):
            # Diagonal legs move together, half a stride after the other pair.
            cycle = pose.stride + (0.5 if (left > 0) == front else 0.0)
            swing = math.sin(2 * math.pi * cycle) * 0.24 * pose.speed
            lift = max(0.0, math.cos(2 * math.pi * cycle)) * 0.13 * pose.speed
            hip_f = half if front else -half
            hip_u = max(height - 0.12 * pose.upright - 0.05, 0.1)
            foot_f = hip_f + swing + folded * (0.14 if front else 0.22)
            foot_u = lift + 0.05
            length = (coat.leg - 0.03) * (1 - 0.45 * folded)
            knee = _leg_joints((hip_f, hip_u), (foot_f, foot_u), length, 1.0 if front else -1.0)
            spread = left * (1 + 0.5 * folded)
            hip_px, foot_px = camera(hip_f, spread, hip_u), camera(foot_f, spread, foot_u)
            knee_px = camera(knee[0], spread, max(knee[1], 0.06))
            canvas.segment(hip_px, knee_px, (thick * 1.35, thick), colour, light=0.1)
            canvas.segment(knee_px, foot_px, (thick, thick * 0.85), colour, light=0.1)


def _paint_tail(canvas: Canvas, pose: Pose, coat: Coat, camera: _Camera, height: float) -> None:
    """Paint the tail. Args as `_paint_head`."""
    unit = pose.unit_px
    root = camera(-0.34 - coat.girth * 0.85, 0, height + coat.girth * 0.35)
    wag = 0.05 * math.sin(2 * math.pi * pose.stride)
    if coat.species == "dog":
        tip, radii = camera(-0.85, wag, height + 0.30), (0.035, 0.02)
    elif coat.species == "cow":
        tip, radii = camera(-0.80, wag, max(height - 0.35, 0.08)), (0.025, 0.04)
    else:
        tip, radii = camera(-0.40 - coat.girth, wag, max(height - 0.16, 0.08)), (0.055, 0.04)
    canvas.segment(root, tip, (radii[0] * unit, radii[1] * unit), _toned(coat.wool, 0.9))


def _paint_head(canvas: Canvas, pose: Pose, coat: Coat, camera: _Camera, height: float) -> None:
    """Paint neck, head, horn and ears.

    Args:
        canvas: painted in place.
        pose: position, size and joints.
        coat: appearance.
        camera: projection of that pose.
        height: of the spine in body units.
    """
    unit = pose.unit_px
    neck_length, head_length = _NECK[coat.species]
    level = max(-1.15, min(1.1, pose.neck + 0.05 * pose.chew))
    lying = 1 - pose.upright
    # A lying animal rests its chin on the ground; a standing one has to reach much deeper.
    neck_angle = _mix(-1.12 + 0.72 * lying, 0.30, 1.15, level)
    head_angle = _mix(-1.30 + 1.05 * lying, -0.42, -0.12, level) + 0.07 * pose.chew
    half = 0.34 if coat.species == "sheep" else 0.42
    # A standing animal that lowers its head also lowers its shoulders and stretches its neck.
    reach = max(0.0, -level) * (1 - lying)
    root = (half + 0.10 + 0.03 * reach, height + 0.10 - 0.12 * reach)
    stretch = neck_length * (1 + 0.15 * reach)
    poll = (root[0] + stretch * math.cos(neck_angle), max(root[1] + stretch * math.sin(neck_angle), 0.12))
    shift = 0.03 * pose.chew * reach
    nose = (
        poll[0] + head_length * math.cos(head_angle) + shift,
        max(poll[1] + head_length * math.sin(head_angle), 0.07),
    )
    thick = coat.girth / 0.30
    wool_neck = _toned(coat.wool, 0.96)
    root_px, poll_px, nose_px = camera(root[0], 0, root[1]), camera(poll[0], 0, poll[1]), camera(nose[0], 0, nose[1])
    side = 1.0 if math.cos(pose.yaw) > 0 else -1.0  # the left ear is the far one when facing right
    _paint_ear(canvas, coat, camera, poll, head_angle, 0.09 * side, unit, 0.7)
    canvas.segment(root_px, poll_px, (0.165 * thick * unit, 0.115 * thick * unit), wool_neck, light=0.24)
    canvas.segment(poll_px, nose_px, (0.10 * unit, 0.066 * unit), coat.face, light=0.25)
    if coat.horned:
        base, tip = camera(poll[0], -0.05 * side, poll[1] + 0.08), camera(poll[0] - 0.08, -0.10 * side, poll[1] + 0.19)
        canvas.segment(base, tip, (0.035 * unit, 0.015 * unit), (196.0, 184.0, 150.0))
    _paint_ear(canvas, coat, camera, poll, head_angle, -0.09 * side, unit, 0.95)


def _paint_ear(
    canvas: Canvas,
    coat: Coat,
    camera: _Camera,
    poll: tuple[float, float],
    angle: float,
    left: float,
    unit: float,
    tone: float,
) -> None:
    """Paint one ear.

    Args:
        canvas: painted in place.
        coat: droop and colour.
        camera: projection.
        poll: (forward, up) of the top of the head in body units.
        angle: of the head above the horizontal [rad].
        left: of the ear's base, in body units.
        unit: pixels per body unit.
        tone: factor on the colour; the far ear is darker.
    """
    base = (poll[0] - 0.02, poll[1] + 0.055)
    tip_f = base[0] - 0.10 * math.cos(angle)
    tip_u = base[1] + 0.06 - 0.13 * coat.ear - 0.04 * math.sin(angle)
    base_px, tip_px = camera(base[0], left, base[1]), camera(tip_f, left * 2.0, tip_u)
    canvas.segment(base_px, tip_px, (0.04 * unit, 0.025 * unit), _toned(coat.face, tone), light=0.1)
