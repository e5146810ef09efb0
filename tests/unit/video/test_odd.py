"""Unusual and damaged media, each a real file encoded here, and how it is handled."""

import logging
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from sheep.errors import MediaError
from sheep.video import reader
from tests.unit.video.video_files import SHADES, moving, noise, write

HEVC: dict[str, Any] = {"codec": "libx265", "options": {"x265-params": "log-level=none"}}
MJPEG: dict[str, Any] = {"codec": "mjpeg", "pix_fmt": "yuvj420p"}
VP9: dict[str, Any] = {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}}


@pytest.mark.parametrize(
    ("name", "how", "off"),
    [
        ("hevc.mp4", HEVC, 2),
        ("vp9.webm", VP9, 2),
        ("mjpeg.avi", MJPEG, 2),
        ("ten bits.mp4", {"pix_fmt": "yuv420p10le"}, 2),
        ("ten bits, hevc.mp4", {**HEVC, "pix_fmt": "yuv420p10le"}, 2),
        ("lossless.mkv", {"codec": "ffv1", "pix_fmt": "bgr0"}, 0),
    ],
)
def test_codecs(tmp_path: Path, name: str, how: dict[str, Any], off: float) -> None:
    frames = list(reader.decode(write(tmp_path / name, SHADES[:8], **how)))
    assert [frame.time_s for frame in frames] == pytest.approx(np.arange(8) / 10)
    assert all(frame.image.dtype == np.uint8 for frame in frames)
    for frame, image in zip(frames, SHADES, strict=False):
        assert np.abs(frame.image.astype(int) - image).max() <= off


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi"])
def test_one_frame_and_two(tmp_path: Path, suffix: str, number: int) -> None:
    how = {".webm": VP9, ".avi": MJPEG}.get(suffix, {})
    frames = list(reader.decode(write(tmp_path / f"a{suffix}", SHADES[:number], **how), ahead=4))
    assert [frame.time_s for frame in frames] == [0.0, 0.1][:number]
    assert list(reader.decode(str(tmp_path / f"a{suffix}"), after=frames[-1].mark)) == []


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.mp4", {"pix_fmt": "yuv444p"}),
        ("a.avi", {**MJPEG, "pix_fmt": "yuvj444p"}),
        ("a.webm", VP9),
        ("a.mkv", {"codec": "ffv1", "pix_fmt": "bgr0"}),
    ],
)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (33, 47)])
def test_one_pixel_and_odd_sizes(tmp_path: Path, name: str, how: dict[str, Any], size: tuple[int, int]) -> None:
    images = [np.full((*size, 3), level, np.uint8) for level in (30, 120, 210)]
    images[1][:, size[1] // 2 :] = 60
    frames = list(reader.decode(write(tmp_path / name, images, **how)))
    assert [frame.image.shape for frame in frames] == [(*size, 3)] * 3
    assert [int(frame.image[0, -1, 0]) for frame in frames] == pytest.approx([30, 60, 210], abs=6)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("first_ms", [0, 7_000_000])
def test_a_huge_gap_stays_in_the_times_and_is_logged(
    tmp_path: Path, suffix: str, first_ms: int, caplog: pytest.LogCaptureFixture
) -> None:
    hours_ms = 3 * 3600 * 1000
    pts_ms = [first_ms + t for t in (0, 100, 200, hours_ms, hours_ms + 100)]
    uri = write(tmp_path / f"a{suffix}", SHADES[:5], pts_ms)
    with caplog.at_level(logging.WARNING, logger="sheep"):
        times = [frame.time_s for frame in reader.decode(uri)]
    assert times == pytest.approx([0, 0.1, 0.2, 10800, 10800.1])
    assert [record.getMessage() for record in caplog.records] == [f"time gap video={uri} before_frame=3 gap_s=10799.80"]


def test_frames_hidden_by_a_phones_trimming_are_not_decoded_and_not_missing(tmp_path: Path) -> None:
    pts_ms = [100 * t - 1500 for t in range(40)]  # an edit list hides what lies before 0
    uri = write(tmp_path / "trimmed.mp4", moving(40), pts_ms, options={"g": "10", "bf": "2"})
    with av.open(uri) as container:
        assert container.streams.video[0].frames >= 30
    whole = list(reader.decode(uri))
    assert [frame.time_s for frame in whole] == pytest.approx(np.arange(25) / 10)
    for at in (0, 3, 12):
        rest = [
            (frame.index, frame.time_s, frame.image.tobytes()) for frame in reader.decode(uri, after=whole[at].mark)
        ]
        assert rest == [(frame.index, frame.time_s, frame.image.tobytes()) for frame in whole[at + 1 :]]


def test_variable_frame_times_alone_are_no_gap(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pts_ms = np.cumsum(np.random.default_rng(0).integers(20, 200, 20)).tolist()
    uri = write(tmp_path / "a.mp4", SHADES, pts_ms)
    with caplog.at_level(logging.WARNING, logger="sheep"):
        times = [frame.time_s for frame in reader.decode(uri)]
    assert times == pytest.approx((np.array(pts_ms) - pts_ms[0]) / 1000)
    assert not caplog.records


@pytest.mark.parametrize(("suffix", "how"), [("h264", {}), ("hevc", HEVC)])
@pytest.mark.parametrize("named", ["bare", "clip.mp4"])
def test_missing_timestamps_are_refused(tmp_path: Path, suffix: str, how: dict[str, Any], named: str) -> None:
    bare = Path(write(tmp_path / f"a.{suffix}", SHADES, **how))  # an elementary stream has no times
    path = bare if named == "bare" else bare.rename(tmp_path / named)
    with pytest.raises(MediaError, match="frame 0 has no timestamp"):
        list(reader.decode(str(path)))


@pytest.mark.parametrize(("suffix", "named"), [(".mp4", "a.avi"), (".mkv", "a.mov"), (".avi", "a.mp4")])
def test_a_wrong_file_ending_changes_nothing(tmp_path: Path, suffix: str, named: str) -> None:
    how = MJPEG if suffix == ".avi" else {}
    uri = str(Path(write(tmp_path / f"right{suffix}", SHADES[:4], **how)).rename(tmp_path / named))
    assert [frame.time_s for frame in reader.decode(uri)] == pytest.approx([0, 0.1, 0.2, 0.3])


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_still_image_named_like_a_video_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "photo.mp4"
    Image.fromarray(SHADES[0]).save(path, kind)
    with pytest.raises(MediaError, match="is a still image"):
        list(reader.decode(str(path)))


def test_sound_named_like_a_video_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    with pytest.raises(MediaError, match="no video stream"):
        list(reader.decode(str(path), ahead=2))


def holed(uri: str, how: str) -> str:
    """Damage the middle tenth of a file."""
    path = Path(uri)
    data = bytearray(path.read_bytes())
    start, stop = int(0.45 * len(data)), int(0.55 * len(data))
    if how == "zeros":
        data[start:stop] = bytes(stop - start)
    else:
        del data[start:stop]
    path.write_bytes(data)
    return uri


@pytest.mark.parametrize("how", ["zeros", "cut out"])
@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", {}), ("b.mp4", HEVC), ("a.avi", MJPEG), ("b.avi", {"codec": "mpeg4"})]
)
def test_a_hole_in_the_middle_is_refused(tmp_path: Path, name: str, codec: dict[str, Any], how: str) -> None:
    uri = holed(write(tmp_path / name, noise(3, 60), **codec), how)
    with pytest.raises(MediaError, match=r"cannot be decoded|truncated|expected rising"):
        list(reader.decode(uri))


@pytest.mark.parametrize("how", ["zeros", "cut out"])
def test_a_hole_in_matroska_shows_as_a_gap(tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture) -> None:
    """Matroska resynchronises and states no number of frames: the hole looks like a pause of the camera."""
    uri = holed(write(tmp_path / "a.mkv", noise(3, 60), options={"g": "10"}), how)
    with caplog.at_level(logging.WARNING, logger="sheep"):
        frames = list(reader.decode(uri))
    assert 45 <= len(frames) < 60
    assert max(b.time_s - a.time_s for a, b in pairwise(frames)) > 0.5
    assert any(record.getMessage().startswith(f"time gap video={uri}") for record in caplog.records)


def test_a_transport_stream_that_ends_early_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Such streams state no length: only the truncated picture at the end can be noticed."""
    path = Path(write(tmp_path / "a.mts", noise(3, 60), options={"g": "10"}))
    data = path.read_bytes()
    path.write_bytes(data[: int(0.6 * len(data))])
    with caplog.at_level(logging.WARNING, logger="sheep"):
        frames = list(reader.decode(str(path)))
    assert 30 <= len(frames) < 40
    assert caplog.records[-1].getMessage() == f"damaged frames video={path} number=1 first={len(frames) - 1}"


def test_motion_is_decoded_by_every_codec(tmp_path: Path) -> None:
    images = moving(24)
    bframes = {"options": {"bf": "3"}}
    for name, how in {"a.mp4": bframes, "b.mp4": HEVC, "c.webm": VP9, "d.avi": MJPEG}.items():
        frames = list(reader.decode(write(tmp_path / name, images, **how)))
        assert len(frames) == 24
        apart = [[np.abs(f.image.astype(int) - image).mean() for image in images] for f in frames[::6]]
        assert np.argmin(apart, axis=1).tolist() == [0, 6, 12, 18]
