"""When each picture is shown: the container's clock, and how its faults are repaired or refused."""

import logging
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sheep.errors import MediaError
from sheep.video import reader
from sheep.video.clock import Clock, Picture
from tests.unit.video.video_files import SHADES, grey, moving, restamped, slots, with_sound, write


def times(uri: str, **options: Any) -> list[float]:
    return [round(frame.time_s, 4) for frame in reader.decode(uri, **options)]


# --- the start of the presentation


@pytest.mark.parametrize("lead_s", [0.0, 0.7, 1.5, 5.0])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".mts"])
def test_sound_that_leads_moves_the_picture(tmp_path: Path, suffix: str, lead_s: float) -> None:
    uri = with_sound(tmp_path / f"a{suffix}", SHADES[:12], lead_s)
    frames = list(reader.decode(uri))
    assert [frame.time_s for frame in frames] == pytest.approx(lead_s + np.arange(12) / 10, abs=0.05)
    resumed = list(reader.decode(uri, after=frames[4].mark))
    assert [frame.time_s for frame in resumed] == [frame.time_s for frame in frames[5:]]


def test_the_picture_that_leads_starts_at_0(tmp_path: Path) -> None:
    uri = with_sound(tmp_path / "a.mkv", SHADES[:5], -0.4)
    assert times(uri) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4], abs=0.03)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mts"])
def test_a_start_that_is_no_whole_microsecond_is_exact(tmp_path: Path, suffix: str) -> None:
    uri = write(tmp_path / f"a{suffix}", SHADES[:4], [333, 433, 533, 633], options={"bf": "2"})
    assert next(iter(reader.decode(uri))).time_s == 0.0


# --- equal stamps


def equal(path: Path, pts_ms: Sequence[int]) -> str:
    return restamped(path, SHADES[: len(pts_ms)], pts_ms)


@pytest.mark.parametrize(
    ("pts_ms", "expected"),
    [
        ((0, 100, 100, 300, 400), (0, 0.1, 0.2, 0.3, 0.4)),  # one came early
        ((0, 100, 100, 200, 300), (0, 0.1, 0.15, 0.2, 0.3)),  # one too many
        ((0, 100, 100, 100, 400), (0, 0.1, 0.2, 0.3, 0.4)),  # a burst
        ((0, 100, 100, 9000), (0, 0.1, 0.2, 9.0)),  # then a pause
        ((0, 0, 100, 200), (0, 0.05, 0.1, 0.2)),
        ((0, 100, 200, 200), (0, 0.1, 0.2, 0.3)),  # at the end
    ],
)
def test_equal_stamps_are_spread_and_counted(
    tmp_path: Path, pts_ms: tuple[int, ...], expected: tuple[float, ...], caplog: pytest.LogCaptureFixture
) -> None:
    uri = equal(tmp_path / "a.mkv", pts_ms)
    with caplog.at_level(logging.WARNING, logger="sheep"):
        frames = list(reader.decode(uri))
    assert [round(frame.time_s, 4) for frame in frames] == list(expected)
    assert [round(float(frame.image.mean())) for frame in frames] == pytest.approx(
        20 + 8 * np.arange(len(expected)), abs=2
    )
    number = len(pts_ms) - len(set(pts_ms))
    assert f"equal times, spread video={uri} number={number} first=" in caplog.text


def test_resuming_among_equal_stamps_and_equal_pictures(tmp_path: Path) -> None:
    pts_ms = [0, 100, 200, 200, 200, 500, 600, 600, 800, 900]
    uri = restamped(tmp_path / "a.mkv", [grey(90)] * 10, pts_ms)
    whole = [(frame.index, frame.time_s) for frame in reader.decode(uri)]
    for at, frame in enumerate(reader.decode(uri)):
        rest = [(one.index, one.time_s) for one in reader.decode(uri, after=frame.mark)]
        assert rest == whole[at + 1 :], at


def test_too_many_equal_stamps_are_refused(tmp_path: Path) -> None:
    uri = restamped(tmp_path / "a.mkv", [grey(90)] * 50, [0, 100] + [200] * 48)
    with pytest.raises(MediaError, match=r"frame 34 and the 32 before it have one timestamp.*ffmpeg -i IN"):
        list(reader.decode(uri))


# --- AVI


