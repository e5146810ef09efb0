"""A last picture that is held is told from a file that ends early."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from sheep.errors import MediaError
from sheep.video import reader
from tests.unit.video.video_files import noise, slots, write

FORMATS = {
    ".mkv": "libx264",
    ".webm": "libvpx-vp9",
    ".avi": "mpeg4",
    ".mp4": "libx264",
    ".wmv": "wmv2",
    ".flv": "flv1",
    ".mts": "libx264",
}


def held(path: Path, codec: str, num_frames: int = 30) -> str:
    """Write frames every 100 ms, the last of them held for 30 s."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=10, options={"g": "10"})
        stream.pix_fmt = "yuv420p"
        images = noise(4, num_frames)
        stream.height, stream.width = images[0].shape[:2]
        stream.codec_context.time_base = Fraction(1, 1000)
        packets = []
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base, frame.duration = 100 * number, Fraction(1, 1000), 100
            packets += stream.encode(frame)
        packets += stream.encode()
        last = max(packets, key=lambda packet: packet.pts)
        for packet in packets:
            if packet is last:
                packet.duration = round(30 / packet.time_base)
            container.mux(packet)
    return str(path)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_last_picture_held_for_30_s_is_not_truncated(tmp_path: Path, suffix: str) -> None:
    assert len(list(reader.decode(held(tmp_path / f"a{suffix}", FORMATS[suffix])))) == 30


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def zeros(data: bytes) -> bytes:
    return half(data) + bytes(len(data) - len(data) // 2)


def all_but_the_end(data: bytes) -> bytes:
    return half(data) + bytes(len(data) - len(data) // 2 - 1500) + data[-1500:]


@pytest.mark.parametrize("damage", [half, zeros, all_but_the_end])
@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
@pytest.mark.parametrize("is_held", [True, False])
def test_a_file_that_ends_early_is_truncated(
    tmp_path: Path, suffix: str, damage: Callable[[bytes], bytes], is_held: bool
) -> None:
    path = tmp_path / f"a{suffix}"
    how = FORMATS[suffix]
    _ = held(path, how, 60) if is_held else write(path, noise(4, 60), codec=how, options={"g": "10"})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(MediaError, match=r"truncated|cannot be decoded"):
        list(reader.decode(str(path)))


@pytest.mark.parametrize("damage", [zeros, all_but_the_end])
def test_a_wmv_that_was_copied_in_part_is_truncated(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = Path(write(tmp_path / "a.wmv", noise(4, 60), codec="wmv2", options={"g": "10"}))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(MediaError, match="truncated"):
        list(reader.decode(str(path)))


@pytest.mark.parametrize("damage", [half, zeros])
def test_an_avi_that_was_copied_in_part_is_truncated(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = Path(slots(tmp_path / "a.avi", noise(4, 60), codec="mpeg4", options={"g": "10"}))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(MediaError, match=r"truncated|cannot be decoded"):
        list(reader.decode(str(path)))


@pytest.mark.parametrize("damage", [half, zeros])
@pytest.mark.parametrize("is_held", [True, False])
def test_an_flv_that_was_copied_in_part_is_truncated(
    tmp_path: Path, damage: Callable[[bytes], bytes], is_held: bool
) -> None:
    path = tmp_path / "a.flv"
    _ = held(path, "flv1", 60) if is_held else write(path, noise(4, 60), codec="flv1", options={"g": "10"})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(MediaError, match="truncated"):
        list(reader.decode(str(path)))
