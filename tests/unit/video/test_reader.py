"""How a video is decoded, and how a bad one is reported, on real files encoded here."""

from pathlib import Path
from typing import Any

import av
import fsspec
import numpy as np
import pytest

from sheep.errors import ConfigError, MediaError
from sheep.io import storage
from sheep.video import decoding, reader
from sheep.video.clock import Picture
from tests.unit.video.video_files import HEIGHT_PX, SHADES, WIDTH_PX, grey, noise, turned, write


def times(uri: str, **options: object) -> list[float]:
    return [round(frame.time_s, 4) for frame in reader.decode(uri, **options)]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def even(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Write 20 frames, 10 per second, each a little brighter than the previous one."""
    return write(tmp_path_factory.mktemp("video") / "even.mp4", SHADES)


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_every_frame_in_order_with_its_time(even: str, decoder: str) -> None:
    frames = list(reader.decode(even, decoder=decoder))  # type: ignore[arg-type]
    assert [frame.index for frame in frames] == list(range(20))
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(20) / 10, atol=1e-6)
    np.testing.assert_allclose([frame.image.mean() for frame in frames], 20 + 8 * np.arange(20), atol=2)
    assert all(frame.image.shape == (HEIGHT_PX, WIDTH_PX, 3) for frame in frames)
    assert all(frame.image.dtype == np.uint8 for frame in frames)


def test_decoders_agree_on_h264(tmp_path: Path) -> None:
    images = [np.kron(image[::8, ::8], np.ones((8, 8, 1), np.uint8)) for image in noise(0, 12)]
    uri = write(tmp_path / "blocks.mp4", images)
    one, two = list(reader.decode(uri)), list(reader.decode(uri, decoder="decord"))
    assert [(frame.index, round(frame.time_s, 4)) for frame in one] == [(f.index, round(f.time_s, 4)) for f in two]
    apart = np.abs(np.stack([f.image for f in one]).astype(int) - np.stack([f.image for f in two]).astype(int))
    assert apart.mean() < 2  # two versions of FFmpeg with different colour conversions


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
@pytest.mark.parametrize("start_ms", [0, 500])
def test_times_are_those_of_the_file(tmp_path: Path, decoder: str, start_ms: int) -> None:
    uri = write(tmp_path / "uneven.mp4", SHADES[:5], [start_ms + t for t in (0, 100, 250, 1000, 1040)])
    assert times(uri, decoder=decoder) == [0, 0.1, 0.25, 1.0, 1.04]


def test_stride_and_limit_keep_the_frame_numbers_of_the_file(even: str) -> None:
    assert [frame.index for frame in reader.decode(even, stride=7)] == [0, 7, 14]
    assert [(f.index, round(f.time_s, 3)) for f in reader.decode(even, stride=3, max_frames=2)] == [(0, 0), (3, 0.3)]
    assert len(list(reader.decode(even, max_frames=100))) == 20


@pytest.mark.parametrize(("suffix", "codec"), [(".mkv", "libx264"), (".mov", "libx264"), (".webm", "libvpx-vp9")])
def test_other_containers_are_read(tmp_path: Path, suffix: str, codec: str) -> None:
    uri = write(tmp_path / f"a{suffix}", SHADES[:6], codec=codec)
    assert times(uri) == [0, 0.1, 0.2, 0.3, 0.4, 0.5]


def test_an_avi_with_dropped_frames_is_complete(tmp_path: Path) -> None:
    uri = write(tmp_path / "a.avi", SHADES[:8], codec="mpeg4")  # 100 time slots of 1 ms between frames
    with av.open(uri) as container:
        assert container.streams.video[0].frames > 100
    assert len(list(reader.decode(uri))) == 8


@pytest.mark.parametrize(
    ("matrix", "shape", "corner"),
    [
        ((1, 0, 0, 1), (48, 64), "top left"),
        ((0, 1, -1, 0), (64, 48), "top right"),  # a phone held upright: a quarter turn clockwise
        ((-1, 0, 0, -1), (48, 64), "bottom right"),
        ((0, -1, 1, 0), (64, 48), "bottom left"),
    ],
)
def test_rotation_is_applied(
    tmp_path: Path, matrix: tuple[int, int, int, int], shape: tuple[int, int], corner: str
) -> None:
    marked = grey(0)
    marked[:16, :16] = 255
    uri = turned(write(tmp_path / "flat.mp4", [marked] * 3), tmp_path / "turned.mp4", *matrix)
    image = next(iter(reader.decode(uri))).image
    assert image.shape == (*shape, 3)
    assert reader.size_px(uri) == shape
    corners = {
        "top left": image[:8, :8],
        "top right": image[:8, -8:],
        "bottom left": image[-8:, :8],
        "bottom right": image[-8:, -8:],
    }
    assert [name for name, patch in corners.items() if patch.mean() > 128] == [corner]


def test_decord_refuses_a_quarter_turn(tmp_path: Path) -> None:
    uri = turned(write(tmp_path / "flat.mp4", SHADES[:3]), tmp_path / "turned.mp4", 0, 1, -1, 0)
    with pytest.raises(MediaError, match=r"rotated.* Set crop\.advanced\.decoder to pyav"):
        list(reader.decode(uri, decoder="decord"))


def test_remote_videos_are_read(even: str) -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/archive/pen 1/even.mp4", Path(even).read_bytes())
    try:
        assert list(reader.find("memory://archive")) == ["pen 1/even.mp4"]
        uri = storage.join("memory://archive", "pen 1/even.mp4")
        assert times(uri) == times(even)
        assert times(uri, decoder="decord") == times(even)
        fs.pipe_file("/archive/empty.mp4", b"")
        with pytest.raises(MediaError, match="is empty"):
            list(reader.decode("memory://archive/empty.mp4"))
        with pytest.raises(MediaError, match="missing, expected a video"):
            list(reader.decode("memory://archive/gone.mp4"))
    finally:
        fs.rm("/archive", recursive=True)


def damaged(kind: str, folder: Path) -> str:
    path = folder / f"{kind}.mp4"
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("this was never a video\n" * 40)
    elif kind == "truncated":
        data = Path(write(folder / "whole.mp4", noise(1, 20))).read_bytes()
        assert data.index(b"moov") < data.index(b"mdat")
        path.write_bytes(data[: len(data) // 2])
    elif kind == "no index":
        data = Path(write(folder / "whole.mkv", SHADES)).read_bytes()
        path.write_bytes(data[:200])
    elif kind == "sound":
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream("aac", rate=8000)
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
            sound.sample_rate = 8000
            container.mux(stream.encode(sound))
            container.mux(stream.encode())
    return str(path)


BAD = {
    "empty": r"is empty \(0 bytes\)",
    "text": "cannot be decoded",
    "truncated": "cannot be decoded|truncated",
    "no index": "cannot be decoded|no frame",
    "sound": "no video stream",
    "missing": "missing, expected a video",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_video_is_named_with_its_reason(kind: str, tmp_path: Path) -> None:
    uri = damaged(kind, tmp_path)
    with pytest.raises(MediaError, match=BAD[kind]) as caught:
        list(reader.decode(uri))
    assert uri in str(caught.value)


@pytest.mark.parametrize("kind", BAD)
def test_decord_names_bad_videos_too(kind: str, tmp_path: Path) -> None:
    uri = damaged(kind, tmp_path)
    with pytest.raises(MediaError) as caught:
        list(reader.decode(uri, decoder="decord"))
    assert uri in str(caught.value)


def test_a_matroska_that_ends_early_is_truncated(tmp_path: Path) -> None:
    data = Path(write(tmp_path / "a.mkv", noise(2, 30))).read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(data[: len(data) // 2])
    with pytest.raises(MediaError, match="truncated"):
        list(reader.decode(str(cut)))
    assert len(list(reader.decode(str(cut), max_frames=3))) == 3  # the file has the requested frames


def test_a_size_that_changes_is_refused(even: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = iter([Picture(0, 0, 0, 0.0, lambda: grey(0)), Picture(1, 1, 0, 0.1, lambda: grey(0)[:, :32])])
    monkeypatch.setattr(decoding, "by_pyav", lambda uri, after: shown)
    with pytest.raises(MediaError, match="frame 1 is 32 x 48 px, the first is 64 x 48 px"):
        list(reader.decode(even))


def test_find_lists_videos_only(tmp_path: Path, even: str) -> None:
    for name in ("b/cam 1.MP4", "a.avi", "a.csv", "b/a.mp4.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"12345")
    assert reader.find(str(tmp_path)) == {"a.avi": "size:5", "b/cam 1.MP4": "size:5"}


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_a_folder_without_videos_is_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=f"{folder}: no videos among 0 files"):
        reader.find(str(tmp_path / folder))
