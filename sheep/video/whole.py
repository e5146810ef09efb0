"""Whether a file ends before its container says."""

import os
from fractions import Fraction
from typing import Any, BinaryIO, Literal

import av

from sheep.errors import MediaError
from sheep.video.clock import Picture

_MISSING_FRAC = 0.01  # containers miscount by a frame or two (edit lists); if more is missing, the file is broken
_READ_BYTES = 2**16  # of the file's start and end, where its size is stated, and of what follows the last packet
_MARGIN_BYTES = 1024  # a packet's position may be that of its header or of its data
_SEGMENT = b"\x18\x53\x80\x67"  # Matroska's outermost element (RFC 9559, 5.1)
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # File Properties Object


def require_whole(container: Any, stream: Any, first: Picture, last: Picture, file: BinaryIO, uri: str) -> None:
    """Refuse a file that ends early.

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
    found, stated, what = lengths(container, stream, first, last, file)
    if found < stated:
        raise MediaError(
            f"{uri}: {found:.0f} of {stated:.0f} {what} decode, expected all. The file is truncated: copy it again."
        )


def lengths(
    container: Any, stream: Any, first: Picture, last: Picture, file: BinaryIO
) -> tuple[float, float, Literal["frames", "frames' time"]]:
    """Compare what was read with what the container states.

    MP4 and MOV list their samples in a table, from which edit lists may discard some. Other containers state no count,
    or a count of time slots (AVI): there the length in the header is compared. A video stream without a length of its
    own is not checked if the file also has sound, since the file's length may be that of the sound. A last picture that
    is held for long is told from a missing end by what the file is made of, see `_holds_last`.

    Returns:
        Found, stated and what was counted; found is stated if no more than 2 frames and 1 % are missing.
    """
    if "mp4" in container.format.name:
        stated = float(sum(not entry.is_discard for entry in stream.index_entries) if stream.frames else 0)
        found, what = float(last.index + 1), "frames"
    else:
        gap_s = (last.time_s - first.time_s) / max(last.index - first.index, 1) or last.held_s or 1.0
        stated = float(_stated_end(container, stream)) / gap_s
        found, what = (float(last.pts * stream.time_base) + max(gap_s, last.held_s)) / gap_s, "frames' time"
    missing = stated - found
    if missing <= 2 or missing <= _MISSING_FRAC * stated or _holds_last(container, stream, last, file):
        found = stated
    return found, stated, "frames" if what == "frames" else "frames' time"


def _stated_end(container: Any, stream: Any) -> Fraction:
    """Return when the video ends, in the container's own time [s]; 0 where that is not stated."""
    if stream.duration and container.format.name != "asf":  # whose streams all state the file's length
        return Fraction(((stream.start_time or 0) + stream.duration) * stream.time_base)
    alone = len(container.streams) == 1 and container.duration
    return Fraction(container.duration, 10**6) if alone else Fraction(0)


def _holds_last(container: Any, stream: Any, last: Picture, file: BinaryIO) -> bool:
    """Tell whether a file is complete, so that its last picture is shown until the stated end.

    Complete: what the format states about its size fits the file, no zeros follow the last packet, as they do where a
    copy to a file of the final size was interrupted, and no entry of the index is later than the last picture. Formats
    other than Matroska, WebM, AVI, ASF and FLV state no size.
    """
    name = container.format.name
    is_complete = {"matroska,webm": _is_segment, "avi": _is_riff, "asf": _is_asf, "flv": _is_flv}.get(name)
    if is_complete is None:
        return False
    try:
        container.seek(last.pts, stream=stream)  # also reads Matroska's index
        end = max((packet.pos + packet.size for packet in container.demux() if packet.pos is not None), default=0)
    except av.error.FFmpegError:
        return False
    # Matroska's index names no sizes; in AVI an entry of 0 bytes repeats the picture before it.
    later = any(entry.timestamp > last.pts and (entry.size or name != "avi") for entry in stream.index_entries)
    size = file.seek(0, os.SEEK_END)
    head, tail, rest = (_read(file, start) for start in (0, max(size - _READ_BYTES, 0), end + _MARGIN_BYTES))
    return not later and (not rest or any(rest)) and any(tail[-_MARGIN_BYTES:]) and is_complete(head, tail, size)


def _read(file: BinaryIO, start: int) -> bytes:
    file.seek(start)
    return file.read(_READ_BYTES)


def _is_segment(head: bytes, tail: bytes, size: int) -> bool:
    """Tell whether Matroska's segment ends within the file. A live recording does not state where."""
    at = head.find(_SEGMENT) + 4
    if at < 4 or at >= len(head) or not head[at]:
        return False
    num_bytes = 9 - head[at].bit_length()  # an EBML size: as many leading zeros as bytes follow (RFC 8794, 4)
    unknown = (1 << 7 * num_bytes) - 1
    value = int.from_bytes(head[at : at + num_bytes], "big") & unknown
    return value != unknown and at + num_bytes + value <= size


def _is_riff(head: bytes, tail: bytes, size: int) -> bool:
    """Tell whether the first RIFF list ends within the file."""
    length = int.from_bytes(head[4:8], "little")
    return head[:4] == b"RIFF" and 0 < length <= size - 8


def _is_asf(head: bytes, tail: bytes, size: int) -> bool:
    """Tell whether the file has the size of its File Properties Object (ASF specification, 3.2)."""
    at = head.find(_ASF_FILE)
    return at >= 0 and 0 < int.from_bytes(head[at + 40 : at + 48], "little") <= size


def _is_flv(head: bytes, tail: bytes, size: int) -> bool:
    """Tell whether the file ends with a whole tag: its last 4 bytes are that tag's size (FLV specification, E.3)."""
    length = int.from_bytes(tail[-4:], "big")
    tag = tail[-4 - length :]
    if length > len(tail) - 4:  # too long a tag to be looked at
        return False
    return length > 11 and tag[0] in (8, 9, 18) and int.from_bytes(tag[1:4], "big") == length - 11
