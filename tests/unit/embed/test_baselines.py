"""The baselines by hand, and without any network."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa

from sheep import schemas
from sheep.embed import baselines


def test_pixels_are_means_over_areas_in_reading_order() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    image[0:2, 0:2, 0] = [[40, 60], [80, 100]]  # red, mean 70
    image[0:2, 2:4, 1] = 255  # green, the next to the right
    image[2:4, 0:2, 2] = 51  # blue, the next below
    found = baselines.pixels([image, np.full((97, 97, 3), 255, np.uint8)])
    assert found.shape == (2, 1200)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0, :6], [70 / 255, 0, 0, 0, 1, 0], rtol=1e-6)
    np.testing.assert_allclose(found[0, 60:63], [0, 0, 0.2], rtol=1e-6)
    assert found[0, 6:60].max() == found[0, 63:].max() == 0
    assert (found[1] == 1).all()
    assert baselines.pixels([]).shape == (0, 1200)


def track(*rows: tuple[str, float, tuple[float, float, float, float] | None, int]) -> pa.Table:
    """Animal, time, box and area in a frame 100 high and 200 wide."""
    values = [
        {
            **{"video": "v", "animal": animal, "frame": round(10 * time_s), "time_s": time_s},
            **dict(zip(("x0", "y0", "x1", "y1"), box or (None,) * 4, strict=True)),
            **{"height_px": 100, "width_px": 200, "mask": b"", "object_score": 3.0 if box else -2.0, "area_px": area},
            **{"lost": box is None, "edge": False, "jump": False},
        }
        for animal, time_s, box, area in rows
    ]
    return pa.Table.from_pylist(values, schema=schemas.TRACKS)


def test_geometry_of_a_seen_animal() -> None:
    found = baselines.geometry(track(("ewe", 0.0, (20, 30, 60, 50), 400)))
    expected = [0.2, 0.4, 0.2, 0.2, math.log(2), math.log(0.02), 0.5, 3, 0]
    assert found.dtype == np.float32
    assert found.shape == (1, len(expected))
    np.testing.assert_allclose(found, [expected], rtol=1e-6)


def test_lost_frames_are_held_as_for_crops_and_say_so() -> None:
    near, far = (0, 0, 20, 20), (100, 40, 140, 80)
    rows = [
        ("ewe", 0.0, None, 0),
        ("ewe", 1.0, near, 200),
        ("ewe", 2.0, None, 0),
        ("ewe", 5.0, far, 1000),
        ("ewe", 6.0, None, 0),
    ]
    found = baselines.geometry(track(*rows))
    np.testing.assert_allclose(
        found[:, 0], [0.05, 0.05, 0.1875, 0.6, 0.6], rtol=1e-6
    )  # a quarter of the time, of the way
    np.testing.assert_allclose(found[:, 2], [0.1, 0.1, 0.125, 0.2, 0.2], rtol=1e-6)
    np.testing.assert_allclose(found[:, 5], np.log(np.array([200, 200, 400, 1000, 1000]) / 20_000), rtol=1e-6)
    assert found[:, 7].tolist() == [-2, 3, -2, 3, -2]
    assert found[:, 8].tolist() == [1, 0, 1, 0, 1]


def test_each_animal_has_its_own_place_and_one_never_seen_the_middle() -> None:
    rows = [("ewe", 0.0, (0, 0, 20, 20), 9), ("lamb", 0.0, None, 0), ("ewe", 0.1, None, 0), ("lamb", 0.1, None, 0)]
    found = baselines.geometry(track(*rows))
    np.testing.assert_allclose(found[[0, 2], :4], [[0.05, 0.1, 0.1, 0.2]] * 2, rtol=1e-6)
    np.testing.assert_allclose(found[[1, 3]], [[0.5, 0.5, 0.5, 1, 0, math.log(0.5), 1, -2, 1]] * 2, rtol=1e-6)


def test_no_network_is_loaded_for_them() -> None:
    program = (
        "import sys; from sheep.config import EmbedConfig; from sheep.embed.job import open_encoder; "
        "open_encoder(EmbedConfig(backbone='pixels')); open_encoder(EmbedConfig(backbone='geometry', view='track')); "
        "assert not {'torch', 'transformers', 'ray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[3], timeout=60)
