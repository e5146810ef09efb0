"""Time stamps of a container -> the time at which a player shows each picture, strictly rising.

Time 0 is the start of the presentation: the earliest start of the streams that a player plays, after edit lists, which
is FFmpeg's `start_time` and what mpv, on which BORIS is built, shows as 0. If sound starts 1.5 s before the picture,
the first picture is at 1.5 s.

Faults that are repaired, each a function of the file alone, so that a pass that resumes gives the same times:

- Equal stamps: the pictures are spread until the next stamp, by a frame's duration at most.
- AVI stores the order of decoding only: its stamps are sorted, as mpv sorts them.
- Two transport or program streams joined end to end: the second starts one frame after the last picture of the first.

All other times that do not rise are refused, since there the pictures are out of order too.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from heapq import heappop, heappush
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from sheep.errors import MediaError

EVEN_TIMES = (
    "ffmpeg -i IN -map 0:v:0 -vf settb=1/90000,setpts=N/FRAME_RATE/TB -fps_mode passthrough -enc_time_base 1/90000 "
    "-crf 12 OUT.mp4"
)
"""A command that keeps every picture once and spaces them evenly, at the file's frame rate, from 0. Tried with ffmpeg
9.0 on five kinds of file: 50 of 50 pictures, in order, 0.1 s apart (0.04 s from H.264 without a container). Without
`settb` and `-enc_time_base` some stamps are equal."""
_MAX_EQUAL = 32  # pictures with one stamp; they are held in memory until the next stamp is known
_JOIN_S = 1.0  # a clock that goes back by more was restarted, also where the first picture is not a key frame
_WRAP = 2**33  # stamps of transport and program streams are stored modulo this many ticks
_WRAP_GAP_S = 3600.0  # FFmpeg takes a clock restarted at a lower value for one that wrapped, and adds `_WRAP`

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Mark:
    """One picture of one file, after which a later pass resumes. Restored from JSON by `Mark(**values)`."""

    index: int
    """Number in the file, from 0."""
    pts: int
    """Its timestamp, in units of the stream's time base."""
    first_pts: int
    """The timestamp at which time is 0; after a join it differs from that of the file's start."""
    crc: int
    """CRC-32 of its pixels, as returned to the caller."""
    repaired: int = 0
    """1 where its timestamp does not identify it, so that it is reached by decoding from the start, without a seek."""
    gap: int = 0
    """Ticks since the stamp before it, by which later faults may be repaired; 0 if absent."""

    def to_json(self) -> dict[str, int]:
        """Return its fields by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Picture:
    """One decoded picture, not converted to RGB yet: calling `image` costs as much as decoding."""

    index: int
    pts: int
    first_pts: int
    time_s: float
    """Seconds since the start of the presentation."""
    image: Callable[[], Pixels]
    """Returns (H, W, 3) uint8 RGB as displayed: rotated, mirrored, with square pixels."""
    damaged: bool = False
    """The decoder found damage in the picture or in one it references. Not every decoder checks."""
    repair: str = ""
    """"equal" or "joined" where this picture's own time was repaired."""
    repaired: int = 0
    """See `Mark.repaired`."""
    gap: int = 0
    """See `Mark.gap`."""
    held_s: float = 0.0
    """How long it is shown, as its packet states; 0 where it does not."""


