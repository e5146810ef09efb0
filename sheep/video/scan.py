"""A look at a video before any model runs: length, frame rate, frames, size and faults of its time stamps.

One frame is decoded, for the displayed size. The rest is read from the index where it lists every frame (MP4, MOV,
AVI), without the pictures; other containers are read once from end to end, without decoding.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, BinaryIO, Literal

import av
import numpy as np
from av.stream import Discard
from numpy.typing import NDArray

from sheep.video import clock, decoding, display
from sheep.video.clock import Picture, Pixels
from sheep.video.reader import GAP_S, GAP_TIMES
from sheep.video.whole import lengths

_WHOLE_FRAC = 0.99  # an index that ends before this share of the stated length does not list every frame
_UNEVEN_FRAC = 0.05  # more uneven steps than this: frames of a varying rate
_REORDERED = 16  # frames at the end whose spacing the time of the last one depends on; H.264 reorders at most 16

FaultKind = Literal["equal", "joined", "gap", "truncated", "backward", "missing"]
_TEXTS: dict[FaultKind, str] = {
    "equal": "{number} frames have the time of the frame before them, first at {at_s:.3f} s; they are spread",
    "joined": "{number} recordings are joined to the first, which ends at {at_s:.3f} s; they follow each other",
    "gap": "no frame for {number:.1f} s after {at_s:.3f} s",
    "truncated": "about {number:.0f} frames are missing at the end: copy the file again",
    "backward": "{number} frames are stored with times that go back, first at {at_s:.3f} s: copy the file again",
    "missing": "{number} frames have no time stamp: give them times by " + clock.EVEN_TIMES.replace("-i", "-r 25 -i"),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """Something unusual in the time stamps of a video."""

    kind: FaultKind
    """The first three are repaired or no error; the others make decoding raise a MediaError."""
    number: float
    """How many frames or recordings; the seconds of a gap."""
    at_s: float
    """Where it is first."""

    def __str__(self) -> str:
        """Return one clause for a person."""
        return _TEXTS[self.kind].format(number=self.number, at_s=self.at_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scan:
    """What a video's container tells."""

    height_px: int
    width_px: int
    """Of the picture as displayed."""
    num_frames: int
    """Frames stored. A decoder may drop damaged ones."""
    first_s: float
    last_s: float
    """When the first and the last frame are shown; the last one of a stream with B-frames within some frames."""
    length_s: float
    """Length that a player shows, sound included; nan where the container states none. Of joined recordings, which no
    container states, the end of the last frame."""
    rate_hz: float
    """Mean number of frames per second, long gaps left out; nan for one frame."""
    faults: tuple[Fault, ...]

    @property
    def is_usable(self) -> bool:
        """Whether decoding is expected to succeed."""
        return all(fault.kind in ("equal", "joined", "gap") for fault in self.faults)


def scan(uri: str) -> Scan:
    """Read the packet times of a video.

    Args:
        uri: of the video.

    Raises:
        MediaError: the file is not a readable video, or its first frame does not decode.
        ConfigError: access refused.
    """
    with decoding.opened(uri) as file:
        with av.open(file, mode="r", options=decoding.OPTIONS) as container:
            stream = display.video_stream(container, uri)
            first_pts = clock.clock_of(container, stream, uri).first_pts
            length_s = container.duration / av.time_base if container.duration else math.nan
            time_base = Fraction(stream.time_base)
            stamps = _indexed(container, stream)
            frame = next(clock.decoded(container, stream), None)
            if frame is None:
                raise decoding.none_decodes(uri)
            height_px, width_px = display.shown(frame, stream.sample_aspect_ratio).shape[:2]
        if stamps:
            stamps = stamps.starting(frame.pts)
        else:
            file.seek(0)
            with av.open(file, mode="r", options=decoding.OPTIONS) as container:
                stamps = _demuxed(container, display.video_stream(container, uri), file)
    times_s = stamps.times_s(first_pts, time_base)
    return Scan(
        height_px=height_px,
        width_px=width_px,
        num_frames=len(times_s) + stamps.num_missing,
        first_s=float(times_s[0]) if len(times_s) else math.nan,
        last_s=float(times_s[-1]) if len(times_s) else math.nan,
        length_s=float(times_s[-1]) + 1 / _rate_hz(times_s) if stamps.joins else length_s,
        rate_hz=_rate_hz(times_s),
        faults=tuple(_faults(stamps, times_s)),
    )


@dataclass(frozen=True, slots=True)
class _Stamps:
    """The time stamp of every frame."""

    ticks: NDArray[np.int64]
    """Sorted, in one clock, in units of the stream's time base."""
    joins: tuple[int, ...] = ()
    """Places in `ticks` where another recording starts."""
    backward: tuple[int, ...] = ()
    """Places in the file where time goes back, although the codec does not reorder pictures."""
    num_missing: int = 0
    num_beyond: int = 0
    """Frames that are stated but behind the end of the file."""

    def starting(self, first: int | None) -> "_Stamps":
        """Move the stamps of decoding, which an index lists, to where the first picture is shown."""
        return replace(self, ticks=self.ticks + (first - self.ticks[0])) if first is not None else self

    def times_s(self, first_pts: int | None, time_base: Fraction) -> NDArray[np.float64]:
        """Return the times since the start of the presentation [s]."""
        start = (self.ticks[0] if first_pts is None else first_pts) if len(self.ticks) else 0
        return (self.ticks - start) * float(time_base)


