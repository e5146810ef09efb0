"""Stored images are decoded to one size, and sampled evenly over animals and videos."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from sheep.crop.codec import to_jpeg, to_rle
from sheep.errors import ConfigError, ContractError
from sheep.finetune.dataset import Arrays, Images, Sampler


def test_sampling_is_even_over_animals_then_videos() -> None:
    # Animal a: 1 video of 1 image. Animal b: a video of 10 and one of 90.
    sampler = Sampler(["a"] + ["b"] * 100, ["v"] + ["w"] * 10 + ["x"] * 90, seed=0)
    rows = np.concatenate([sampler.draw(step, 64) for step in range(100)])
    assert np.mean(rows == 0) == pytest.approx(0.5, abs=0.03)
    assert np.mean((rows > 0) & (rows <= 10)) == pytest.approx(0.25, abs=0.03)
    assert (sampler.draw(3, 64) == sampler.draw(3, 64)).all()
    assert (sampler.draw(3, 64) != sampler.draw(4, 64)).any()
    with pytest.raises(ConfigError, match="no images"):
        Sampler([], [], seed=0)


def test_jpegs_are_decoded_to_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    def jpeg(level: int, side: int) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", (side, side), (level, level, level)).save(buffer, "JPEG", quality=95)
        return buffer.getvalue()

    images = Images(jpegs=[jpeg(40, 32), jpeg(200, 48)], animals=["a", "b"], videos=["v", "w"])
    pixels = images.decoded(24).take(np.array([1, 0, 1]))
    assert pixels.shape == (3, 24, 24, 3)
    assert pixels.float().mean(dim=(1, 2, 3)).tolist() == pytest.approx([200, 40, 200], abs=2)
    monkeypatch.setattr("sheep.finetune.dataset.MEMORY_BYTES", 10)
    assert torch.equal(images.decoded(24).take(np.array([1, 0, 1])), pixels)
    assert images.decoded(96).take(np.array([0])).shape == (1, 32, 32, 3)
    with pytest.raises(ContractError, match="of 1 bytes cannot be read as an image, expected a JPEG"):
        Images(jpegs=[b"x"], animals=["a"], videos=["v"]).decoded(24)
    with pytest.raises(ContractError, match="expected the same number of each"):
        Images(jpegs=[b"x"], animals=[], videos=["v"])


def test_arrays_are_shrunk_and_have_different_digests() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 20, 20, 3), dtype=np.uint8)
    one = Arrays(pixels=pixels, animals=["a"] * 3, videos=["v"] * 3)
    assert one.decoded(10).take(np.array([2])).shape == (1, 10, 10, 3)
    assert torch.equal(one.decoded(20).take(np.array([2]))[0], torch.from_numpy(pixels[2]))
    assert one.digest() != Arrays(pixels=255 - pixels, animals=["a"] * 3, videos=["v"] * 3).digest()


def test_stored_masks_are_the_fourth_channel() -> None:
    mask = np.zeros((32, 32), bool)
    mask[8:24, 8:24] = True
    grey = np.full((32, 32, 3), 90, np.uint8)
    images = Images(jpegs=[to_jpeg(grey, 95)], animals=["a"], videos=["v"], masks=[to_rle(mask)])
    taken = images.decoded(16).take(np.array([0]))
    assert taken.shape == (1, 16, 16, 4)
    expected = np.zeros((16, 16), bool)
    expected[4:12, 4:12] = True
    assert np.array_equal(taken[0, ..., 3].numpy() > 127, expected)
    assert images.digest() != Images(jpegs=images.jpegs, animals=["a"], videos=["v"], masks=[to_rle(~mask)]).digest()
    with pytest.raises(ContractError, match="masks"):
        Images(jpegs=images.jpegs, animals=["a"], videos=["v"], masks=[])
