"""Video file at any URI -> frames in order, with the time each is shown.

In: a video object. Out: an iterator of frames, one in memory at a time. PyAV is the default because it is exact and flat on
every file tried; decord stays as the backend labs know (docs/decisions.md, "Decoder").
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import av
import numpy as np
from numpy.typing import NDArray

from sheep import storage
from sheep.errors import ConfigError, MediaError

SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".mts")
_MISSING_FRAC = 0.01  # containers miscount by a frame or two (edit lists); more than this is a broken file


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame."""

    index: int
    """Number in the file, from 0."""
    time_s: float
    """Seconds since the first frame, from the file's timestamps."""
    image: NDArray[np.uint8]
    """(H, W, 3) RGB, rotated as the file asks."""


def find(root: str) -> dict[str, str]:
    """List the videos of an archive.

    Returns:
        Video key (path relative to root) -> identity of its content, sorted.

    Raises:
        ConfigError: there is none.
    """
    everything = storage.find(root)
    found = {name: identity for name, identity in everything.items() if name.lower().endswith(SUFFIXES)}
    if not found:
        raise ConfigError(
            f"{root}: no videos among {len(everything)} files, expected files ending in {', '.join(SUFFIXES)}. Check the archive's root and its video folder."
        )
    return found


def decode(
    uri: str, *, stride: int = 1, max_frames: int = 0, decoder: Literal["pyav", "decord"] = "pyav"
) -> Iterator[Frame]:
    """Decode a video in order.

    Args:
        uri: where it lies; a remote object is read by range, never as a whole (pyav).
        stride: yield every n-th frame, the first included.
        max_frames: stop after so many yielded frames; 0 means all.
        decoder: which library decodes.

    Yields:
        Frames with rising index and time.

    Raises:
        MediaError: not a readable video, no frame in it, timestamps that are missing or do not rise, frames of several sizes, or
            it ends before its container says.
    """
    frames = _decode_pyav(uri) if decoder == "pyav" else _decode_decord(uri)
    yielded, last_s, shape = 0, -1.0, None
    for index, time_s, make_image in frames:
        if time_s <= last_s:
            raise MediaError(
                f"{uri}: frame {index} is shown at {time_s:.3f} s, not after frame {index - 1} at {last_s:.3f} s; expected rising times. "
                "Convert the file again (ffmpeg -fflags +genpts -i in -fps_mode cfr out.mp4)."
            )
        last_s = time_s
        if index % stride:
            continue
        image = make_image()
        shape = shape or image.shape
        if image.shape != shape:
            raise MediaError(
                f"{uri}: frame {index} is {image.shape[1]} x {image.shape[0]} px, the first is {shape[1]} x {shape[0]} px; expected one size. "
                "Cut the file where the size changes."
            )
        yield Frame(index, time_s, image)
        yielded += 1
        if yielded == max_frames:
            return


def size_px(uri: str) -> tuple[int, int]:
    """Read (height, width) of the decoded, rotated frames from the first frame.

    Raises:
        MediaError: as `decode`.
    """
    height, width = next(iter(decode(uri, max_frames=1))).image.shape[:2]
    return height, width


def _decode_pyav(uri: str) -> Iterator[tuple[int, float, Any]]:
    fs, path = storage.filesystem(uri)
    try:
        with storage.explained(uri, "reading"), fs.open(path, "rb") as file:
            if not fs.size(path):  # FFmpeg would seek to before its start, which is no error of FFmpeg's
                raise MediaError(f"{uri}: is empty (0 bytes), expected a video. Copy it again.")
            yield from _decode_open(file, uri)
    except ConfigError:  # a ValueError too: refused access, which is no fault of the video
        raise
    except FileNotFoundError as error:
        raise _gone(uri) from error
    except (av.error.FFmpegError, ValueError) as error:  # ValueError: a damaged index leads to a seek out of the file
        raise MediaError(
            f"{uri}: cannot be decoded ({error}), expected a readable video. Re-export or re-copy the file."
        ) from error


def _decode_open(file: BinaryIO, uri: str) -> Iterator[tuple[int, float, Any]]:
    with av.open(file, mode="r") as container:
        if not container.streams.video:
            raise MediaError(f"{uri}: holds no video stream, expected one. Take it out of the folder.")
        stream = container.streams.video[0]
        stream.thread_type = "SLICE"  # frame threads would hold several frames and reorder errors
        first_s, last_s, index = None, 0.0, 0
        for frame in container.decode(stream):
            if frame.time is None:
                raise MediaError(
                    f"{uri}: frame {index} has no timestamp, expected one for each. Remux the file (ffmpeg -fflags +genpts)."
                )
            first_s = frame.time if first_s is None else first_s
            last_s = float(frame.time - first_s)
            yield index, last_s, lambda frame=frame: _upright(frame)
            index += 1
        if index == 0:
            raise MediaError(
                f"{uri}: holds no frame that decodes, expected at least one. Copy it again, or take it out of the folder."
            )
        _require_whole(container, stream, index, last_s, uri)


def _require_whole(container: Any, stream: Any, num_frames: int, last_s: float, uri: str) -> None:
    """Refuse a file that ends early: by its sample table in MP4 and MOV, elsewhere by the length that the header states.

    Other containers state no count, or one of time slots (AVI). Without a length of its own, a video with sound goes unchecked:
    the file's length may be the sound's.
    """
    if "mp4" in container.format.name:
        stated, found, what = float(stream.frames), float(num_frames), "frames"
    else:
        length_s = stream.duration * stream.time_base if stream.duration else 0.0
        if not length_s and len(container.streams) == 1 and container.duration:
            length_s = container.duration / av.time_base
        gap_s = last_s / max(num_frames - 1, 1)
        stated, found, what = float(length_s) / (gap_s or 1.0), last_s / (gap_s or 1.0) + 1, "frames' time"
    missing = stated - found
    if missing > 2 and missing > _MISSING_FRAC * stated:
        raise MediaError(
            f"{uri}: {found:.0f} of {stated:.0f} {what} decode, expected all. The file is truncated: copy it again."
        )


def _gone(uri: str) -> MediaError:
    return MediaError(f"{uri}: not there, expected a video. It was moved or deleted since the archive was listed.")


def _upright(frame: av.VideoFrame) -> NDArray[np.uint8]:
    image: NDArray[np.uint8] = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


def _decode_decord(uri: str) -> Iterator[tuple[int, float, Any]]:
    try:
        import decord  # optional backend: its import loads an old FFmpeg, which only its users should pay for
    except ImportError as error:
        raise ConfigError(
            "crop.decoder=decord: the package is not installed, expected decord 0.6. Use pyav or install it."
        ) from error
    with contextlib.ExitStack() as stack:
        try:
            path = stack.enter_context(storage.local_copy(uri))
            reader = decord.VideoReader(path, num_threads=1)
            times = reader.get_frame_timestamp(list(range(len(reader))))[:, 0] if len(reader) else []
            for index, time_s in enumerate(times):
                image = reader.next().asnumpy()
                if image.shape[2] != 3:  # what decord 0.6 makes of a frame that is to be turned by 90 degrees
                    raise MediaError(
                        f"{uri}: decord gives {image.shape[2]} channels, expected 3: the video is rotated. Set crop.decoder to pyav."
                    )
                yield index, float(time_s - times[0]), lambda image=image: image
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
        raise MediaError(
            f"{uri}: holds no frame that decodes, expected at least one. Copy it again, or take it out of the folder."
        )