def _indexed(container: Any, stream: Any) -> _Stamps | None:
    """Read an index that lists every frame; None if absent, or where it does not tell the times shown.

    MP4's lists the times of decoding. They differ from those of showing by a constant, except near frames that are both
    reordered and unevenly spaced.
    """
    is_table = "mp4" in container.format.name and stream.frames
    if not is_table and not clock.stores_decoding_order(container):
        return None
    entries = [entry for entry in stream.index_entries if entry.size and not entry.is_discard]
    ticks = np.array([entry.timestamp for entry in entries], np.int64)
    if not len(ticks) or (not is_table and ticks[-1] - ticks[0] < _WHOLE_FRAC * (stream.duration or math.inf)):
        return None
    if is_table and stream.codec_context.has_b_frames and len(ticks) > 1:
        steps = np.diff(ticks)
        uneven = np.abs(steps - np.median(steps)) > 1
        if uneven.mean() > _UNEVEN_FRAC or uneven[-_REORDERED:].any():
            return None
    return _Stamps(ticks, num_beyond=sum(entry.pos + entry.size > container.size for entry in entries))


def _demuxed(container: Any, stream: Any, file: BinaryIO) -> _Stamps:
    """Read every packet of the video stream."""
    for other in container.streams:
        if other is not stream:
            other.discard = Discard.all
    can_rejoin, is_avi = clock.rejoins(container), clock.stores_decoding_order(container)
    in_order = not stream.codec_context.has_b_frames
    parts: list[list[int]] = [[]]
    backward: list[int] = []
    num_missing, last, held = 0, None, 0
    for packet in container.demux(stream):
        stamp = packet.dts if is_avi else packet.pts
        if not packet.size or packet.is_discard:  # the end of the stream, or hidden by an edit list
            continue
        if stamp is None:
            num_missing += 1
            continue
        decoded = stamp if packet.dts is None else packet.dts
        if last is not None and can_rejoin:
            if clock.is_restart(last, decoded, stream.time_base, is_key=packet.is_keyframe):
                parts.append([])
        elif parts[-1] and in_order and stamp < parts[-1][-1]:
            backward.append(len(parts[-1]))
        parts[-1].append(stamp)
        last, held = decoded, packet.duration or 0
    stamps = _joined(parts, tuple(backward), num_missing)
    return replace(stamps, num_beyond=_num_beyond(container, stream, parts, held, file)) if last is not None else stamps


def _num_beyond(container: Any, stream: Any, parts: Sequence[list[int]], held: int, file: BinaryIO) -> int:
    """Return how many frames the container states after the last one; see `whole.lengths`."""
    first, last = min(parts[0]), max(parts[-1])
    if len(parts) > 1:  # the length of such a file is that of its stamps, which start again
        return 0

    def picture(index: int, pts: int) -> Picture:
        return Picture(index, pts, first, float((pts - first) * stream.time_base), _never, held_s=held_s)

    held_s = float(held * stream.time_base)
    found, stated, _ = lengths(container, stream, picture(0, first), picture(len(parts[0]) - 1, last), file)
    return round(stated - found)


def _never() -> Pixels:
    raise AssertionError("a scan converts no picture")


def _joined(parts: Sequence[list[int]], backward: tuple[int, ...], num_missing: int) -> _Stamps:
    """Put recordings one after another, each one frame after the last one's end."""
    ticks = np.sort(np.array(parts[0], np.int64))
    joins = []
    for part in parts[1:]:
        step = int(np.median(np.diff(ticks))) if len(ticks) > 1 else 1
        joins.append(len(ticks))
        more = np.sort(np.array(part, np.int64))
        ticks = np.concatenate([ticks, more - more[0] + ticks[-1] + step])
    return _Stamps(ticks, tuple(joins), backward, num_missing)


def _rate_hz(times_s: NDArray[np.float64]) -> float:
    gaps = np.diff(times_s)
    kept = gaps[gaps <= GAP_TIMES * np.median(gaps)] if len(gaps) else gaps
    return len(kept) / float(kept.sum()) if kept.sum() > 0 else math.nan


def _faults(stamps: _Stamps, times_s: NDArray[np.float64]) -> Iterator[Fault]:
    gaps = np.diff(times_s)
    equal = np.flatnonzero(np.diff(stamps.ticks) == 0)
    if len(equal):
        yield Fault("equal", len(equal), float(times_s[equal[0]]))
    if stamps.joins:
        yield Fault("joined", len(stamps.joins), float(times_s[stamps.joins[0] - 1]))
    if len(gaps):
        at = int(np.argmax(gaps))
        others = float(gaps.sum() - gaps[at]) / max(len(gaps) - 1, 1)
        if gaps[at] > max(GAP_S, GAP_TIMES * others):
            yield Fault("gap", float(gaps[at]), float(times_s[at]))
    if stamps.num_beyond:
        yield Fault("truncated", stamps.num_beyond, float(times_s[-1]))
    if stamps.backward:
        yield Fault("backward", len(stamps.backward), float(times_s[stamps.backward[0]]))
    if stamps.num_missing:
        yield Fault("missing", stamps.num_missing, math.nan)
