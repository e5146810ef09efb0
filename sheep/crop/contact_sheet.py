"""Frames, masks and crops of one video -> one contact sheet, to check visually what was tracked.

The crop stage draws one tile at a time, while its frame and mask are in memory, and arranges the tiles at the end of
the video. A tile shows the frame with the mask on it, the crop beneath and the time; a note such as "lost" is written
over the frame.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sheep.errors import ContractError

MASK_RGB = (0, 90, 255)
"""Blue: contrasts with pasture, wool and soil, for colour-blind readers too."""
NOTE_RGB = (213, 94, 0)
"""Orange-red, the background of a note."""

_TILE_PX = 160
_GAP_PX = 8
_TITLE_PX = 26
_TIME_PX = 18
_MAX_TITLE_CHARACTERS = 110


@dataclass(frozen=True, slots=True)
class Tile:
    """One animal in one frame."""

    frame: NDArray[np.uint8]
    """(H, W, 3) RGB, the decoded frame."""
    mask: NDArray[np.bool_]
    """(H, W), True on the animal; all False where it is lost."""
    crop: NDArray[np.uint8]
    """(S, S, 3) RGB, the crop that is stored."""
    time_s: float
    """Seconds since the first frame."""
    note: str = ""
    """Written over the frame, e.g. `lost`; empty for none."""


def overlay(frame: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Draw a mask on a frame: a light fill and an outline one pixel wide, inside the mask.

    Args:
        frame: (H, W, 3) uint8 RGB.
        mask: (H, W) bool. The frame's border counts as outside, so a mask that touches it is outlined there too.

    Returns:
        (H, W, 3) uint8 RGB, a new array; equal to the frame outside the mask.

    Raises:
        ContractError: shapes or types differ from the above.
    """
    _require_image(frame, "frame")
    if mask.shape != frame.shape[:2] or mask.dtype != np.bool_:
        raise ContractError(
            f"overlay: mask is {mask.shape} {mask.dtype}, expected {frame.shape[:2]} bool. This is a bug: report it."
        )
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    drawn = frame.copy()
    colour = np.array(MASK_RGB, dtype=np.float32)
    drawn[mask] = (0.75 * frame[mask] + 0.25 * colour).astype(np.uint8)
    drawn[mask & ~inner] = MASK_RGB
    return drawn


def contact_sheet(tiles: Sequence[NDArray[np.uint8]], *, title: str, columns: int = 6) -> bytes:
    """Arrange tiles in rows, left to right and top to bottom.

    Args:
        tiles: at least one, each (H, 160, 3) uint8 RGB from `draw`; heights may differ.
        title: written above the tiles, e.g. the video; the end is kept where it is too long.
        columns: tiles per row; >= 1.

    Returns:
        A JPEG, RGB, about 168 px wide per column.

    Raises:
        ContractError: no tiles, or columns below 1.
    """
    if not tiles or columns < 1:
        raise ContractError(
            f"contact sheet: got {len(tiles)} tiles and {columns} columns, expected at least one of each. "
            "This is a bug: report it."
        )
    drawn = [Image.fromarray(tile) for tile in tiles]
    columns = min(columns, len(drawn))
    height = max(tile.height for tile in drawn)
    rows = -(-len(drawn) // columns)
    sheet = Image.new("RGB", (_GAP_PX + columns * (_TILE_PX + _GAP_PX), _TITLE_PX + rows * (height + _GAP_PX)), "white")
    ImageDraw.Draw(sheet).text((_GAP_PX, 5), _one_line(title), fill="black", font=ImageFont.load_default(14))
    for index, tile in enumerate(drawn):
        row, column = divmod(index, columns)
        sheet.paste(tile, (_GAP_PX + column * (_TILE_PX + _GAP_PX), _TITLE_PX + row * (height + _GAP_PX)))
    stream = io.BytesIO()
    # Full chroma resolution, since the outline is one pixel wide.
    sheet.save(stream, format="JPEG", quality=85, subsampling=0)
    return stream.getvalue()


def draw(tile: Tile) -> NDArray[np.uint8]:
    """Draw one tile: about 100 KiB in place of a frame, a mask and a crop of any size.

    Returns:
        (H, 160, 3) uint8 RGB.

    Raises:
        ContractError: the tile's arrays do not fit each other.
    """
    _require_image(tile.crop, "crop")
    frame, mask = _shrink(tile.frame, tile.mask)
    scene = Image.fromarray(overlay(frame, mask))
    crop = Image.fromarray(tile.crop).resize((_TILE_PX, _TILE_PX), Image.Resampling.BILINEAR)
    canvas = Image.new("RGB", (_TILE_PX, scene.height + _TILE_PX + _TIME_PX + 2), "white")
    canvas.paste(scene, (0, 0))
    canvas.paste(crop, (0, scene.height + 2))
    pen = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(12)
    pen.text((2, canvas.height - _TIME_PX + 2), f"{tile.time_s:.1f} s", fill="black", font=font)
    if tile.note:
        note = _one_line(tile.note)
        pen.rectangle((0, 0, pen.textlength(note, font=font) + 8, 17), fill=NOTE_RGB)
        pen.text((4, 1), note, fill="white", font=font)
    return np.asarray(canvas)


def _shrink(frame: NDArray[np.uint8], mask: NDArray[np.bool_]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Scale both to the tile's width; a mask that covers half of no pixel keeps every pixel that it touches.

    Args:
        frame: (H, W, 3) uint8 RGB.
        mask: (H, W) bool.
    """
    _require_image(frame, "frame")
    if mask.shape != frame.shape[:2]:
        raise ContractError(
            f"contact sheet: mask is {mask.shape}, expected {frame.shape[:2]}. This is a bug: report it."
        )
    size = (_TILE_PX, max(1, round(frame.shape[0] * _TILE_PX / frame.shape[1])))
    scene = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX))
    cover = np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX))
    half = cover >= 128
    return scene, half if half.any() else cover > 0


def _require_image(image: NDArray[np.uint8], name: str) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise ContractError(
            f"contact sheet: {name} is {image.shape} {image.dtype}, expected (H, W, 3) uint8. This is a bug: report it."
        )


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_TITLE_CHARACTERS else "..." + line[-_MAX_TITLE_CHARACTERS + 3 :]
