"""One video file -> its pictures in order, by PyAV or by decord, from the start or from a mark.

What a library gives is passed on unchecked; `sheep/video.py` holds it to its promises. A mark is where an earlier pass
stopped: a seek by time stamp is only believed when the very picture of the mark comes out of the decoder, because at
open groups of pictures (HEVC, H.264) decoders silently leave out those that hang on what was skipped.
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
    # a single picture: refused below, by name
    "png_pipe", "jpeg_pipe", "bmp_pipe", "tiff_pipe", "webp_pipe", "gif_pipe",
)  # fmt: skip
"""Container formats that are opened. FFmpeg goes by a file's content, not by its name, and some formats (concat, HLS,
DASH, image sequences) are text that names other files or addresses to open: a file in a video folder may not do
that."""
MAX_FRAME_PX = 2**27
"""Frames of more pixels than this are refused: 134 million, four times 8K, some 400 MB as RGB. A damaged or hostile
header can ask for any."""
_OPTIONS = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": ""}

BLOCK_BYTES = 4 * 2**20
"""A remote file is read in ranges of this size, one at a time, the next when it is needed (fsspec's `readahead`
cache)."""
_MISSING_FRAC = 0.01  # containers miscount by a frame or two (edit lists); more than this is a broken file
_BACK_S = (
    0.0,
    2.0,
    10.0,
    60.0,
    None,
)  # how far before a mark decoding starts, until the mark is met; None: from the start
_DECORD_CLOCK_S = 1e-6  # decord gives seconds only

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Mark:
    """One picture of one file, so that a later pass goes on behind it. Plain numbers: `Mark(**json)` brings it back."""

    index: int
    """Number in the file, from 0."""
    pts: int
    """Its time stamp, in the file's own clock."""
    first_pts: int
    """The first picture's, from which time is counted."""
    crc: int
    """CRC-32 of its pixels as given out."""

    def to_json(self) -> dict[str, int]:
        """Give its fields by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Picture:
    """One decoded picture, not converted yet: `image` costs as much as decoding."""

    index: int
    pts: int
    first_pts: int
    time_s: float
    """Seconds since the first picture."""
    image: Callable[[], Pixels]
    """Gives (H, W, 3) RGB, rotated as the file asks."""
    damaged: bool = False
    """The decoder found damage, in the picture itself or in what it hangs on. Not every decoder looks."""


def checksum(image: Pixels) -> int:
    """CRC-32 of an image's bytes."""
    return zlib.crc32(np.ascontiguousarray(image).data)


def by_pyav(uri: str, after: Mark | None = None) -> Iterator[Picture]:
    """Decode with PyAV; a remote object is read by range.

    Args:
        uri: where it lies.
        after: begin at this picture, which is given again first; None begins at the first.

    Raises:
        MediaError: not a readable video, no picture in it, one without a time stamp, it ends before its container says,
            or it has no such mark.
        ConfigError: access refused.
    """
    fs, path = storage.filesystem(uri)
    try:
        with (
            storage.explained(uri, "reading"),
            _as_media_error(uri),  # inside: an FFmpeg error of refused access is not one of the storage
            fs.open(path, "rb", block_size=BLOCK_BYTES, cache_type="readahead") as file,
        ):
            if not fs.size(path):  # FFmpeg would seek to before its start, which is no error of FFmpeg's
                raise _empty(uri)
            yield from _decode_open(file, uri, after)
    except FileNotFoundError as error:
        raise _gone(uri) from error


@contextlib.contextmanager
def _as_media_error(uri: str) -> Iterator[None]:
    try:
        yield
    except ConfigError:  # a ValueError too: refused access, which is no fault of the video
        raise
    except (av.error.FFmpegError, ValueError) as error:  # ValueError: a damaged index leads to a seek out of the file
        raise MediaError(
            f"{uri}: cannot be decoded ({error}), expected a readable video in a container such as MP4, MOV, MKV, "
            "AVI or MPEG. "
            "Re-export or re-copy the file."
        ) from error


def _decode_open(file: BinaryIO, uri: str, after: Mark | None) -> Iterator[Picture]:
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
            if last is None:
                continue
            yield last
            for last in pictures:
                yield last
            _require_whole(container, stream, last, uri)
            return
    raise _none_decodes(uri)


def _video_stream(container: Any, uri: str) -> Any:
    if not container.streams.video:
        raise MediaError(f"{uri}: holds no video stream, expected one. Take it out of the folder.")
    if container.format.name.endswith("_pipe"):  # png_pipe, jpeg_pipe
        raise MediaError(f"{uri}: is a picture, expected a video. Take it out of the folder.")
    stream = container.streams.video[0]
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MAX_FRAME_PX:
        raise MediaError(
            f"{uri}: frames of {width} x {height} px, expected at most {MAX_FRAME_PX} pixels. Re-export it smaller, "
            "or copy it again."
        )
    stream.thread_type = "SLICE"  # frame threads would hold several frames and reorder errors
    return stream


