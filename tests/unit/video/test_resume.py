"""Resuming after a mark, and prefetching: the same frames as in one pass, on files that are hard to seek."""

import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import accumulate, islice
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from sheep.errors import MediaError
from sheep.video import decoding, reader
from sheep.video.clock import Mark, Picture
from sheep.video.reader import Frame
from tests.unit.video.video_files import SHADES, moving, noise, turned, write

NUM_FRAMES = 50
UNEVEN_MS = list(accumulate([30, 40, 25, 400, 33] * (NUM_FRAMES // 5)))
FILES: dict[str, dict[str, Any]] = {
    "h264, B-frames.mp4": {"options": {"g": "12", "bf": "3"}},
    "h264, open groups.mp4": {"options": {"bf": "3", "x264-params": "open-gop=1:keyint=12"}},
    "h264, no keyframe after the first.mp4": {"options": {"x264-params": "intra-refresh=1:keyint=12"}},
    "h264, uneven.mp4": {"options": {"g": "12", "bf": "3"}, "pts_ms": UNEVEN_MS},
    "h264, uneven.mkv": {"options": {"g": "12", "bf": "3"}, "pts_ms": UNEVEN_MS},
    "h264, no seek table.mkv": {"options": {"g": "12"}, "container_options": {"live": "1"}},
    "h264, broadcast.mts": {"options": {"g": "12", "bf": "3"}},
    "hevc, open groups.mp4": {
        "codec": "libx265",
        "options": {"x265-params": "open-gop=1:keyint=12:min-keyint=12:bframes=4:log-level=none"},
    },
    "mpeg-4, broadcast.mts": {"codec": "mpeg4", "options": {"g": "12"}},
    "mpeg-2.mpg": {"codec": "mpeg2video", "options": {"g": "12", "bf": "2"}},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"g": "12", "deadline": "realtime", "cpu-used": "8"}},
}


def key(frame: Frame) -> tuple[int, float, bytes]:
    return frame.index, frame.time_s, frame.image.tobytes()


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """Record how far before its marks decoding started, for each seek."""
    seeks: list[float | None] = []
    original = decoding._from_mark

    def spied(container: Any, stream: Any, uri: str, mark: Mark, back_s: float | None) -> Iterator[Picture]:
        seeks.append(back_s)
        return original(container, stream, uri, mark, back_s)

    monkeypatch.setattr(decoding, "_from_mark", spied)
    return seeks


@pytest.mark.parametrize("name", FILES)
def test_resuming_after_any_mark_equals_one_pass(name: str, tmp_path: Path, tries: list[float | None]) -> None:
    uri = write(tmp_path / name, moving(NUM_FRAMES), **FILES[name])
    whole = [(key(frame), frame.mark) for frame in reader.decode(uri)]
    assert len(whole) == NUM_FRAMES
    for at, (_, mark) in enumerate(whole):
        rest = [key(frame) for frame in reader.decode(uri, after=Mark(**mark.to_json()), max_frames=at + 8)]
        assert rest == [one for one, _ in whole[at + 1 : at + 8]], at
    last = whole[20][1]
    assert [key(frame) for frame in reader.decode(uri, after=last)] == [one for one, _ in whole[21:]]
    if name.startswith("hevc"):
        assert 2.0 in tries  # this file has frames that a seek to the previous key frame drops
    if name.endswith((".mp4", ".mkv")):
        assert tries.count(0.0) > NUM_FRAMES  # seeking is tried
        assert tries.count(None) < NUM_FRAMES // 2  # and mostly succeeds


def test_a_timestamp_with_other_pixels_is_not_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = write(tmp_path / "a.mts", moving(NUM_FRAMES), codec="mpeg4", options={"g": "25"})
    whole = list(reader.decode(uri))
    mark = whole[40].mark  # a seek in this container ends between key frames, where MPEG-4 decoding starts from grey
    monkeypatch.setattr(decoding, "checksum", lambda image: mark.crc)
    accepted = list(reader.decode(uri, after=mark))
    assert [frame.index for frame in accepted] == list(range(41, NUM_FRAMES))
    assert any(key(one) != key(two) for one, two in zip(accepted, whole[41:], strict=True))
    monkeypatch.undo()
    assert [key(frame) for frame in reader.decode(uri, after=mark)] == [key(frame) for frame in whole[41:]]


def test_stride_limit_and_rotation_apply_after_resuming(tmp_path: Path) -> None:
    flat = write(tmp_path / "flat.mp4", moving(NUM_FRAMES), options={"g": "12", "bf": "3"})
    uri = turned(flat, tmp_path / "turned.mp4", 0, 1, -1, 0)
    whole = list(reader.decode(uri, stride=7, max_frames=6))
    assert [frame.index for frame in whole] == [0, 7, 14, 21, 28, 35]
    for at, frame in enumerate(whole):
        rest = list(reader.decode(uri, stride=7, max_frames=6, after=frame.mark))
        assert [key(one) for one in rest] == [key(one) for one in whole[at + 1 :]]


def test_decord_resumes_too(tmp_path: Path) -> None:
    uri = write(tmp_path / "a.mp4", moving(20), options={"g": "5"})
    whole = list(reader.decode(uri, decoder="decord"))
    rest = reader.decode(uri, decoder="decord", after=whole[11].mark)
    assert [key(frame) for frame in rest] == [key(frame) for frame in whole[12:]]
    with pytest.raises(MediaError, match="has no frame 30"):
        list(reader.decode(uri, decoder="decord", after=Mark(30, 3_000_000, 0, 0)))


def test_nothing_follows_a_mark_at_the_last_frame(tmp_path: Path) -> None:
    uri = write(tmp_path / "a.mp4", SHADES)
    last = list(reader.decode(uri))[-1]
    assert list(reader.decode(uri, after=last.mark)) == []


@pytest.mark.parametrize("mark", [Mark(5, 123456789, 0, 0), Mark(5, 1, 0, 0), Mark(500, 50_000, 0, 0)])
def test_a_mark_of_another_file_is_refused(tmp_path: Path, mark: Mark) -> None:
    uri = write(tmp_path / "a.mkv", SHADES)
    with pytest.raises(MediaError, match=rf"has no frame {mark.index} .*replaced"):
        list(reader.decode(uri, after=mark))


def test_a_truncated_file_is_refused_after_resuming_too(tmp_path: Path) -> None:
    data = Path(write(tmp_path / "a.mkv", noise(2, 30))).read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(data[: len(data) // 2])
    frame = list(reader.decode(str(cut), max_frames=10))[-1]
    with pytest.raises(MediaError, match="truncated"):
        list(reader.decode(str(cut), after=frame.mark))


# --- prefetching


def decoders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "sheep-decode"]


@pytest.mark.parametrize("ahead", [1, 3, 100])
def test_prefetching_changes_no_frame(tmp_path: Path, ahead: int) -> None:
    uri = write(tmp_path / "a.mp4", moving(20))
    whole = list(reader.decode(uri))
    assert [key(frame) for frame in reader.decode(uri, ahead=ahead)] == [key(frame) for frame in whole]
    rest = reader.decode(uri, ahead=ahead, after=whole[4].mark, stride=2)
    assert [frame.index for frame in rest] == [6, 8, 10, 12, 14, 16, 18]
    assert decoders() == []


@pytest.mark.parametrize("ahead", [1, 4])
def test_an_error_follows_the_frames_before_it(tmp_path: Path, ahead: int) -> None:
    data = Path(write(tmp_path / "a.mkv", noise(2, 30))).read_bytes()
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(data[: len(data) // 2])
    got: list[int] = []
    with pytest.raises(MediaError, match="truncated"):
        got.extend(frame.index for frame in reader.decode(str(cut), ahead=ahead))
    one_by_one: list[int] = []
    with pytest.raises(MediaError, match="truncated"):
        one_by_one.extend(frame.index for frame in reader.decode(str(cut)))
    assert got == one_by_one != []
    assert decoders() == []


@pytest.mark.parametrize("how", ["closed", "dropped", "after one", "reader fails"])
def test_an_abandoned_iterator_stops_its_thread_and_closes_its_file(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[BinaryIO] = []
    original = decoding._decode_open

    def spied(file: BinaryIO, uri: str, after: Mark | None) -> Iterator[Picture]:
        opened.append(file)
        return original(file, uri, after)

    monkeypatch.setattr(decoding, "_decode_open", spied)
    uri = write(tmp_path / "a.mp4", moving(40))
    frames = reader.decode(uri, ahead=2)
    taken = list(islice(frames, 1 if how == "after one" else 5))
    assert len(taken) + len(decoders()) > 1
    if how == "closed":
        frames.close()  # type: ignore[attr-defined]
    elif how == "reader fails":
        with pytest.raises(ZeroDivisionError):
            [1 // (frame.index - 6) for frame in frames]
    del frames
    gc.collect()
    assert decoders() == []
    assert [file.closed for file in opened] == [True]


def test_a_program_can_exit_in_the_middle_of_prefetching(tmp_path: Path) -> None:
    uri = write(tmp_path / "a.mp4", moving(40))
    program = (
        f"from sheep.video import reader as video\nframes = video.decode({uri!r}, ahead=2)\nnext(frames)\nprint('end')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("end\n", "")
