"""How an animal looks: coat and pose -> antialiased capsules painted on a planar canvas.

The body is a small three-dimensional skeleton (forward, left, up, in body units) seen by a camera that looks slightly
down. Each part is a segment with a radius at either end, painted only inside its own box, so the cost of an animal is
that of its pixels. Positions are real numbers: an animal that moves by a tenth of a pixel changes its edges by as much.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sheep.errors import ConfigError
from sheep.synthetic.pasture import fractal

Plane = NDArray[np.float32]
Colour = tuple[float, float, float]

NOSE_TO_TAIL = 1.62
"""Length of a standing sheep with a neutral head, in body units; pixels per unit = length / this."""
TEXTURE_PX = 128
CAMERA_SIN = 0.24
CAMERA_COS = 0.97


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
    """Ear droop, -1 up to 1 hanging."""
    horned: bool
    """Whether it has horns."""
    patches: float
    """Share of the body in the face's colour, 0 to 1."""
    texture_seed: int
    """Seed of the wool's texture."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pose:
    """One animal in one frame: ground point (x, y) [px], px per body unit, and the state of its joints."""

    x: float
    y: float
    unit_px: float
    yaw: float
    upright: float
    neck: float
    stride: float
    speed: float
    chew: float


def _toned(colour: Colour, tone: float) -> Colour:
    return colour[0] * tone, colour[1] * tone, colour[2] * tone


def draw_coat(rng: np.random.Generator, species: str = "sheep") -> Coat:
    """Draw one individual's appearance; `species` is sheep, cow or dog."""
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
        size, girth, leg, patches = (
            rng.uniform(1.35, 1.6),
            rng.uniform(0.25, 0.29),
            rng.uniform(0.7, 0.78),
            rng.uniform(0.35, 0.6),
        )
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


class Canvas:
    """A planar image (3, H, W) float32 to paint on, and the coverage (H, W) of the animal being painted."""

    def __init__(self, image: Plane) -> None:
        self.image = image
        self.cover: Plane = np.zeros_like(image[0])
        self._xs = np.arange(image.shape[2], dtype=np.float32)
        self._ys = np.arange(image.shape[1], dtype=np.float32)[:, None]

    def _span(self, low: float, high: float, axis: int) -> tuple[int, int]:
        """Pixels from low to high along an axis of the image, clipped to it; empty where stop <= start."""
        return max(0, math.floor(low)), min(self.image.shape[axis], math.ceil(high) + 1)

    def segment(
        self,
        a: tuple[float, float],
        b: tuple[float, float],
        radii: tuple[float, float],
        colour: Colour,
        *,
        light: float = 0.22,
        skin: "Skin | None" = None,
        offset: float = 0.0,
    ) -> None:
        """Paint a segment from a to b [px] whose radius goes from radii[0] to radii[1] [px]."""
        ra, rb = max(radii[0], 0.6), max(radii[1], 0.6)
        pad = 1.0 + (skin.lumps * ra if skin else 0.0)
        x0, x1 = self._span(min(a[0] - ra, b[0] - rb) - pad, max(a[0] + ra, b[0] + rb) + pad, 2)
        y0, y1 = self._span(min(a[1] - ra, b[1] - rb) - pad, max(a[1] + ra, b[1] + rb) + pad, 1)
        if x0 >= x1 or y0 >= y1:
            return
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
        off_x *= off_x
        off_y *= off_y
        off_x += off_y
        alpha = np.sqrt(off_x, out=off_x)
        np.subtract(radius, alpha, out=alpha)
        alpha += np.float32(0.5)
        colours: list[Plane | np.float32] = [np.float32(value) for value in colour]
        if skin is not None:
            iu = ((xs + np.float32(offset)) * np.float32(skin.texels / ra)).astype(np.int32) & (TEXTURE_PX - 1)
            iv = (ys * np.float32(skin.texels / ra)).astype(np.int32) & (TEXTURE_PX - 1)
            index = iv * TEXTURE_PX + iu
            alpha += skin.bump.take(index) * np.float32(skin.lumps * ra)
            tone *= skin.tone.take(index)
            if skin.patch is not None:
                patch = skin.patch.take(index)
                colours = [
                    value + patch * np.float32(other - value)
                    for value, other in zip(colour, skin.patch_colour, strict=True)
                ]
        np.maximum(alpha, 0, out=alpha)
        np.minimum(alpha, 1, out=alpha)
        for channel in range(3):
            under = self.image[channel, y0:y1, x0:x1]
            under += alpha * (tone * colours[channel] - under)
        cover = self.cover[y0:y1, x0:x1]
        cover += alpha * (1 - cover)

    def shade(self, centre: tuple[float, float], radii: tuple[float, float], strength: float) -> None:
        """Darken a soft ellipse of the ground by at most `strength`."""
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Skin:
    """A tileable texture for a body.

    Tone (factor), bump (silhouette, -1 to 1) and patch (0 to 1), TEXTURE_PX square.
    """

    tone: Plane
    bump: Plane
    patch: Plane | None
    patch_colour: Colour
    lumps: float
    texels: float


def make_skin(coat: Coat) -> Skin:
    """The texture of a coat's body, the same for the same coat."""
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


_NECK = {"sheep": (0.40, 0.29), "cow": (0.42, 0.36), "dog": (0.26, 0.24)}
"""Species -> length of neck and head in body units."""


def _mix(low: float, mid: float, high: float, level: float) -> float:
    """Piecewise linear through (-1, low), (0, mid), (1, high)."""
    return mid + level * (high - mid if level > 0 else mid - low)


