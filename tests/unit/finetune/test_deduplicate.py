import io

import numpy as np
import pytest
from PIL import Image

from sheep.errors import ContractError
from sheep.finetune.deduplicate import drop_near_duplicates, thumbnail


def jpeg(level: int, side: int = 48) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (level, level, level)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def test_images_come_no_closer_than_the_gap_to_the_last_kept() -> None:
    times = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    kept = drop_near_duplicates([jpeg(0)] * 6, ["a"] * 6, ["v"] * 6, times, min_gap_s=0.2, min_change=0)
    assert kept.tolist() == [True, False, True, False, True, False]
    # Each animal of each video separately, in order of time, not of rows.
    kept = drop_near_duplicates(
        [jpeg(0)] * 4, ["a", "b", "a", "a"], ["v", "v", "v", "w"], [0.1, 0.1, 0.0, 0.1], min_gap_s=0.2, min_change=0
    )
    assert kept.tolist() == [False, True, True, True]


def test_slow_change_adds_up_until_it_counts() -> None:
    levels = [100, 104, 108, 112, 112, 100]  # against 100: 4, 8, 12 counts; against 112: 0, then 12
    images = [jpeg(level) for level in levels]
    kept = drop_near_duplicates(images, ["a"] * 6, ["v"] * 6, list(range(6)), min_gap_s=0, min_change=10)
    assert kept.tolist() == [True, False, False, True, False, True]
    both = drop_near_duplicates(images, ["a"] * 6, ["v"] * 6, list(range(6)), min_gap_s=3, min_change=10)
    assert both.tolist() == [True, False, False, True, False, False]
    assert drop_near_duplicates(images, ["a"] * 6, ["v"] * 6, list(range(6)), min_gap_s=0, min_change=0).all()


def test_thumbnail_holds_means_of_tiles() -> None:
    pixels = np.zeros((64, 64), np.uint8)
    pixels[:, 32:] = 200
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    small = thumbnail(buffer.getvalue())
    assert small.shape == (16, 16)
    np.testing.assert_allclose(small, np.repeat([[0] * 8 + [200] * 8], 16, axis=0), atol=2)
    with pytest.raises(ContractError, match="Run the crop stage again"):
        drop_near_duplicates([b"x", b"y"], ["a", "a"], ["v", "v"], [0, 1], min_gap_s=0, min_change=1)
