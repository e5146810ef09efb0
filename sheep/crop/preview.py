"""Frames, masks and flags of one video -> a small MP4 that plays in any browser, to check the tracks visually.

Frames are encoded one at a time, so memory does not grow with the video. The bytes depend on what is drawn
only: x264 runs in one thread, and without macroblock trees (`mbtree`), which read uninitialised memory.
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
"""Bounds of the preview's longer side: larger frames are scaled down to `MAX_PX`, smaller ones up to `MIN_PX`."""
OUTLINE_RGB = ((0, 114, 178), (204, 121, 167), (86, 180, 233), (0, 158, 115), (240, 228, 66))
"""Colours of the outlines, cycled over animals (Okabe and Ito, 2008: colour-blind readers can tell them apart)."""
BOX_RGB = {"lost": (213, 94, 0), "jump": (213, 94, 0), "risk": (230, 159, 0), "reappeared": (230, 159, 0)}
"""Colour of a box by the first of its flags that is listed here; any other box is white."""

_CLOCK_HZ = 90_000
_CRF = "28"  # coarse: the preview is only viewed
_OPTIONS = {"crf": _CRF, "preset": "veryfast", "threads": "1", "g": "50", "x264-params": "mbtree=0"}
_LINE_PX = 14


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewAnimal:
    """One animal in one frame."""

    animal: str
    mask: NDArray[np.bool_]
    """(H, W), all False where it is lost."""
    box: tuple[float, float, float, float] | None
    """x0, y0, x1, y1 [px]; None where it is lost."""
    flags: tuple[str, ...] = ()
    """Names of the flags that are set, worst first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewFrame:
    """One frame and the animals in it."""

    image: NDArray[np.uint8]
    """(H, W, 3) RGB."""
    time_s: float
    """Seconds since the video's first frame."""
    animals: Sequence[PreviewAnimal]


def write(frames: Iterable[PreviewFrame], path: str) -> int:
    """Encode a preview: H.264 in MP4, yuv420p, even sizes, index first, shown at the video's own times.

    Args:
        frames: with rising times and images of one size; taken one at a time.
        path: local file to write or replace; FFmpeg opens it a second time at the end, to move the index to the front.

    Returns:
        Number of frames.

    Raises:
        ContractError: there are no frames, their size changes, or their times do not rise by at least 1 / 90,000 s.
    """
    first_s, last, count = 0.0, -1, 0
    shape: tuple[int, ...] = ()
    with av.open(path, "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=25, options=_OPTIONS)
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, _CLOCK_HZ)
        for frame in frames:
            if count == 0:
                first_s, shape = frame.time_s, frame.image.shape
                stream.width, stream.height = size_px(shape[1], shape[0])
            pts = round((frame.time_s - first_s) * _CLOCK_HZ)
            if frame.image.shape != shape or pts <= last:
                raise ContractError(
                    f"preview {path}: frame {count} is {frame.image.shape} at {frame.time_s} s, the one before is "
                    f"{shape} at {last / _CLOCK_HZ + first_s} s, expected one size and rising times. "
                    "This is a bug: report it."
                )
            picture = av.VideoFrame.from_ndarray(draw(frame), format="rgb24")
            picture.pts, picture.time_base = pts, Fraction(1, _CLOCK_HZ)
            container.mux(stream.encode(picture))
            last, count = pts, count + 1
        if count == 0:
            raise ContractError(f"preview {path}: no frames, expected at least one. This is a bug: report it.")
        container.mux(stream.encode())
    return count


def size_px(width: int, height: int) -> tuple[int, int]:
    """Compute the size of a preview: even, at least 2, the longer side from `MIN_PX` to `MAX_PX`.

    Args:
        width: of the video's frames [px], >= 1.
        height: of the video's frames [px], >= 1.

    Returns:
        (width, height) [px].
    """
    scale = min(max(max(width, height), MIN_PX), MAX_PX) / max(width, height)
    return max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))


def draw(frame: PreviewFrame) -> NDArray[np.uint8]:
    """Draw outlines, boxes, names, flags and the time on a scaled frame.

    Returns:
        (H, W, 3) uint8 RGB; width and height as `size_px` gives them.
    """
    height, width = frame.image.shape[:2]
    size = size_px(width, height)
    scaled = np.array(Image.fromarray(frame.image).resize(size, Image.Resampling.BILINEAR))
    for number, animal in enumerate(frame.animals):
        mask = np.asarray(Image.fromarray(animal.mask).resize(size, Image.Resampling.NEAREST))
        scaled[_border(mask)] = OUTLINE_RGB[number % len(OUTLINE_RGB)]
    canvas = Image.fromarray(scaled)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(11)
    lines = 0
    for animal in frame.animals:
        text = " ".join([animal.animal, *animal.flags])
        colour = next((BOX_RGB[flag] for flag in animal.flags if flag in BOX_RGB), (255, 255, 255))
        if animal.box is None:
            _label(pen, font, (0, lines * _LINE_PX), text, colour)
            lines += 1
            continue
        x0, x1 = (round(x * size[0] / width) for x in animal.box[0::2])
        y0, y1 = (round(y * size[1] / height) for y in animal.box[1::2])
        pen.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=colour)
        _label(pen, font, (min(x0, size[0] - 40), max(0, y0 - _LINE_PX)), text, colour)
    _label(pen, font, (0, size[1] - _LINE_PX), f"{frame.time_s:.2f} s", (255, 255, 255))
    return np.asarray(canvas)


def _border(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Outermost two pixels of a mask (H, W); the frame's border counts as outside."""
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
    text: str,
    colour: tuple[int, int, int],
) -> None:
    """Write dark text on a filled box, which is legible on any image."""
    x, y = corner
    pen.rectangle((x, y, x + pen.textlength(text, font=font) + 3, y + _LINE_PX - 1), fill=colour)
    pen.text((x + 2, y), text, fill="black", font=font)
