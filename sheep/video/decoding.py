"""One video file -> its pictures in order, by PyAV or by decord, from the start or from a mark.

Pictures are returned unchecked; `sheep/video/reader.py` checks them. A mark is the picture at which an earlier pass
stopped. A seek by timestamp counts as successful only if the decoder returns the picture with the mark's checksum: at
open groups of pictures (HEVC, H.264) decoders silently drop pictures that reference skipped ones.
"""

import contextlib
import math
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, BinaryIO

import av
import numpy as np
from numpy.typing import NDArray

from sheep.errors import ConfigError, MediaError
from sheep.io import storage

CONTAINERS = (
    "mov", "matroska", "webm", "avi", "mpegts", "mpeg", "mpegvideo", "m4v", "h264", "hevc", "asf", "flv", "ogg", "mxf",
    "dv", "gxf", "ivf", "nut", "rm", "gif", "mjpeg", "yuv4mpegpipe",
    # still images: opened, so that `_video_stream` can refuse them with their own message
    "png_pipe", "jpeg_pipe", "bmp_pipe", "tiff_pipe", "webp_pipe", "gif_pipe",
)  # fmt: skip
"""Container formats that are opened. FFmpeg detects them by content, not by name, and some formats (concat, HLS, DASH,
image sequences) are text that names other files or addresses to open, which a file in a video folder must not do."""
MAX_FRAME_PX = 2**27
"""Frames of more pixels than this are refused: 134 million, four times 8K, about 400 MB as RGB. A damaged or hostile
header can state any size."""
_OPTIONS = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": ""}

BLOCK_BYTES = 4 * 2**20
"""A remote file is read in ranges of this size, each when it is needed (fsspec's `readahead` cache)."""
_MISSING_FRAC = 0.01  # containers miscount by a frame or two (edit lists); if more is missing, the file is broken
# Seeks tried in order until one returns the marked picture: seconds before the mark, None for the file's start.
_BACK_S = (0.0, 2.0, 10.0, 60.0, None)
_DECORD_CLOCK_S = 1e-6  # decord returns times in seconds only; timestamps count in units of this

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Mark:
    """One picture of one file, after which a later pass resumes. Restored from JSON by `Mark(**values)`."""

    index: int
    """Number in the file, from 0."""
    pts: int
    """Its timestamp, in units of the stream's time base."""
    first_pts: int
    """Timestamp of the first picture, where time starts."""
    crc: int
    """CRC-32 of its pixels, as returned to the caller."""

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
    """Seconds since the first picture."""
    image: Callable[[], Pixels]
    """Returns (H, W, 3) uint8 RGB, rotated by the file's display matrix."""
    damaged: bool = False
    """The decoder found damage in the picture or in one it references. Not every decoder checks."""


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
            than `MAX_FRAME_PX` pixels, ends before its container says, or has no such mark.
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
            yield from _decode_open(file, uri, after)
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
    """Decode an open file; from a mark, by the shortest seek that finds it.

    Args:
        file: opened for reading.
        uri: named in errors.
        after: as for `by_pyav`.
    """
    for back_s in _BACK_S if after else (None,):
        file.seek(0)
        with av.open(file, mode="r", options=_OPTIONS) as container:
            stream = _video_stream(container, uri)
            pictures = (
                _from_start(container, stream, uri)
                if after is None
                else _from_mark(container, stream, uri, after, back_s)
            )
            last = next(pictures, None)
            if last is None:  # this seek did not find the mark
                continue
            yield last
            for last in pictures:
                yield last
            _require_whole(container, stream, last, uri)
            return
    raise _none_decodes(uri)


def _video_stream(container: Any, uri: str) -> Any:
    if not container.streams.video:
        raise MediaError(f"{uri}: holds no video stream, expected one. Remove it from the folder.")
    if container.format.name.endswith("_pipe"):  # png_pipe, jpeg_pipe
        raise MediaError(f"{uri}: is a still image, expected a video. Remove it from the folder.")
    stream = container.streams.video[0]
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MAX_FRAME_PX:
        raise MediaError(
            f"{uri}: frames of {width} x {height} px, expected at most {MAX_FRAME_PX} pixels. Re-export it smaller, "
            "or copy it again."
        )
    stream.thread_type = "SLICE"  # frame threads would hold several frames and report errors out of order
    return stream


def _from_start(container: Any, stream: Any, uri: str) -> Iterator[Picture]:
    first_pts = None
    for index, frame in enumerate(container.decode(stream)):
        first_pts = frame.pts if first_pts is None else first_pts
        yield _picture(frame, index, first_pts, uri)


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
        frames = container.decode(stream)
        first = next((frame for frame in frames if frame.pts is None or frame.pts >= mark.pts), None)
    except av.error.FFmpegError:  # the file is not seekable, or damaged at the target
        return
    if first is None or first.pts != mark.pts:
        return
    picture = _picture(first, mark.index, mark.first_pts, uri)
    if checksum(picture.image()) != mark.crc:
        return
    yield picture
    for index, frame in enumerate(frames, start=mark.index + 1):
        yield _picture(frame, index, mark.first_pts, uri)


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


