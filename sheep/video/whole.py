"""Whether a file ends before its container says."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any, BinaryIO

from sheep.errors import MediaError
from sheep.video.clock import Picture

_MISSING_FRAC = 0.01  # containers miscount by a frame or two (edit lists); if more is missing, the file is broken
_TAIL_BYTES = 1024  # an interrupted copy to a file of the final size ends in zeros
_SEGMENT = b"\x18\x53\x80\x67"  # Matroska's outermost element (RFC 9559, 5.1)


def require_whole(container: Any, stream: Any, first: Picture, last: Picture, file: BinaryIO, uri: str) -> None:
    """Refuse a file that ends early.

    MP4 and MOV list their samples in a table, from which edit lists may discard some. Other containers state no count,
    or a count of time slots (AVI): there the length in the header is compared. A video stream without a length of its
    own is not checked if the file also has sound, since the file's length may be that of the sound. A last picture that
    is held for long is told from a missing end by what the file is made of, see `_holds_last`.

    Args:
        container: open, its pictures read to the end.
        stream: the video stream.
        first: the first picture that was read.
        last: the last picture.
        file: what `container` reads.
        uri: named in errors.

    Raises:
        MediaError: more than 2 frames and more than 1 % are missing.
    """
    if "mp4" in container.format.name:
        stated = float(sum(not entry.is_discard for entry in stream.index_entries) if stream.frames else 0)
        found, what = float(last.index + 1), "frames"
    else:
        gap_s = (last.time_s - first.time_s) / max(last.index - first.index, 1) or last.held_s or 1.0
        stated = float(_stated_end(container, stream)) / gap_s
        found, what = (float(last.pts * stream.time_base) + max(gap_s, last.held_s)) / gap_s, "frames' time"
    missing = stated - found
    if missing > 2 and missing > _MISSING_FRAC * stated and not _holds_last(container, stream, last, file):
        raise MediaError(
            f"{uri}: {found:.0f} of {stated:.0f} {what} decode, expected all. The file is truncated: copy it again."
        )


def _stated_end(container: Any, stream: Any) -> Fraction:
    """Return when the video ends, in the container's own time [s]; 0 where that is not stated."""
    if stream.duration and container.format.name != "asf":  # whose streams all state the file's length
        return Fraction(((stream.start_time or 0) + stream.duration) * stream.time_base)
    alone = len(container.streams) == 1 and container.duration
    return Fraction(container.duration, 10**6) if alone else Fraction(0)


def _holds_last(container: Any, stream: Any, last: Picture, file: BinaryIO) -> bool:
    """Tell whether a Matroska, WebM or AVI file is complete, so that its last picture is shown until the stated end.

    Complete: the outermost element ends within the file, the file does not end in zeros, and no entry of its index is
    later than the last picture.
    """
    measure = {"avi": _riff_end, "matroska,webm": _segment_end}.get(container.format.name)
    if measure is None:
        return False
    size = file.seek(0, 2)
    file.seek(max(size - _TAIL_BYTES, 0))
    if not any(file.read()):
        return False
    is_avi = container.format.name == "avi"
    later = any(entry.timestamp > last.pts and (entry.size or not is_avi) for entry in stream.index_entries)
    return not later and 0 < _end(measure, file) <= size


def _end(measure: Callable[[bytes], int], file: BinaryIO) -> int:
    file.seek(0)
    return measure(file.read(4096))


def _riff_end(head: bytes) -> int:
    """Return where the first RIFF list ends, in bytes; 0 where that is not stated."""
    length = int.from_bytes(head[4:8], "little")
    return 8 + length if head[:4] == b"RIFF" and length else 0


def _segment_end(head: bytes) -> int:
    """Return where Matroska's segment ends, in bytes; 0 where that is not stated, as in a live recording."""
    at = head.find(_SEGMENT) + 4
    if at < 4 or at >= len(head) or not head[at]:
        return 0
    num_bytes = 9 - head[at].bit_length()  # an EBML size: as many leading zeros as bytes follow (RFC 8794, 4)
    value = int.from_bytes(head[at : at + num_bytes], "big") & ((1 << 7 * num_bytes) - 1)
    return 0 if value == (1 << 7 * num_bytes) - 1 else at + num_bytes + value