class Clock:
    """The clock of one file."""

    def __init__(self, uri: str, first_pts: int | None, step: Fraction, *, rejoins: bool, is_sorted: bool) -> None:
        """Start where time is 0.

        Args:
            uri: named in errors.
            first_pts: the timestamp at which time is 0; None takes the first picture's.
            step: nominal time between pictures, in units of the time base; > 0.
            rejoins: stamps may start again in the middle, as where transport streams are joined.
            is_sorted: stamps were sorted, so only a pass from the start gives them.
        """
        self.first_pts = first_pts
        self._uri, self._step, self._rejoins, self._is_sorted = uri, step, rejoins, is_sorted

    def pictures(
        self, frames: Iterator[Any], convert: Callable[[Any], Pixels], mark: Mark | None = None
    ) -> Iterator[Picture]:
        """Give each frame its number and time.

        Args:
            frames: in the order shown, with `pts`, `time_base`, `duration`, `key_frame` and `is_corrupt`.
            convert: frame -> RGB image.
            mark: of the first frame; None where it is the file's first.

        Yields:
            Pictures with strictly rising times.

        Raises:
            MediaError: a frame has no timestamp, more than 32 have the same, or times go back.
        """
        index, first_pts, gap = (mark.index, mark.first_pts, mark.gap) if mark else (0, self.first_pts, 0)
        joined, last = False, None
        for run, next_pts in self._runs(frames, index):
            pts, repair = run[0].pts, ""
            first_pts = pts if first_pts is None else first_pts
            if last is not None:
                if self._restarts(last, run[0], first_pts, index):
                    # One duration after the last picture, whatever the second clock says.
                    first_pts, joined, repair = pts - (last.pts - first_pts + self._duration(last, gap)), True, "joined"
                else:
                    gap = pts - last.pts
            apart = self._apart(run, next_pts, gap)
            for place, frame in enumerate(run):
                ticks = pts - first_pts + place * apart if place else pts - first_pts
                yield Picture(
                    index, pts, first_pts, float(ticks * frame.time_base), partial(convert, frame), frame.is_corrupt,
                    repair="equal" if place else repair,
                    repaired=int(joined or len(run) > 1 or self._is_sorted),
                    gap=gap,
                    held_s=float((frame.duration or 0) * frame.time_base),
                )  # fmt: skip
                index += 1
            last = run[-1]

    def _runs(self, frames: Iterator[Any], index: int) -> Iterator[tuple[list[Any], int | None]]:
        """Group frames of equal stamps; each group comes with the stamp after it, None at the end.

        An error of the decoder is raised after the frames before it.
        """
        run: list[Any] = []
        try:
            for number, frame in enumerate(frames, start=index):
                if frame.pts is None or frame.time_base is None:
                    raise MediaError(
                        f"{self._uri}: frame {number} has no timestamp, expected one for each. State the frame rate, "
                        f"here 25 frames/s: {EVEN_TIMES.replace('-i', '-r 25 -i')}"
                    )
                if run and frame.pts != run[0].pts:
                    done, run = run, [frame]
                    yield done, frame.pts
                    continue
                run.append(frame)
                if len(run) > _MAX_EQUAL:
                    raise MediaError(
                        f"{self._uri}: frame {number} and the {_MAX_EQUAL} before it have one timestamp, expected "
                        f"rising times. Give the frames new times: {EVEN_TIMES}"
                    )
        except Exception:
            if run:
                yield run, None
            raise
        if run:
            yield run, None

    def _apart(self, run: list[Any], next_pts: int | None, gap: int) -> Fraction:
        """Return the ticks between pictures of one stamp, so that they end before the next stamp."""
        nominal = Fraction(self._duration(run[0], gap))
        rises = next_pts is not None and next_pts > run[0].pts
        return min(Fraction((next_pts or 0) - run[0].pts, len(run)), nominal) if rises else nominal

    def _duration(self, frame: Any, gap: int) -> int:
        """Return how long a frame is shown, in ticks: as its packet states, as the one before it, or the nominal."""
        return int(frame.duration or gap or max(round(self._step), 1))

    def _restarts(self, last: Any, frame: Any, first_pts: int, index: int) -> bool:
        """Tell whether another recording starts with this frame.

        Raises:
            MediaError: time goes back, and the file is none in which recordings are joined.
        """
        if self._rejoins and is_restart(last.pts, frame.pts, frame.time_base, is_key=frame.key_frame):
            return True
        if frame.pts > last.pts:
            return False
        before, now = (float((one.pts - first_pts) * one.time_base) for one in (last, frame))
        raise MediaError(
            f"{self._uri}: frame {index} is shown at {now:.3f} s, not after frame {index - 1} at {before:.3f} s; "
            f"expected rising times. Copy the file again; if it was recorded so: {EVEN_TIMES}"
        )


def is_restart(last: int, now: int, time_base: Fraction, *, is_key: bool) -> bool:
    """Tell whether another recording starts, in a transport or program stream.

    Args:
        last: timestamp of the picture before.
        now: timestamp of this picture.
        time_base: of both [s].
        is_key: this picture is a key frame.
    """
    back_s = float((last - now) * time_base)
    if back_s <= 0:
        return now >= _WRAP > last and -back_s > _WRAP_GAP_S
    return is_key or back_s > _JOIN_S


def start(container: Any, stream: Any) -> Fraction | None:
    """Return when the presentation starts, in the container's own time [s]; None where it is not known.

    FFmpeg rounds it to microseconds; the exact value is that of the stream that starts then.
    """
    if container.start_time is None:
        return None
    rounded = Fraction(container.start_time, av.time_base)
    starts = [one.start_time * one.time_base for one in container.streams if one.start_time is not None]
    exact = [one for one in starts if abs(one - rounded) < Fraction(2, av.time_base)]
    own = stream.start_time * stream.time_base if stream.start_time is not None else None
    return own if own in exact else next(iter(exact), rounded)


def clock_of(container: Any, stream: Any, uri: str) -> Clock:
    """Return the clock of an open file.

    Args:
        container: open.
        stream: its video stream.
        uri: named in errors.
    """
    begins = start(container, stream)
    rate = stream.average_rate or stream.guessed_rate
    return Clock(
        uri,
        None if begins is None else round(begins / stream.time_base),
        1 / (rate * stream.time_base) if rate else Fraction(1),
        rejoins=rejoins(container),
        is_sorted=stores_decoding_order(container) and bool(stream.codec_context.has_b_frames),
    )


def decoded(container: Any, stream: Any) -> Iterator[av.VideoFrame]:
    """Decode from where the file stands, each frame with the timestamp at which it is shown."""
    if not stores_decoding_order(container):
        yield from container.decode(stream)
        return
    stamps: list[int] = []
    for packet in container.demux(stream):
        if packet.size and packet.dts is not None:
            heappush(stamps, packet.dts)
        for frame in packet.decode():
            if stamps:
                frame.pts = heappop(stamps)
            yield frame


def rejoins(container: Any) -> bool:
    """Tell whether recordings may be joined in files of this format by appending one to another."""
    return container.format.name in ("mpegts", "mpeg")


def stores_decoding_order(container: Any) -> bool:
    """Tell whether files of this format store no times of presentation."""
    return bool(container.format.name == "avi")