def _picture(frame: av.VideoFrame, index: int, first_pts: int, uri: str) -> Picture:
    if frame.pts is None or frame.time_base is None:
        raise MediaError(
            f"{uri}: frame {index} has no timestamp, expected one for each. Remux the file (ffmpeg -fflags +genpts)."
        )
    time_s = float((frame.pts - first_pts) * frame.time_base)
    return Picture(index, frame.pts, first_pts, time_s, partial(_upright, frame), frame.is_corrupt)


def _require_whole(container: Any, stream: Any, last: Picture, uri: str) -> None:
    """Refuse a file that ends early.

    MP4 and MOV list their samples in a table, from which edit lists may discard some. Other containers state no count,
    or a count of time slots (AVI): there the length in the header is compared. A video stream without a length of its
    own is not checked if the file also has sound, since the file's length may be that of the sound.

    Args:
        container: open, its pictures read to the end.
        stream: the video stream.
        last: the last picture.
        uri: named in errors.

    Raises:
        MediaError: more than 2 frames and more than 1 % are missing.
    """
    num_frames = last.index + 1
    if "mp4" in container.format.name:
        shown = sum(not entry.is_discard for entry in stream.index_entries) if stream.frames else 0
        stated, found, what = float(shown), float(num_frames), "frames"
    else:
        length_s = stream.duration * stream.time_base if stream.duration else 0.0
        if not length_s and len(container.streams) == 1 and container.duration:
            length_s = container.duration / av.time_base
        gap_s = last.time_s / max(num_frames - 1, 1)
        stated, found, what = float(length_s) / (gap_s or 1.0), last.time_s / (gap_s or 1.0) + 1, "frames' time"
    missing = stated - found
    if missing > 2 and missing > _MISSING_FRAC * stated:
        raise MediaError(
            f"{uri}: {found:.0f} of {stated:.0f} {what} decode, expected all. The file is truncated: copy it again."
        )


def length_s(uri: str) -> float:
    """Return the length stated by the container [s]; nan where it states none or cannot be read."""
    fs, path = storage.filesystem(uri)
    try:
        with (
            storage.explained(uri, "reading"),
            fs.open(path, "rb") as file,
            av.open(file, mode="r", options=_OPTIONS) as container,
        ):
            return container.duration / av.time_base if container.duration else math.nan
    except (av.error.FFmpegError, OSError, ValueError):
        return math.nan


def _empty(uri: str) -> MediaError:
    return MediaError(f"{uri}: is empty (0 bytes), expected a video. Copy it again.")


def _gone(uri: str) -> MediaError:
    return MediaError(f"{uri}: missing, expected a video. It was moved or deleted after the archive was listed.")


def _none_decodes(uri: str) -> MediaError:
    return MediaError(f"{uri}: holds no frame that can be decoded, expected at least one. Copy it again, or remove it.")


def _unmet(uri: str, mark: Mark) -> MediaError:
    return MediaError(
        f"{uri}: has no frame {mark.index} with timestamp {mark.pts}, expected it where an earlier pass stopped. "
        "The file was replaced: process it from the start."
    )


def _upright(frame: av.VideoFrame) -> Pixels:
    image: Pixels = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


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
    with contextlib.ExitStack() as stack:
        try:
            path = stack.enter_context(storage.local_copy(uri))
            _require_container(path, uri)
            reader = decord.VideoReader(path, num_threads=1)
            times = reader.get_frame_timestamp(list(range(len(reader))))[:, 0] if len(reader) else []
            stamps = [round(time_s / _DECORD_CLOCK_S) for time_s in times]
            for index, time_s in enumerate(times):
                image = reader.next().asnumpy()
                if image.shape[2] != 3:  # decord 0.6 returns such an array for frames to be rotated by 90 degrees
                    raise MediaError(
                        f"{uri}: decord returned {image.shape[2]} channels, expected 3: the video is rotated. "
                        "Set crop.advanced.decoder to pyav."
                    )
                yield Picture(index, stamps[index], stamps[0], float(time_s - times[0]), partial(_as_is, image))
        except FileNotFoundError as error:
            raise _gone(uri) from error
        except MediaError:  # raised above; also a RuntimeError, so it comes first
            raise
        except (RuntimeError, decord.DECORDError) as error:
            raise MediaError(
                f"{uri}: decord cannot decode it ({str(error).splitlines()[0]}), expected a readable video. "
                "Re-export or re-copy the file, or set crop.advanced.decoder to pyav."
            ) from error
    if not len(times):
        raise _none_decodes(uri)


def _require_container(path: str, uri: str) -> None:
    """Refuse files that `by_pyav` would not open, since decord itself opens any format.

    Args:
        path: local file.
        uri: named in errors.

    Raises:
        MediaError: another container format, no video stream, or frames that are too large.
    """
    if not os.path.getsize(path):
        raise _empty(uri)
    with _as_media_error(uri), open(path, "rb") as file, av.open(file, mode="r", options=_OPTIONS) as container:
        _video_stream(container, uri)


def _as_is(image: Pixels) -> Pixels:
    return image
