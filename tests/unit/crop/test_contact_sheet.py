"""The contact sheet: masks are drawn at their place only, tiles keep their order, invalid tiles are refused."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sheep.crop.contact_sheet import MASK_RGB, NOTE_RGB, Tile, contact_sheet, draw, overlay
from sheep.errors import ContractError


def tile(
    value: int, *, mask: NDArray[np.bool_] | None = None, note: str = "", size: tuple[int, int] = (120, 160)
) -> Tile:
    frame = np.full((*size, 3), value, dtype=np.uint8)
    empty = np.zeros(size, dtype=bool)
    crop = np.full((96, 96, 3), value, dtype=np.uint8)
    return Tile(frame=frame, mask=empty if mask is None else mask, crop=crop, time_s=1.5, note=note)


def decode(jpeg: bytes) -> NDArray[np.int16]:
    image = Image.open(io.BytesIO(jpeg))
    assert image.format == "JPEG"
    return np.asarray(image.convert("RGB")).astype(np.int16)


def test_overlay_outlines_the_mask_and_changes_nothing_else() -> None:
    frame = np.full((7, 8, 3), 100, dtype=np.uint8)
    mask = np.zeros((7, 8), dtype=bool)
    mask[1:6, 2:7] = True
    drawn = overlay(frame, mask)
    assert np.array_equal(drawn[~mask], frame[~mask])
    outline = (drawn == MASK_RGB).all(axis=-1)
    assert outline.sum() == 16  # the border of a 5 x 5 square
    assert np.array_equal(drawn[3, 4], (75, 97, 138))  # three quarters of 100, one quarter of the colour
    assert (frame == 100).all()


def test_overlay_outlines_a_mask_along_the_frame_border() -> None:
    drawn = overlay(np.zeros((4, 5, 3), dtype=np.uint8), np.ones((4, 5), dtype=bool))
    outline = (drawn == MASK_RGB).all(axis=-1)
    assert outline[0].all()
    assert outline[:, -1].all()
    assert not outline[1:-1, 1:-1].any()


def test_overlay_of_an_empty_mask_is_the_frame() -> None:
    frame = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    assert np.array_equal(overlay(frame, np.zeros((4, 5), dtype=bool)), frame)


@pytest.mark.parametrize(
    ("frame", "mask"),
    [
        (np.zeros((4, 5, 3), dtype=np.uint8), np.zeros((5, 4), dtype=bool)),
        (np.zeros((4, 5, 3), dtype=np.uint8), np.zeros((4, 5), dtype=np.uint8)),
        (np.zeros((4, 5, 3), dtype=np.float32), np.zeros((4, 5), dtype=bool)),
    ],
)
def test_overlay_refuses_other_shapes_and_types(frame: NDArray[np.uint8], mask: NDArray[np.bool_]) -> None:
    with pytest.raises(ContractError, match="expected"):
        overlay(frame, mask)


def test_sheet_has_its_tiles_row_by_row() -> None:
    sheet = decode(contact_sheet([draw(tile(value)) for value in (40, 120, 200)], title="pen1/a.mp4", columns=2))
    height = 120 + 160 + 20
    assert sheet.shape == (26 + 2 * (height + 8), 8 + 2 * 168, 3)
    for value, y, x in ((40, 26 + 60, 8 + 80), (120, 26 + 60, 8 + 168 + 80), (200, 26 + height + 8 + 60, 8 + 80)):
        assert abs(sheet[y, x] - value).max() <= 3  # the frame
        assert abs(sheet[y + 130, x] - value).max() <= 3  # its crop below
    assert (sheet[26 + height + 8 + 60, 8 + 168 + 80] > 250).all()  # no fourth tile


def test_sheet_is_as_wide_as_its_tiles_and_accepts_frames_of_any_size() -> None:
    sheet = decode(
        contact_sheet([draw(tile(90, size=size)) for size in ((2000, 1000), (30, 300))], title="", columns=6)
    )
    assert sheet.shape[1] == 8 + 2 * 168
    assert sheet.shape[0] == 26 + 320 + 160 + 20 + 8


def test_sheet_keeps_a_mask_far_smaller_than_a_pixel_of_the_tile() -> None:
    mask = np.zeros((1200, 1600), dtype=bool)
    mask[605, 805] = True
    sheet = decode(contact_sheet([draw(tile(120, mask=mask, size=(1200, 1600)))], title=""))
    around = sheet[26 + 55 : 26 + 66, 8 + 75 : 8 + 86]
    assert (around[..., 2] - around[..., 0]).max() > 100


def test_sheet_writes_the_note_on_the_frame() -> None:
    plain, noted = (decode(contact_sheet([draw(tile(90, note=note))], title="")) for note in ("", "lost"))
    assert abs(plain[26 + 2, 8 + 2] - 90).max() <= 3
    assert abs(noted[26 + 2, 8 + 2] - np.array(NOTE_RGB)).max() <= 12


def test_sheet_accepts_any_title() -> None:
    contact_sheet([draw(tile(90))], title="a very long name \n" * 40 + "\u7f8a.mp4")


def test_no_tiles_no_columns_and_a_mask_of_another_size_are_refused() -> None:
    with pytest.raises(ContractError, match="0 tiles and 6 columns"):
        contact_sheet([], title="")
    with pytest.raises(ContractError, match="1 tiles and 0 columns"):
        contact_sheet([draw(tile(90))], title="", columns=0)
    with pytest.raises(ContractError, match="mask is"):
        draw(tile(90, mask=np.zeros((3, 3), dtype=bool)))
