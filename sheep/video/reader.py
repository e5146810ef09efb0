"""Video file at any URI -> frames in order, each with its presentation time.

In: a URI. Out: an iterator of frames, one in memory at a time, or a few with prefetching. It can resume after a mark of
an earlier pass, with the same frames, times and pixels. PyAV is the default because it was exact, with constant memory,
on every file tested; decord is an alternative for labs that use it (docs/decisions.md, "Decoder").
"""

import logging
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sheep.errors import ConfigError, MediaError
from sheep.io import storage
from sheep.io.prefetch import prefetch
from sheep.video import decoding
from sheep.video.decoding import Mark as Mark

log = logging.getLogger(__name__)

SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".mts")
_GAP_S, _GAP_TIMES = 0.5, 5.0
"""A gap between frames is logged where it is longer than both: seconds, and times the mean of all other gaps."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame."""

    index: int
    """Number in the file, from 0."""
    time_s: float
    """Seconds since the first frame, from the file's timestamps."""
    image: NDArray[np.uint8]
    """(H, W, 3) uint8 RGB, rotated by the file's display matrix."""
    pts: int = 0
    """Timestamp, in units of the stream's time base."""
    first_pts: int = 0
    """Timestamp of the first frame."""

    @property
    def mark(self) -> Mark:
        """The mark with which `decode` resumes after this frame. Each access computes a checksum over all pixels."""
        return Mark(self.index, self.pts, self.first_pts, decoding.checksum(self.image))


def find(root: str) -> dict[str, str]:
    """List the videos of an archive, by their endings.

    Args:
        root: URI of the video folder; subfolders are included.

    Returns:
        Video key (path relative to root) -> identity of its content, sorted.

    Raises:
        ConfigError: the folder holds no video.
    """
    everything = storage.find(root)
    found = {name: identity for name, identity in everything.items() if name.lower().endswith(SUFFIXES)}
    if not found:
        raise ConfigError(
            f"{root}: no videos among {len(everything)} files, expected files ending in {', '.join(SUFFIXES)}. "
            "Check the archive's root and its video folder."
        )
    return found


def decode(
    uri: str,
    *,
    stride: int = 1,
    max_frames: int = 0,
    decoder: Literal["pyav", "decord"] = "pyav",
    after: Mark | None = None,
    ahead: int = 0,
) -> Iterator[Frame]:
    """Decode a video in order.

    Args:
        uri: of the video; a remote object is read by range, never as a whole (pyav).
        stride: yield every n-th frame, the first included; >= 1.
        max_frames: stop after this many frames, those up to the mark included; 0 means all.
        decoder: which library decodes.
        after: mark of a frame yielded with the same stride, limit and decoder: resume after it, with exactly the frames
            that an uninterrupted pass would have yielded.
        ahead: frames that a thread prefetches; 0 decodes each frame when it is requested. Closing or dropping the
            iterator stops the thread and closes the file.

    Yields:
        Frames with rising index and time.

    Raises:
        MediaError: the file is not a readable video, holds no frame, has timestamps that are missing or do not rise or
            frames of several sizes, ends before its container says, or lacks the marked frame.
        ConfigError: access refused, or decord is selected but not installed.
    """
    frames = _selected(uri, stride, max_frames, decoder, after)
    return prefetch(frames, ahead, name="sheep-decode")


def _selected(uri: str, stride: int, max_frames: int, decoder: str, after: Mark | None) -> Generator[Frame, None, None]:
    yielded = after.index // stride + 1 if after else 0
    if max_frames and yielded >= max_frames:
        return
    shape = None
    pictures = decoding.by_pyav(uri, after) if decoder == "pyav" else decoding.by_decord(uri, after)
    for picture in _rising(pictures, uri):
        if picture.index % stride:
            continue
        image = picture.image()
        shape = shape or image.shape
        if image.shape != shape:
            raise MediaError(
                f"{uri}: frame {picture.index} is {image.shape[1]} x {image.shape[0]} px, the first is "
                f"{shape[1]} x {shape[0]} px; expected one size. Split the file where the size changes."
            )
        if after is not None and picture.index == after.index:
            continue
        yield Frame(picture.index, picture.time_s, image, picture.pts, picture.first_pts)
        yielded += 1
        if yielded == max_frames:
            return


def _rising(pictures: Iterator[decoding.Picture], uri: str) -> Iterator[decoding.Picture]:
    """Refuse times that do not rise; log long gaps and damage.

    Gaps and damage are not errors: a camera may pause or drop frames.

    Args:
        pictures: in order.
        uri: named in messages.
    """
    last, gap_s, gap_at, first_damaged, num_damaged = None, 0.0, 0, 0, 0
    for picture in pictures:
        if last is not None and picture.time_s <= last.time_s:
            raise MediaError(
                f"{uri}: frame {picture.index} is shown at {picture.time_s:.3f} s, not after frame {last.index} at "
                f"{last.time_s:.3f} s; expected rising times. Convert the file again (ffmpeg -fflags +genpts -i in "
                "-fps_mode cfr out.mp4)."
            )
        if last is not None and picture.time_s - last.time_s > gap_s:
            gap_s, gap_at = picture.time_s - last.time_s, picture.index
        if picture.damaged:
            first_damaged, num_damaged = first_damaged if num_damaged else picture.index, num_damaged + 1
        last = picture
        yield picture
    if last is not None and gap_s > max(_GAP_S, _GAP_TIMES * (last.time_s - gap_s) / max(last.index - 1, 1)):
        log.warning("time gap video=%s before_frame=%d gap_s=%.2f", uri, gap_at, gap_s)
    if num_damaged:
        log.warning("damaged frames video=%s number=%d first=%d", uri, num_damaged, first_damaged)


def size_px(uri: str) -> tuple[int, int]:
    """Read (height, width) of the decoded, rotated frames from the first frame.

    Raises:
        MediaError: as `decode`.
    """
    height, width = next(iter(decode(uri, max_frames=1))).image.shape[:2]
    return height, width


def length_s(uri: str) -> float:
    """Return the length stated by the container [s], to estimate the remaining time; nan where it states none."""
    return decoding.length_s(uri)