def _from_start(container: Any, stream: Any, uri: str) -> Iterator[Picture]:
    first_pts = None
    for index, frame in enumerate(container.decode(stream)):
        first_pts = frame.pts if first_pts is None else first_pts
        yield _picture(frame, index, first_pts, uri)


def _from_mark(container: Any, stream: Any, uri: str, mark: Mark, back_s: float | None) -> Iterator[Picture]:
    """Give the marked picture and all after it, or nothing if seeking so far back does not lead to it."""
    if (
        back_s is None
    ):  # the checksum is not asked: from the start there is no doubt but of another processor's rounding
        yield from _skipped_to(mark, _from_start(container, stream, uri), uri)
        return
    try:
        container.seek(mark.pts - round(back_s / stream.time_base), stream=stream)
        frames = container.decode(stream)
        met = next((frame for frame in frames if frame.pts is None or frame.pts >= mark.pts), None)
    except av.error.FFmpegError:  # a file that cannot be sought in, or is damaged where the seek led to
        return
    if met is None or met.pts != mark.pts:
        return
    picture = _picture(met, mark.index, mark.first_pts, uri)
    if checksum(picture.image()) != mark.crc:
        return
    yield picture
    for index, frame in enumerate(frames, start=mark.index + 1):
        yield _picture(frame, index, mark.first_pts, uri)


def _skipped_to(mark: Mark, pictures: Iterator[Picture], uri: str) -> Iterator[Picture]:
    """Drop what comes before the marked picture; its checksum is not asked, as nothing was left out on the way to it.

    Raises:
        MediaError: there is no such picture.
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

    By its sample table in MP4 and MOV (less what an edit list cuts off), elsewhere by the length that the header
    states.

    Other containers state no count, or one of time slots (AVI). Without a length of its own, a video with sound goes
    unchecked: the file's length may be the sound's.
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
    """Length that the container states [s].

    Nan where it states none or cannot be read, which decoding will say better.
    """
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
    return MediaError(f"{uri}: not there, expected a video. It was moved or deleted since the archive was listed.")


def _none_decodes(uri: str) -> MediaError:
    return MediaError(
        f"{uri}: holds no frame that decodes, expected at least one. Copy it again, or take it out of the folder."
    )


def _unmet(uri: str, mark: Mark) -> MediaError:
    return MediaError(
        f"{uri}: has no frame {mark.index} with time stamp {mark.pts}, where an earlier pass stopped. The file was "
        "replaced: process it "
        "from the start."
    )


def _upright(frame: av.VideoFrame) -> Pixels:
    image: Pixels = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def by_decord(uri: str, after: Mark | None = None) -> Iterator[Picture]:
    """Decode with decord, from a local copy.

    A mark is reached by decoding from the start, since decord's seeking is not exact.

    Args:
        uri: where it lies.
        after: begin at this picture, which is given again first; None begins at the first.

    Raises:
        MediaError: as `by_pyav`; a rotated video too.
        ConfigError: decord is not installed; access refused.
    """
    pictures = _all_by_decord(uri)
    return pictures if after is None else _skipped_to(after, pictures, uri)


def _all_by_decord(uri: str) -> Iterator[Picture]:
    try:
        import decord  # optional backend: its import loads an old FFmpeg, which only its users should pay for
    except ImportError as error:
        raise ConfigError(
            "crop.decoder=decord: the package is not installed, expected decord 0.6. Use pyav or install it."
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
                if image.shape[2] != 3:  # what decord 0.6 makes of a frame that is to be turned by 90 degrees
                    raise MediaError(
                        f"{uri}: decord gives {image.shape[2]} channels, expected 3: the video is rotated. Set "
                        "crop.decoder to pyav."
                    )
                yield Picture(index, stamps[index], stamps[0], float(time_s - times[0]), partial(_as_is, image))
        except FileNotFoundError as error:
            raise _gone(uri) from error
        except MediaError:  # a RuntimeError too, and said already
            raise
        except (RuntimeError, decord.DECORDError) as error:
            raise MediaError(
                f"{uri}: decord cannot decode it ({str(error).splitlines()[0]}), expected a readable video. "
                "Re-export or re-copy the file, or set crop.decoder to pyav."
            ) from error
    if not len(times):
        raise _none_decodes(uri)


def _require_container(path: str, uri: str) -> None:
    """Refuse what `by_pyav` would refuse to open, before decord opens it by name.

    Raises:
        MediaError: another container format, no video stream, or frames that are too large.
    """
    if not os.path.getsize(path):
        raise _empty(uri)
    with _as_media_error(uri), open(path, "rb") as file, av.open(file, mode="r", options=_OPTIONS) as container:
        _video_stream(container, uri)


def _as_is(image: Pixels) -> Pixels:
    return image
