"""Geometry of crops, compared with values computed by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray

from sheep.crop import codec, geometry

FRAME_PX = (100, 200)  # height, width


def mask(y0: int, y1: int, x0: int, x1: int) -> NDArray[np.bool_]:
    found = np.zeros(FRAME_PX, dtype=bool)
    found[y0:y1, x0:x1] = True
    return found


def boxes(centres_x: NDArray[np.floating], *, width: float = 20, height: float = 10) -> NDArray[np.float64]:
    """Return boxes (F, 4) around (x, 50)."""
    x = np.asarray(centres_x, float)
    return np.stack(
        [x - width / 2, np.full(len(x), 50 - height / 2), x + width / 2, np.full(len(x), 50 + height / 2)], 1
    )


def windows_of(
    held: NDArray[np.float64], *, fps: float = 10, margin_frac: float = 0.2, smooth_s: float = 0.6
) -> NDArray[np.float64]:
    return geometry.windows(held, np.arange(len(held)) / fps, FRAME_PX, margin_frac=margin_frac, smooth_s=smooth_s)


def centre_x(windows: NDArray[np.float64]) -> NDArray[np.float64]:
    middle: NDArray[np.float64] = windows[:, 0] + windows[:, 2] / 2
    return middle


def test_outline_of_a_mask() -> None:
    found = mask(10, 30, 40, 45)
    assert geometry.outline(found) == geometry.Outline((40.0, 10.0, 45.0, 30.0), 100, False)
    found[30, 45] = True  # connected at a corner
    assert geometry.outline(found) == geometry.Outline((40.0, 10.0, 46.0, 31.0), 101, False)
    assert geometry.outline(mask(0, 0, 0, 0)) == geometry.Outline(None, 0, False)


def test_specks_do_not_widen_the_box() -> None:
    found = mask(10, 30, 40, 45) | mask(0, 3, 150, 155)  # 100 px, and 15 px at the border far away
    found[20, 50] = True
    assert geometry.outline(found) == geometry.Outline((40.0, 10.0, 45.0, 30.0), 116, False)
    assert geometry.bounds(found) == (40, 0, 155, 30)
    np.testing.assert_array_equal(geometry.largest(found), mask(10, 30, 40, 45))
    assert not geometry.largest(mask(0, 0, 0, 0)).any()


def test_the_first_of_equal_pieces_is_kept() -> None:
    np.testing.assert_array_equal(geometry.largest(mask(5, 9, 60, 64) | mask(20, 24, 10, 14)), mask(5, 9, 60, 64))


@pytest.mark.parametrize(
    ("sides", "edge"),
    [
        ((1, 99, 1, 199), False),
        ((0, 9, 5, 9), True),
        ((5, 100, 5, 9), True),
        ((5, 9, 0, 9), True),
        ((5, 9, 9, 200), True),
    ],
)
def test_a_mask_at_the_border_is_at_the_edge(sides: tuple[int, int, int, int], edge: bool) -> None:
    assert geometry.outline(mask(*sides)).edge is edge


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_run_lengths_round_trip(share: float) -> None:
    found = np.random.default_rng(0).random((37, 53)) < share
    np.testing.assert_array_equal(codec.from_rle(codec.to_rle(found), 37, 53), found)


def test_run_lengths_are_those_of_coco() -> None:
    column_major = np.zeros((3, 2), dtype=bool)
    column_major[:, 1] = True  # three off, three on: COCO counts column by column
    assert codec.to_rle(column_major) == b"33"


def test_a_still_animal_has_a_still_square_window_around_it() -> None:
    found = windows_of(boxes(np.full(30, 80)))
    np.testing.assert_allclose(found, np.tile([80 - 12, 50 - 12, 24], (30, 1)))  # a box of 20 px, and a fifth more


def test_without_smoothing_the_window_follows_exactly() -> None:
    x = 60 + 40 * np.random.default_rng(0).random(20)
    found = windows_of(boxes(x), smooth_s=0, margin_frac=0)
    np.testing.assert_allclose(centre_x(found), x)
    np.testing.assert_allclose(found[:, 2], 20)


def test_jitter_is_smoothed_away() -> None:
    jitter = np.where(np.arange(60) % 2, 1.0, -1.0)
    moved = np.abs(np.diff(centre_x(windows_of(boxes(80 + jitter)))))
    assert moved[5:-5].max() < 0.03  # the box moves by 2 px in each frame
    assert moved.max() < 0.15  # at the ends fewer frames are averaged
    assert np.ptp(windows_of(boxes(np.full(60, 80), width=20.0) + jitter[:, None] * [-0.5, 0, 0.5, 0])[:, 2]) < 0.05


def test_the_window_neither_lags_nor_leads() -> None:
    ramp = np.linspace(40, 160, 61)
    found = centre_x(windows_of(boxes(ramp)))
    np.testing.assert_allclose(found[15:-15], ramp[15:-15], atol=1e-6)
    there_and_back = 100 + 40 * np.sin(np.linspace(0, np.pi, 61))
    found = centre_x(windows_of(boxes(there_and_back)))
    np.testing.assert_allclose(found, found[::-1], atol=1e-9)
    assert int(found.argmax()) == 30


def test_the_window_grows_before_the_animal_does() -> None:
    held = boxes(np.full(40, 100))
    held[20:, [0, 2]] = [70, 130]  # from 20 to 60 px wide
    side = windows_of(held, margin_frac=0.0)[:, 2]
    assert side[0] == pytest.approx(20)
    # The animal is whole in the first wide frame already: smoothing never cuts it.
    assert side[20] == pytest.approx(60, abs=2)
    assert (np.diff(side) > -1e-9).all()
    assert np.diff(side).max() < 10


def test_while_lost_the_window_moves_straight_and_is_held_at_the_ends() -> None:
    x = np.full(20, np.nan)
    x[[4, 14]] = [60, 110]
    found = centre_x(windows_of(boxes(x), smooth_s=0))
    np.testing.assert_allclose(found[:5], 60)
    np.testing.assert_allclose(found[4:15], 60 + 5 * np.arange(11))
    np.testing.assert_allclose(found[14:], 110)


def test_lost_time_counts_in_seconds_not_frames() -> None:
    held = boxes(np.array([60.0, np.nan, 100]))
    found = geometry.windows(held, np.array([0.0, 3.0, 4.0]), FRAME_PX, margin_frac=0, smooth_s=0)
    np.testing.assert_allclose(centre_x(found), [60, 90, 100])


def test_an_animal_never_seen_gets_the_largest_centred_square() -> None:
    np.testing.assert_allclose(windows_of(np.full((4, 4), np.nan)), np.tile([50, 0, 100], (4, 1)))


def test_one_frame_is_enough() -> None:
    np.testing.assert_allclose(windows_of(boxes(np.array([80.0]))), [[68, 38, 24]])


def test_a_window_that_fits_is_moved_inside() -> None:
    found = windows_of(boxes(np.array([3.0] * 5)), smooth_s=0)
    np.testing.assert_allclose(found, np.tile([0, 38, 24], (5, 1)))
    found = windows_of(boxes(np.array([199.0] * 5)), smooth_s=0)
    np.testing.assert_allclose(found, np.tile([176, 38, 24], (5, 1)))


def test_a_window_larger_than_the_frame_is_centred_on_it() -> None:
    found = windows_of(boxes(np.array([30.0] * 5), width=100, height=10), margin_frac=0.5, smooth_s=0)
    np.testing.assert_allclose(found, np.tile([0, -25, 150], (5, 1)))  # a side of 150 fits the width, not the height


@pytest.fixture(scope="module")
def image() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 255, (*FRAME_PX, 3), dtype=np.uint8)


def test_whole_pixels_are_cut_unchanged(image: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(geometry.cut(image, np.array([30.0, 20, 64]), 64), image[20:84, 30:94])
    np.testing.assert_array_equal(geometry.cut(image, np.array([136.0, 36, 64]), 64), image[36:, 136:])


def test_outside_the_frame_is_grey(image: NDArray[np.uint8]) -> None:
    found = geometry.cut(image, np.array([-10.0, 60, 64]), 64)  # 10 columns and 24 rows are outside
    np.testing.assert_array_equal(found[:40, 10:], image[60:, :54])
    assert (found[:, :10] == 114).all()
    assert (found[40:] == 114).all()


def test_a_shift_of_half_a_pixel_mixes_neighbours() -> None:
    ramp = np.tile(np.arange(200, dtype=np.uint8)[None, :, None], (100, 1, 3))
    found = geometry.cut(ramp, np.array([10.0, 10, 40]), 20)  # two columns become one
    np.testing.assert_allclose(found[5, 1:-1, 0], 10.5 + 2 * np.arange(1, 19), atol=0.6)


def test_a_mask_is_cut_by_the_same_window_as_its_frame() -> None:
    found = mask(30, 50, 40, 70)
    whole = geometry.cut_mask(found, np.array([30.0, 20, 64]), 64, grow_frac=0)
    np.testing.assert_array_equal(whole, found[20:84, 30:94])
    half = geometry.cut_mask(found, np.array([30.0, 20, 64]), 32, grow_frac=0)
    np.testing.assert_array_equal(half, found[21:84:2, 31:94:2])  # the centre is between two pixels: the second counts
    outside = geometry.cut_mask(mask(80, 100, 0, 30), np.array([-10.0, 60, 64]), 64, grow_frac=0)
    expected = np.zeros((64, 64), bool)
    expected[20:40, 10:40] = True
    np.testing.assert_array_equal(outside, expected)


def test_the_cut_mask_is_the_largest_piece_dilated_by_a_disc() -> None:
    found = mask(50, 52, 100, 102) | mask(40, 41, 90, 91)  # 4 px and a speck of one
    window = np.array([76.0, 26, 50])  # the animal at its centre
    grown = geometry.cut_mask(found, window, 50, grow_frac=0.04)  # by 2 px
    rows, columns = np.mgrid[:50, :50]
    away = (
        np.maximum(0, [24 - rows, rows - 25]).max(axis=0) ** 2 + np.maximum(0, [24 - columns, columns - 25]).max(0) ** 2
    )
    np.testing.assert_array_equal(grown, away <= 4)
    assert grown.sum() == 4 + 4 * 4 + 4  # the piece, two rows of two on each side, and one pixel at each corner
    assert not geometry.cut_mask(mask(0, 0, 0, 0), window, 50, grow_frac=0.04).any()
    assert not geometry.cut_mask(mask(0, 9, 0, 9), window, 50, grow_frac=0.04).any()  # outside the window


def test_everything_outside_the_mask_is_grey() -> None:
    image = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    kept = np.zeros((4, 4), bool)
    kept[1, 2] = kept[3, 0] = True
    found = geometry.grey_outside(image, kept)
    assert found[1, 2].tolist() == [18, 19, 20]
    assert found[3, 0].tolist() == [36, 37, 38]
    assert (found[~kept] == 114).all()
    np.testing.assert_array_equal(geometry.grey_outside(image, np.zeros((4, 4), bool)), image)  # lost: unchanged


@pytest.mark.parametrize(("size_px", "rows", "columns"), [((30, 60), (15, 45), (0, 60)), ((60, 30), (0, 60), (15, 45))])
def test_letterbox_keeps_the_aspect(size_px: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]) -> None:
    found = geometry.letterbox(np.full((*size_px, 3), 250, np.uint8), 60)
    bright = found[..., 0] == 250
    assert bright[slice(*rows), slice(*columns)].all()
    assert bright.sum() == 30 * 60
    assert (found[~bright] == 114).all()


def test_stored_images_are_read_back_nearly_unchanged() -> None:
    y, x = np.mgrid[:48, :48]
    smooth = np.stack([5 * y, 5 * x, 120 + 2 * x - y], axis=-1).astype(np.uint8)
    found = codec.from_jpeg(codec.to_jpeg(smooth, 92))
    assert found.shape == (48, 48, 3)
    assert np.abs(found.astype(int) - smooth).mean() < 2
    assert len(codec.to_jpeg(smooth, 50)) < len(codec.to_jpeg(smooth, 95))
