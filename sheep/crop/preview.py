"""Frames, masks and flags of one video -> a small mp4 that plays in any browser.

So that a person can watch what was followed.

Frames come one at a time and are encoded at once, so memory does not grow with the video. The bytes depend on nothing
but what is drawn: one thread, and none of x264's code that reads unwritten memory.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sheep.errors import ContractError

MAX_PX, MIN_PX = 640, 320
"""Longer side of the preview: larger frames are scaled down to the one, smaller ones enlarged to the other."""
OUTLINE_RGB = ((0, 114, 178), (204, 121, 167), (86, 180, 233), (0, 158, 115), (240, 228, 66))
"""Of the masks, by animal in the order given, over and over (Okabe and Ito, 2008: colour-blind readers can tell them
apart)."""
BOX_RGB = {"lost": (213, 94, 0), "jump": (213, 94, 0), "risk": (230, 159, 0), "reappeared": (230, 159, 0)}
"""Of a box with such a flag: its first flag counts. Any other box is white."""

_CLOCK_HZ = 90_000
_CRF = "28"  # watched, not measured
_OPTIONS = {"crf": _CRF, "preset": "veryfast", "threads": "1", "g": "50", "x264-params": "mbtree=0"}
_LINE_PX = 14


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """One animal in one frame."""

    animal: str
    mask: NDArray[np.bool_]
    """(H, W), all False where it is lost."""
    box: tuple[float, float, float, float] | None
    """x0, y0, x1, y1 [px]; None where it is lost."""
    flags: tuple[str, ...] = ()
    """What is said of the frame, worst first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """One frame and the animals in it."""

    image: NDArray[np.uint8]
    """(H, W, 3) RGB."""
    time_s: float
    """Seconds since the video's first frame."""
    animals: Sequence[Drawn]


def write(moments: Iterable[Moment], path: str) -> int:
    """Encode a preview: H.264 in mp4, yuv420p, even sizes, its index first, played at the video's own times.

    Args:
        moments: with rising times and images of one size; taken one at a time.
        path: local file to write or replace. The index is moved to the front at the end, for which FFmpeg has to open
            it again.

    Returns:
        Number of frames.

    Raises:
        ContractError: there is none, their size changes, or their times do not rise by at least 1 / 90,000 s.
    """
    first_s, last, count = 0.0, -1, 0
    shape: tuple[int, ...] = ()
    with av.open(path, "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25, options=_OPTIONS)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, _CLOCK_HZ)
        for moment in moments:
            if count == 0:
                first_s, shape = moment.time_s, moment.image.shape
                stream.width, stream.height = size_px(shape[1], shape[0])
            pts = round((moment.time_s - first_s) * _CLOCK_HZ)
            if moment.image.shape != shape or pts <= last:
                raise ContractError(
                    f"preview {path}: frame {count} is {moment.image.shape} at {moment.time_s} s after {shape} at "
                    f"{last / _CLOCK_HZ + first_s} s, "
                    "expected one size and rising times. This is a bug: report it."
                )
            frame = av.VideoFrame.from_ndarray(draw(moment), format="rgb24")
            frame.pts, frame.time_base = pts, Fraction(1, _CLOCK_HZ)
            container.mux(stream.encode(frame))
            last, count = pts, count + 1
        if count == 0:
            raise ContractError(f"preview {path}: no frames, expected at least one. This is a bug: report it.")
        container.mux(stream.encode())
    return count


def size_px(width: int, height: int) -> tuple[int, int]:
    """Width and height of the preview of such frames: even, at least 2, the longer side `MIN_PX` to `MAX_PX`."""
    scale = min(max(max(width, height), MIN_PX), MAX_PX) / max(width, height)
    return max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))


def draw(moment: Moment) -> NDArray[np.uint8]:
    """Draw outlines, boxes, names, flags and the time on a scaled frame; (H, W, 3) of `size_px`."""
    height, width = moment.image.shape[:2]
    size = size_px(width, height)
    scaled = np.array(Image.fromarray(moment.image).resize(size, Image.Resampling.BILINEAR))
    for number, animal in enumerate(moment.animals):
        mask = np.asarray(Image.fromarray(animal.mask).resize(size, Image.Resampling.NEAREST))
        scaled[_border(mask)] = OUTLINE_RGB[number % len(OUTLINE_RGB)]
    canvas = Image.fromarray(scaled)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(11)
    lines = 0
    for animal in moment.animals:
        words = " ".join([animal.animal, *animal.flags])
        colour = next((BOX_RGB[flag] for flag in animal.flags if flag in BOX_RGB), (255, 255, 255))
        if animal.box is None:
            _label(pen, font, (0, lines * _LINE_PX), words, colour)
            lines += 1
            continue
        x0, x1 = (round(x * size[0] / width) for x in animal.box[0::2])
        y0, y1 = (round(y * size[1] / height) for y in animal.box[1::2])
        pen.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=colour)
        _label(pen, font, (min(x0, size[0] - 40), max(0, y0 - _LINE_PX)), words, colour)
    _label(pen, font, (0, size[1] - _LINE_PX), f"{moment.time_s:.2f} s", (255, 255, 255))
    return np.asarray(canvas)


def _border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The outer two pixels of a mask (H, W); the frame's border counts as outside."""
    inner = mask
    for _ in range(2):
        padded = np.pad(inner, 1)
        inner = inner & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    border: NDArray[np.bool_] = mask & ~inner
    return border


def _label(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    corner: tuple[int, int],
    words: str,
    colour: tuple[int, int, int],
) -> None:
    """Dark words on the colour, so that they can be read on any picture."""
    x, y = corner
    pen.rectangle((x, y, x + pen.textlength(words, font=font) + 3, y + _LINE_PX - 1), fill=colour)
    pen.text((x + 2, y), words, fill="black", font=font)
