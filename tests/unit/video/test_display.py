"""The picture is what a player shows: which stream, which way up, and with square pixels."""

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from sheep.errors import MediaError
from sheep.video import display, reader
from sheep.video.display import square_size
from tests.unit.video.video_files import HEIGHT_PX, SHADES, WIDTH_PX, grey, moving, turned, write

MATRICES = [
    (1, 0, 0, 1),
    (-1, 0, 0, 1),
    (1, 0, 0, -1),
    (-1, 0, 0, -1),
    (0, 1, 1, 0),
    (0, 1, -1, 0),
    (0, -1, 1, 0),
    (0, -1, -1, 0),
]


def placed(image: NDArray[np.uint8], a: int, b: int, c: int, d: int) -> NDArray[np.uint8]:
    """Move each pixel (x, y) to (a x + c y, b x + d y), as ISO/IEC 14496-12, 8.3.2 defines the matrix."""
    y, x = np.indices(image.shape[:2])
    right, down = a * x + c * y, b * x + d * y
    right, down = right - right.min(), down - down.min()
    out = np.zeros((down.max() + 1, right.max() + 1, 3), np.uint8)
    out[down, right] = image
    return out


@pytest.mark.parametrize("matrix", MATRICES)
def test_all_eight_matrices(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    """Compared with the pictures of ffmpeg 9.0 (autorotate) once: bit for bit."""
    flat = write(tmp_path / "flat.mp4", moving(4))
    uri = turned(flat, tmp_path / "turned.mp4", *matrix)
    for one, other in zip(reader.decode(flat), reader.decode(uri), strict=True):
        assert np.array_equal(placed(one.image, *matrix), other.image)
    assert reader.size_px(uri) == ((HEIGHT_PX, WIDTH_PX) if matrix[0] else (WIDTH_PX, HEIGHT_PX))


@pytest.mark.parametrize("matrix", MATRICES[1:])
def test_decord_refuses_all_but_upright(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    uri = turned(write(tmp_path / "flat.mp4", SHADES[:3]), tmp_path / "turned.mp4", *matrix)
    with pytest.raises(MediaError, match="decoder to pyav"):
        list(reader.decode(uri, decoder="decord"))


@pytest.mark.parametrize(
    ("stored", "aspect", "shown"),
    [
        ((160, 120), Fraction(4, 3), (213, 120)),
        ((1440, 1080), Fraction(4, 3), (1920, 1080)),
        ((720, 576), Fraction(16, 15), (768, 576)),
        ((720, 480), Fraction(8, 9), (720, 540)),  # no side shrinks
        ((160, 120), Fraction(1), (160, 120)),
        ((160, 120), None, (160, 120)),
        ((160, 120), Fraction(0), (160, 120)),
    ],
)
def test_square_pixels(stored: tuple[int, int], aspect: Fraction | None, shown: tuple[int, int]) -> None:
    assert square_size(*stored, aspect) == shown


def anamorphic(path: Path, images: list[NDArray[np.uint8]], aspect: Fraction, codec: str = "libx264") -> str:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=10)
        stream.pix_fmt = "yuv420p"
        stream.height, stream.width = images[0].shape[:2]
        stream.codec_context.sample_aspect_ratio = aspect
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return str(path)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mts"])
def test_pixels_that_are_not_square_are_scaled(tmp_path: Path, suffix: str) -> None:
    image = grey(40)
    image[12:24, 32:48] = 220
    uri = anamorphic(tmp_path / f"a{suffix}", [image] * 3, Fraction(4, 3))
    frames = list(reader.decode(uri))
    assert [frame.image.shape for frame in frames] == [(48, 85, 3)] * 3
    assert reader.size_px(uri) == (48, 85)
    bright = np.argwhere(frames[0].image[:, :, 0] > 130)
    assert bright.min(axis=0) == pytest.approx([12, 43], abs=1)
    assert bright.max(axis=0) == pytest.approx([23, 63], abs=1)
    assert len(list(reader.decode(uri, after=frames[0].mark))) == 2
    with pytest.raises(MediaError, match="not square"):
        list(reader.decode(uri, decoder="decord"))


def test_pixels_are_made_square_before_the_picture_is_turned(tmp_path: Path) -> None:
    uri = turned(anamorphic(tmp_path / "a.mp4", SHADES[:2], Fraction(4, 3)), tmp_path / "turned.mp4", 0, 1, -1, 0)
    assert reader.size_px(uri) == (85, 48)


def test_a_hostile_pixel_aspect_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = anamorphic(tmp_path / "a.mp4", SHADES[:2], Fraction(16, 1))
    monkeypatch.setattr(display, "MAX_FRAME_PX", 2 * WIDTH_PX * HEIGHT_PX)
    with pytest.raises(MediaError, match="expected at most"):
        reader.size_px(uri)


def several(path: Path, default: int) -> str:
    """Write three video streams of 10, 20 and 30 frames; `default` is marked, or none where it is negative."""
    with av.open(str(path), "w") as container:
        streams: list[Any] = []
        for number in range(3):
            stream: Any = container.add_stream("mjpeg", rate=10)
            stream.pix_fmt, stream.height, stream.width = "yuvj420p", HEIGHT_PX, WIDTH_PX
            stream.disposition = av.stream.Disposition.default if number == default else av.stream.Disposition(0)
            streams.append(stream)
        for number, stream in enumerate(streams):
            for image in SHADES[: 5 * (number + 1)]:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
    return str(path)


@pytest.mark.parametrize(("default", "num_frames"), [(0, 5), (1, 10), (2, 15)])
def test_the_default_stream_is_read(tmp_path: Path, default: int, num_frames: int) -> None:
    uri = several(tmp_path / "a.mkv", default)
    frames = list(reader.decode(uri))
    assert len(frames) == num_frames
    assert len(list(reader.decode(uri, after=frames[2].mark))) == num_frames - 3


def test_the_first_stream_is_read_where_none_is_marked(tmp_path: Path) -> None:
    assert len(list(reader.decode(several(tmp_path / "a.avi", -1)))) == 5


def stated(disposition: int, width: int) -> Any:
    codec = SimpleNamespace(width=width, height=4)
    return SimpleNamespace(disposition=disposition, codec_context=codec, sample_aspect_ratio=None, thread_type="")


@pytest.mark.parametrize(
    ("dispositions", "chosen"),
    [
        ((1024, 0), 1),  # an attached picture, as cover art
        ((1024 + 1, 0, 1), 2),
        ((2048, 0), 1),  # thumbnails
        ((0, 0), 0),
        ((0, 1, 1), 1),
    ],
)
def test_a_cover_picture_is_no_video(dispositions: tuple[int, ...], chosen: int) -> None:
    streams = [stated(disposition, number) for number, disposition in enumerate(dispositions)]
    container = SimpleNamespace(streams=SimpleNamespace(video=streams), format=SimpleNamespace(name="x"))
    assert display.video_stream(container, "a.mp4") is streams[chosen]


def test_cover_art_alone_is_no_video() -> None:
    container = SimpleNamespace(streams=SimpleNamespace(video=[stated(1024, 9)]), format=SimpleNamespace(name="x"))
    with pytest.raises(MediaError, match="no video stream"):
        display.video_stream(container, "a.m4a")
