"""One video file -> its pictures in order, by PyAV or by decord, from the start or from a mark.

Times are given by `sheep/video/clock.py`, and `sheep/video/reader.py` checks the pictures. A mark is where an earlier
pass stopped. A seek by timestamp counts as successful only if the decoder returns the picture with the mark's checksum:
at open groups of pictures (HEVC, H.264) decoders silently drop pictures that reference skipped ones.
"""

import contextlib
import math
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Any, BinaryIO

import av
import numpy as np

from sheep.errors import ConfigError, MediaError
from sheep.io import storage
from sheep.video import clock, display
from sheep.video.clock import Clock, Mark, Picture, Pixels
from sheep.video.whole import require_whole

CONTAINERS = (
    "mov", "matroska", "webm", "avi", "mpegts", "mpeg", "mpegvideo", "m4v", "h264", "hevc", "asf", "flv", "ogg", "mxf",
    "dv", "gxf", "ivf", "nut", "rm", "gif", "mjpeg", "yuv4mpegpipe",
    # still images: opened, so that `display.video_stream` can refuse them with their own message
    "png_pipe", "jpeg_pipe", "bmp_pipe", "tiff_pipe", "webp_pipe", "gif_pipe",
)  # fmt: skip
"""Container formats that are opened. FFmpeg detects them by content, not by name, and some formats (concat, HLS, DASH,
image sequences) are text that names other files or addresses to open, which a file in a video folder must not do."""
OPTIONS = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": ""}

BLOCK_BYTES = 4 * 2**20
"""A remote file is read in ranges of this size, each when it is needed (fsspec's `readahead` cache)."""
# Seeks tried one after another until the marked picture comes out: seconds before the mark, None for the file's start.
_BACK_S = (0.0, 2.0, 10.0, 60.0, None)
_DECORD_TICK_S = Fraction(1, 10**6)  # decord returns times in seconds only; this clock makes timestamps of them


def checksum(image: Pixels) -> int:
    """CRC-32 of an image's bytes."""
    return zlib.crc32(np.ascontiguousarray(image).data)


def by_pyav(uri: str, after: Mark | None = None) -> Iterator[Picture]:
    """Decode with PyAV; a remote object is read by range.

    Args:
        uri: of the video.
        after: start at this picture, which is returned again; None starts at the first picture.

    Raises:
        MediaError: the file is not a readable video, holds no picture or one without a timestamp, has frames of more
            than `display.MAX_FRAME_PX` pixels, ends before its container says, or has no such mark.
        ConfigError: access refused.
    """
    with opened(uri) as file:
        yield from _decode_open(file, uri, after)


@contextlib.contextmanager
def opened(uri: str) -> Iterator[BinaryIO]:
    """Open a video's bytes; a remote object is read by range. Errors of the decoder become MediaErrors.

    Raises:
        MediaError: there is nothing, or the block raises an error of FFmpeg.
        ConfigError: access refused.
    """
    fs, path = storage.filesystem(uri)
    try:
        with (
            storage.explained(uri, "reading"),
            # Inside `explained`, which would catch the FFmpeg errors that are OSErrors.
            _as_media_error(uri),
            fs.open(path, "rb", block_size=BLOCK_BYTES, cache_type="readahead") as file,
        ):
            if not fs.size(path):  # FFmpeg would seek before the start, which fails without an FFmpegError
                raise _empty(uri)
            yield file
    except FileNotFoundError as error:
        raise _gone(uri) from error


@contextlib.contextmanager
def _as_media_error(uri: str) -> Iterator[None]:
    """Turn errors of the decoder into a MediaError that names the video."""
    try:
        yield
    except ConfigError:  # refused access is not the video's fault; also a ValueError, so it comes first
        raise
    except (av.error.FFmpegError, ValueError) as error:  # ValueError: a seek outside a damaged file
        raise MediaError(
            f"{uri}: cannot be decoded ({error}), expected a readable video in a container such as MP4, MOV, MKV, "
            "AVI or MPEG. Re-export or re-copy the file."
        ) from error


