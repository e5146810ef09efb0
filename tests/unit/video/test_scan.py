"""A scan tells what decoding will find, without decoding."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from sheep.errors import MediaError
from sheep.video import display, reader
from sheep.video.scan import scan
from tests.unit.video.test_clock import joined
from tests.unit.video.video_files import SHADES, moving, noise, restamped, slots, turned, with_sound, write

BFRAMES: dict[str, Any] = {"options": {"bf": "2", "g": "10"}}
FILES: dict[str, Callable[[Path], str]] = {
    "B-frames.mp4": lambda path: write(path, moving(30), **BFRAMES),
    "B-frames.mkv": lambda path: write(path, moving(30), **BFRAMES),
    "B-frames.mts": lambda path: write(path, moving(30), **BFRAMES),
    "late.mkv": lambda path: write(path, SHADES[:4], [700, 800, 900, 1000]),
    "uneven.mp4": lambda path: write(path, SHADES[:5], [0, 100, 250, 1000, 1040]),
    "trimmed.mp4": lambda path: write(path, moving(40), [100 * t - 1500 for t in range(40)], options={"g": "10"}),
    "fragmented.mp4": lambda path: write(path, moving(30), container_options={"movflags": "frag_keyframe+empty_moov"}),
    "B-frames.avi": lambda path: slots(path, moving(30), codec="mpeg4", options={"bf": "2"}),
    "dropped.avi": lambda path: write(path, SHADES[:8], codec="mpeg4"),
    "sound.mp4": lambda path: with_sound(path, SHADES[:12], 1.5),
    "sound.mts": lambda path: with_sound(path, SHADES[:12], 1.5),
    "one.mp4": lambda path: write(path, SHADES[:1]),
    "equal.mkv": lambda path: restamped(path, SHADES[:6], [0, 100, 200, 200, 400, 500]),
    "a.wmv": lambda path: write(path, SHADES[:6], codec="wmv2"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_scan_agrees_with_decoding(tmp_path: Path, name: str) -> None:
    uri = FILES[name](tmp_path / name)
    frames, found = list(reader.decode(uri)), scan(uri)
    assert found.num_frames == len(frames)
    assert (found.first_s, found.last_s) == pytest.approx((frames[0].time_s, frames[-1].time_s), abs=1e-6)
    assert (found.height_px, found.width_px) == frames[0].image.shape[:2]
    assert found.is_usable
    assert [fault.kind for fault in found.faults] == ["equal"] * (name == "equal.mkv") + ["gap"] * (
        name == "uneven.mp4"
    )


def test_rate_and_length(tmp_path: Path) -> None:
    found = scan(with_sound(tmp_path / "a.mkv", SHADES[:12], 1.5))
    assert found.rate_hz == pytest.approx(10, abs=0.01)
    assert found.length_s == pytest.approx(2.7, abs=0.06)
    assert np.isnan(scan(write(tmp_path / "one.mp4", SHADES[:1])).rate_hz)


def test_nothing_but_one_frame_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = write(tmp_path / "a.mkv", moving(40), **BFRAMES)
    original, shown = display.shown, []

    def counted(frame: av.VideoFrame, aspect: Any) -> Any:
        shown.append(frame)
        return original(frame, aspect)

    monkeypatch.setattr(display, "shown", counted)
    scan(uri)
    assert len(shown) == 1


def test_an_index_is_read_without_the_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = list(np.random.default_rng(0).integers(0, 255, (60, 256, 256, 3), dtype=np.uint8))
    path = Path(write(tmp_path / "a.mp4", images))
    monkeypatch.setattr("sheep.video.scan._demuxed", None)
    assert scan(str(path)).num_frames == 60


def test_turned_and_joined(tmp_path: Path) -> None:
    uri = turned(write(tmp_path / "flat.mp4", SHADES[:3]), tmp_path / "turned.mp4", 0, 1, -1, 0)
    assert (scan(uri).height_px, scan(uri).width_px) == (64, 48)
    uri = joined(tmp_path, ".mts", (0, 0), **BFRAMES)
    found = scan(uri)
    assert found.num_frames == 40
    assert (found.last_s, found.length_s) == pytest.approx((3.9, 4.0))
    assert str(found.faults[0]) == "1 recordings are joined to the first, which ends at 1.900 s; they follow each other"


@pytest.mark.parametrize(("suffix", "keeps"), [(".mp4", 0.6), (".mkv", 0.6), (".flv", 0.5)])
def test_a_truncated_file_is_told(tmp_path: Path, suffix: str, keeps: float) -> None:
    how = {"codec": "flv1"} if suffix == ".flv" else {}
    path = Path(write(tmp_path / f"a{suffix}", noise(3, 60), **how, options={"g": "10"}))  # type: ignore[arg-type]
    data = path.read_bytes()
    path.write_bytes(data[: int(keeps * len(data))])
    found = scan(str(path))
    assert not found.is_usable
    assert str(found.faults[-1]).endswith("frames are missing at the end: copy the file again")
    with pytest.raises(MediaError):
        list(reader.decode(str(path)))


def test_missing_times_are_told(tmp_path: Path) -> None:
    found = scan(write(tmp_path / "a.h264", SHADES))
    assert [fault.kind for fault in found.faults] == ["missing"]
    assert "ffmpeg -r 25 -i IN" in str(found.faults[0])
    assert not found.is_usable


@pytest.mark.parametrize(("data", "message"), [(b"", "is empty"), (b"no video\n" * 99, "cannot be decoded")])
def test_what_is_no_video_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a.mp4").write_bytes(data)
    with pytest.raises(MediaError, match=message):
        scan(str(tmp_path / "a.mp4"))
    with pytest.raises(MediaError, match="missing, expected a video"):
        scan(str(tmp_path / "gone.mp4"))