@pytest.mark.parametrize(
    "how", [{"codec": "libx264", "options": {"bf": "3"}}, {"codec": "mpeg4", "options": {"bf": "2"}}]
)
def test_an_avi_with_b_frames_is_shown_in_order(tmp_path: Path, how: dict[str, Any]) -> None:
    """AVI stores no times of presentation; players show the frames evenly from 0."""
    uri = slots(tmp_path / "a.avi", moving(30), **how)
    frames = list(reader.decode(uri))
    assert [frame.time_s for frame in frames] == pytest.approx(np.arange(30) / 10)
    apart = [[np.abs(frame.image.astype(int) - image).mean() for image in moving(30)] for frame in frames[::7]]
    assert np.argmin(apart, axis=1).tolist() == [0, 7, 14, 21, 28]
    for at in (0, 7, 28):
        rest = [(one.index, one.time_s, one.image.tobytes()) for one in reader.decode(uri, after=frames[at].mark)]
        assert rest == [(one.index, one.time_s, one.image.tobytes()) for one in frames[at + 1 :]]


# --- joined recordings


def joined(folder: Path, suffix: str, first_s: Sequence[float], **how: Any) -> str:
    """Append recordings to each other, as `cat` does, each with a clock of its own."""
    data = b""
    for number, start_s in enumerate(first_s):
        pts_ms = [round(1000 * start_s) + 100 * t for t in range(20)]
        part = write(folder / f"{number}{suffix}", [image + np.uint8(number) for image in moving(20)], pts_ms, **how)
        data += Path(part).read_bytes()
    path = folder / f"joined{suffix}"
    path.write_bytes(data)
    return str(path)


@pytest.mark.parametrize(
    ("suffix", "how", "first_s"),
    [
        (".mts", {"options": {"bf": "2"}}, (0, 0)),
        (".mts", {"options": {"bf": "2"}}, (0, 0, 0)),
        (".ts", {"codec": "mpeg2video"}, (0, 0)),
        (".m2ts", {}, (10_000, 0)),  # FFmpeg takes the second clock for one that wrapped after 26.5 h
        (".mpg", {"codec": "mpeg2video"}, (0, 0)),
    ],
)
def test_joined_recordings_follow_each_other(
    tmp_path: Path, suffix: str, how: dict[str, Any], first_s: tuple[float, ...], caplog: pytest.LogCaptureFixture
) -> None:
    uri = joined(tmp_path, suffix, first_s, **how)
    with caplog.at_level(logging.WARNING, logger="sheep"):
        frames = list(reader.decode(uri))
    count = 20 * len(first_s)
    assert [frame.time_s for frame in frames] == pytest.approx(np.arange(count) / 10, abs=1e-3)
    assert [record.getMessage() for record in caplog.records] == [
        f"joined recordings video={uri} number={len(first_s) - 1} first=20"
    ]
    for at in (3, 18, 19, 20, 21, count - 2):
        rest = [(one.index, one.time_s, one.image.tobytes()) for one in reader.decode(uri, after=frames[at].mark)]
        assert rest == [(one.index, one.time_s, one.image.tobytes()) for one in frames[at + 1 :]], at


# --- what is refused


class Stamped:
    """What `Clock` asks of a frame."""

    time_base, duration, is_corrupt = Fraction(1, 1000), 100, False

    def __init__(self, pts: int | None, *, key_frame: bool = False) -> None:
        self.pts, self.key_frame = pts, key_frame


def shown(frames: Sequence[Stamped], *, rejoins: bool = False) -> list[Picture]:
    convert: Callable[[Any], Any] = lambda frame: grey(0)  # noqa: E731
    return list(Clock("a.mp4", 0, Fraction(100), rejoins=rejoins, is_sorted=False).pictures(iter(frames), convert))


def test_times_that_go_back_are_refused_with_a_command() -> None:
    with pytest.raises(MediaError, match=r"frame 2 is shown at 0\.050 s, not after frame 1 at 0\.100 s.*setpts=N"):
        shown([Stamped(0), Stamped(100), Stamped(50, key_frame=True)])


def test_a_small_step_back_without_a_key_frame_is_no_join() -> None:
    with pytest.raises(MediaError, match="expected rising times"):
        shown([Stamped(0), Stamped(100), Stamped(50)], rejoins=True)
    back = shown([Stamped(0), Stamped(100), Stamped(50, key_frame=True), Stamped(150)], rejoins=True)
    assert [picture.time_s for picture in back] == [0.0, 0.1, 0.2, 0.3]


def test_a_missing_timestamp_is_named_with_a_command() -> None:
    with pytest.raises(MediaError, match=r"frame 1 has no timestamp.*ffmpeg -r 25 -i IN"):
        shown([Stamped(0), Stamped(None)])


def test_an_error_comes_after_the_frames_before_it() -> None:
    got: list[float] = []
    pictures = Clock("a", None, Fraction(1), rejoins=False, is_sorted=False).pictures(
        iter([Stamped(7), Stamped(9), Stamped(None)]), lambda frame: grey(0)
    )
    with pytest.raises(MediaError):
        got.extend(picture.time_s for picture in pictures)
    assert got == [0.0, 0.002]