def _decode_open(file: BinaryIO, uri: str, after: Mark | None) -> Iterator[Picture]:
    """Decode an open file; from a mark, by the shortest seek that leads to it."""
    for back_s in _BACK_S if after and not after.repaired else (None,):
        file.seek(0)
        with av.open(file, mode="r", options=OPTIONS) as container:
            stream = display.video_stream(container, uri)
            pictures = (
                _from_start(container, stream, uri)
                if after is None
                else _from_mark(container, stream, uri, after, back_s)
            )
            first = last = next(pictures, None)
            if first is None or last is None:  # this seek did not lead to the mark
                continue
            yield last
            for last in pictures:
                yield last
            require_whole(container, stream, first, last, file, uri)
            return
    raise none_decodes(uri)


def _from_start(container: Any, stream: Any, uri: str) -> Iterator[Picture]:
    pictures = clock.clock_of(container, stream, uri).pictures
    yield from pictures(clock.decoded(container, stream), _shown_by(stream))


def _shown_by(stream: Any) -> Any:
    aspect = stream.sample_aspect_ratio
    return lambda frame: display.shown(frame, aspect)


def _from_mark(container: Any, stream: Any, uri: str, mark: Mark, back_s: float | None) -> Iterator[Picture]:
    """Yield the marked picture and all after it, or nothing if the seek does not find it.

    Args:
        container: open.
        stream: its video stream.
        uri: named in errors.
        mark: the picture.
        back_s: how far before the mark to seek [s]; None decodes from the file's start.
    """
    if back_s is None:  # no checksum here: nothing is skipped, so only another processor's rounding could differ
        yield from _skipped_to(mark, _from_start(container, stream, uri), uri)
        return
    try:
        container.seek(mark.pts - round(back_s / stream.time_base), stream=stream)
        frames = clock.decoded(container, stream)
        met = next((frame for frame in frames if frame.pts is None or frame.pts >= mark.pts), None)
    except av.error.FFmpegError:  # the file is not seekable, or damaged where the seek led to
        return
    if met is None or met.pts != mark.pts:
        return
    convert = _shown_by(stream)
    if checksum(convert(met)) == mark.crc:
        yield from clock.clock_of(container, stream, uri).pictures(chain([met], frames), convert, mark)


def _skipped_to(mark: Mark, pictures: Iterator[Picture], uri: str) -> Iterator[Picture]:
    """Drop the pictures before the mark. Its checksum is not compared, since the decoder skipped no picture.

    Args:
        mark: the first picture to yield.
        pictures: from the file's start.
        uri: named in errors.

    Raises:
        MediaError: the file has no such picture.
    """
    index = -1
    for picture in pictures:
        index = picture.index
        if index == mark.index and (picture.pts, picture.first_pts) != (mark.pts, mark.first_pts):
            raise _unmet(uri, mark)
        if index >= mark.index:
            yield picture
    if index < mark.index:
        raise _unmet(uri, mark)


def length_s(uri: str) -> float:
    """Return the length stated by the container [s]; nan where it states none or cannot be read."""
    fs, path = storage.filesystem(uri)
    try:
        with (
            storage.explained(uri, "reading"),
            fs.open(path, "rb") as file,
            av.open(file, mode="r", options=OPTIONS) as container,
        ):
            return container.duration / av.time_base if container.duration else math.nan
    except (av.error.FFmpegError, OSError, ValueError):
        return math.nan


def _empty(uri: str) -> MediaError:
    return MediaError(f"{uri}: is empty (0 bytes), expected a video. Copy it again.")


def _gone(uri: str) -> MediaError:
    return MediaError(f"{uri}: missing, expected a video. It was moved or deleted after the archive was listed.")


def none_decodes(uri: str) -> MediaError:
    """Return the error of a file without a picture."""
    return MediaError(f"{uri}: holds no frame that can be decoded, expected at least one. Copy it again, or remove it.")


def _unmet(uri: str, mark: Mark) -> MediaError:
    return MediaError(
        f"{uri}: has no frame {mark.index} with timestamp {mark.pts}, expected it where an earlier pass stopped. "
        "The file was replaced: process it from the start."
    )