def _leg_joints(hip: tuple[float, float], foot: tuple[float, float], length: float, bend: float) -> tuple[float, float]:
    """Middle joint of a leg of two equal segments, in the plane (forward, up); `bend` 1 forward, -1 backward."""
    df, du = foot[0] - hip[0], foot[1] - hip[1]
    reach = math.hypot(df, du)
    out = math.sqrt(max(0.0, (length / 2) ** 2 - (reach / 2) ** 2)) * bend
    reach = max(reach, 1e-6)
    return hip[0] + df / 2 - du / reach * out, hip[1] + du / 2 + df / reach * out


class _Camera:
    """Body units of one pose -> pixels."""

    def __init__(self, pose: Pose) -> None:
        self._pose = pose
        self._cos, self._sin = math.cos(pose.yaw), math.sin(pose.yaw)

    def __call__(self, forward: float, left: float, up: float) -> tuple[float, float]:
        across = forward * self._cos - left * self._sin
        away = forward * self._sin + left * self._cos
        unit = self._pose.unit_px
        return self._pose.x + unit * across, self._pose.y - unit * (up * CAMERA_COS + away * CAMERA_SIN)


def paint(canvas: Canvas, pose: Pose, coat: Coat, skin: Skin, sun: float) -> None:
    """Paint one animal; afterwards canvas.cover holds its coverage (0 to 1) on top of what it held before.

    Args:
        canvas: painted in place.
        pose: where and how.
        coat: who.
        skin: the texture of that coat.
        sun: sideways direction of the light, -1 to 1.
    """
    unit, camera = pose.unit_px, _Camera(pose)
    body_up = coat.leg + 0.14 if coat.species != "dog" else coat.leg + 0.06
    height = coat.girth * 0.98 + (body_up - coat.girth * 0.98) * pose.upright
    canvas.shade(
        (pose.x - 0.15 * sun * unit, pose.y - 0.02 * unit),
        (unit * (0.45 + 0.5 * abs(math.cos(pose.yaw))), unit * 0.26),
        0.42,
    )
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
    unit = pose.unit_px
    thick = {"sheep": 0.055, "cow": 0.06, "dog": 0.04}[coat.species] * unit
    half = 0.30 if coat.species == "sheep" else 0.40
    near_first = math.cos(pose.yaw) > 0  # the left side is the far side when the animal looks right
    for left in (0.13, -0.13) if near_first else (-0.13, 0.13):
        far = (left > 0) == near_first
        colour = _toned(coat.face, 0.62 if far else 0.9)
        for front in (False, True):
            cycle = pose.stride + (0.5 if (left > 0) == front else 0.0)
            swing = math.sin(2 * math.pi * cycle) * 0.24 * pose.speed
            lift = max(0.0, math.cos(2 * math.pi * cycle)) * 0.13 * pose.speed
            hip_f = half if front else -half
            hip_u = max(height - 0.12 * pose.upright - 0.05, 0.1)
            folded = 1 - pose.upright
            foot_f = hip_f + swing + folded * (0.14 if front else 0.22)
            foot_u = lift + 0.05
            knee = _leg_joints(
                (hip_f, hip_u), (foot_f, foot_u), (coat.leg - 0.03) * (1 - 0.45 * folded), 1.0 if front else -1.0
            )
            spread = left * (1 + 0.5 * folded)
            hip_px, knee_px, foot_px = (
                camera(hip_f, spread, hip_u),
                camera(knee[0], spread, max(knee[1], 0.06)),
                camera(foot_f, spread, foot_u),
            )
            canvas.segment(hip_px, knee_px, (thick * 1.35, thick), colour, light=0.1)
            canvas.segment(knee_px, foot_px, (thick, thick * 0.85), colour, light=0.1)


def _paint_tail(canvas: Canvas, pose: Pose, coat: Coat, camera: _Camera, height: float) -> None:
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
    unit = pose.unit_px
    neck_length, head_length = _NECK[coat.species]
    level = max(-1.15, min(1.1, pose.neck + 0.05 * pose.chew))
    lying = 1 - pose.upright
    # A lying animal rests its chin on the ground; a standing one has to reach much deeper.
    neck_angle = _mix(-1.12 + 0.72 * lying, 0.30, 1.15, level)
    head_angle = _mix(-1.30 + 1.05 * lying, -0.42, -0.12, level) + 0.07 * pose.chew
    half = 0.34 if coat.species == "sheep" else 0.42
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
    side = 1.0 if math.cos(pose.yaw) > 0 else -1.0  # the left ear is the far one when looking right
    _paint_ear(canvas, coat, camera, poll, head_angle, 0.09 * side, unit, 0.7)
    canvas.segment(root_px, poll_px, (0.165 * thick * unit, 0.115 * thick * unit), wool_neck, light=0.24)
    canvas.segment(poll_px, nose_px, (0.10 * unit, 0.066 * unit), coat.face, light=0.25)
    if coat.horned:
        tip = camera(poll[0] - 0.08, -0.10 * side, poll[1] + 0.19)
        canvas.segment(
            camera(poll[0], -0.05 * side, poll[1] + 0.08), tip, (0.035 * unit, 0.015 * unit), (196.0, 184.0, 150.0)
        )
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
    base = (poll[0] - 0.02, poll[1] + 0.055)
    tip_f = base[0] - 0.10 * math.cos(angle)
    tip_u = base[1] + 0.06 - 0.13 * coat.ear - 0.04 * math.sin(angle)
    colour = _toned(coat.face, tone)
    canvas.segment(
        camera(base[0], left, base[1]), camera(tip_f, left * 2.0, tip_u), (0.04 * unit, 0.025 * unit), colour, light=0.1
    )
