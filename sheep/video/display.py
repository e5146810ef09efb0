"""Which stream of a file is shown, and each of its pictures as a player displays it."""

import struct
from typing import Any

import av
import numpy as np

from sheep.errors import MediaError
from sheep.video.clock import Pixels

MAX_FRAME_PX = 2**27
"""Frames of more pixels than this are refused: 134 million, four times 8K, about 400 MB as RGB. A damaged or hostile
header can state any size."""
_UPRIGHT = (1, 0, 0, 1)


def video_stream(container: Any, uri: str) -> Any:
    """Choose the video stream that a player shows: the first that is marked as default, or else the first.

    Args:
        container: open.
        uri: named in errors.

    Raises:
        MediaError: there is none, the file is a still image, or its frames are too large.
    """
    still = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    streams = [stream for stream in container.streams.video if not stream.disposition & still]
    if not streams:
        raise MediaError(f"{uri}: holds no video stream, expected one. Remove it from the folder.")
    if container.format.name.endswith("_pipe"):  # png_pipe, jpeg_pipe
        raise MediaError(f"{uri}: is a still image, expected a video. Remove it from the folder.")
    stream = next((one for one in streams if one.disposition & av.stream.Disposition.default), streams[0])
    width, height = stream.codec_context.width, stream.codec_context.height
    width, height = square_size(width, height, stream.sample_aspect_ratio)
    if width * height > MAX_FRAME_PX:
        raise MediaError(
            f"{uri}: frames of {width} x {height} px, expected at most {MAX_FRAME_PX} pixels. Re-export it smaller, "
            "or copy it again."
        )
    stream.thread_type = "SLICE"  # frame threads would hold several frames and report errors out of order
    return stream


def square_size(width: int, height: int, aspect: Any) -> tuple[int, int]:
    """Return (width, height) with square pixels, as mpv does: one side grows, rounded down, and none shrinks.

    Args:
        width: stored [px].
        height: stored [px].
        aspect: width of a pixel by its height; None or 0 where it is not stated.
    """
    if not aspect or aspect == 1:
        return width, height
    return (int(width * aspect), height) if aspect > 1 else (width, int(height / aspect))


def shown(frame: av.VideoFrame, aspect: Any) -> Pixels:
    """Convert a frame to RGB as displayed: pixels made square, then mirrored and rotated by the display matrix.

    Args:
        frame: decoded.
        aspect: as in `square_size`.

    Returns:
        (H, W, 3) uint8.
    """
    width, height = square_size(frame.width, frame.height, aspect)
    image: Pixels = frame.to_ndarray(format="rgb24", width=width, height=height).astype(np.uint8, copy=False)
    a, b, c, d = matrix(frame)
    if abs(b) + abs(c) > abs(a) + abs(d):  # x becomes y
        image, a, d = image.transpose(1, 0, 2), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def matrix(frame: av.VideoFrame) -> tuple[int, int, int, int]:
    """Return (a, b, c, d) of the display matrix: (x, y) is shown at (a x + c y, b x + d y), moved into the frame.

    Only the ratio of the four matters. Frames without a matrix, or with one of zeros, are upright.
    """
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return _UPRIGHT
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(data)[:36])
    return (a, b, c, d) if any((a, b, c, d)) else _UPRIGHT


def is_plain(frame: av.VideoFrame, stream: Any) -> bool:
    """Tell whether a frame is shown as it is stored: upright, not mirrored, with square pixels."""
    a, b, c, d = matrix(frame)
    return a > 0 and d > 0 and not b and not c and (stream.sample_aspect_ratio or 1) == 1