def by_decord(uri: str, after: Mark | None = None) -> Iterator[Picture]:
    """Decode with decord, from a local copy.

    A mark is reached by decoding from the start, since decord's seeks are inexact.

    Args:
        uri: of the video.
        after: start at this picture, which is returned again; None starts at the first picture.

    Raises:
        MediaError: as `by_pyav`; also where the video is rotated by 90 degrees.
        ConfigError: decord is not installed; access refused.
    """
    pictures = _all_by_decord(uri)
    return pictures if after is None else _skipped_to(after, pictures, uri)


def _all_by_decord(uri: str) -> Iterator[Picture]:
    try:
        import decord  # optional: importing it loads a second, old FFmpeg
    except ImportError as error:
        raise ConfigError(
            "crop.advanced.decoder=decord: the package is not installed, expected decord 0.6. Install it, or use pyav."
        ) from error
    num_pictures = 0
    with contextlib.ExitStack() as stack:
        try:
            path = stack.enter_context(storage.local_copy(uri))
            begins_s = _require_plain(path, uri)
            for picture in _timed_by_decord(decord.VideoReader(path, num_threads=1), begins_s, uri):
                num_pictures += 1
                yield picture
        except FileNotFoundError as error:
            raise _gone(uri) from error
        except MediaError:  # raised above; also a RuntimeError, so it comes first
            raise
        except (RuntimeError, decord.DECORDError) as error:
            raise MediaError(
                f"{uri}: decord cannot decode it ({str(error).splitlines()[0]}), expected a readable video. "
                "Re-export or re-copy the file, or set crop.advanced.decoder to pyav."
            ) from error
    if not num_pictures:
        raise none_decodes(uri)


def _timed_by_decord(reader: Any, begins_s: float, uri: str) -> Iterator[Picture]:
    """Give the pictures of decord the times of the container.

    Args:
        reader: decord's, at the first picture.
        begins_s: time of the first picture.
        uri: named in errors.
    """
    times = reader.get_frame_timestamp(list(range(len(reader))))[:, 0] if len(reader) else []
    stamps = [round(time_s / float(_DECORD_TICK_S)) for time_s in times]
    frames = (_DecordFrame(stamp, reader.next().asnumpy()) for stamp in stamps)
    first_pts = stamps[0] - round(begins_s / float(_DECORD_TICK_S)) if stamps else 0
    step = Fraction(stamps[-1] - stamps[0], max(len(stamps) - 1, 1)) if stamps else Fraction(1)
    yield from Clock(uri, first_pts, step, rejoins=False, is_sorted=False).pictures(frames, _as_is)


@dataclass(frozen=True, slots=True)
class _DecordFrame:
    """What `Clock.pictures` asks of a frame."""

    pts: int
    image: Pixels
    time_base: Fraction = _DECORD_TICK_S
    duration: int = 0
    key_frame: bool = False
    is_corrupt: bool = False


def _require_plain(path: str, uri: str) -> float:
    """Refuse what `by_pyav` would refuse to open, since decord opens any format, and what decord shows otherwise.

    Returns:
        Time of the first picture [s].

    Raises:
        MediaError: another container format, no video stream, frames that are too large, rotated, mirrored or not of
            square pixels, or another stream than the first is shown.
    """
    if not os.path.getsize(path):
        raise _empty(uri)
    with _as_media_error(uri), open(path, "rb") as file, av.open(file, mode="r", options=OPTIONS) as container:
        stream = display.video_stream(container, uri)
        frame = next(clock.decoded(container, stream), None)
        if frame is None:
            raise none_decodes(uri)
        if stream is not container.streams.video[0] or not display.is_plain(frame, stream):
            raise MediaError(
                f"{uri}: is shown rotated, mirrored, with pixels that are not square or by another than its first "
                "video stream, expected none of these with decord. Set crop.advanced.decoder to pyav."
            )
        return next(clock.clock_of(container, stream, uri).pictures(iter([frame]), _never)).time_s


def _never(frame: object) -> Pixels:
    raise AssertionError(frame)


def _as_is(frame: _DecordFrame) -> Pixels:
    return frame.image
