"""Video file at any URI -> frames in order, each with its presentation time.

In: a URI. Out: an iterator of frames, one in memory at a time, or a few with prefetching. It can resume after a mark of
an earlier pass, with the same frames, times and pixels. PyAV is the default because it was exact, with constant memory,
on every file tested; decord is an alternative for labs that use it (docs/decisions.md, "Decoder").
"""

import logging
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sheep.errors import ConfigError, MediaError
from sheep.io.prefetch import prefetch
from sheep.video import decoding
from sheep.video.archive import SUFFIXES, listing
from sheep.video.clock import Mark as Mark
from sheep.video.clock import Picture

log = logging.getLogger(__name__)

GAP_S, GAP_TIMES = 0.5, 5.0
"""A gap between frames is logged if it is longer than both: seconds, and times the mean of all other gaps."""
_FAULTS = {"equal": "equal times, spread", "joined": "joined recordings", "damaged": "damaged frames"}


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame."""

    index: int
    """Number in the file, from 0."""
    time_s: float
    """Seconds since the start of the presentation, as a player shows it (`sheep/video/clock.py`)."""
    image: NDArray[np.uint8]
    """(H, W, 3) uint8 RGB as displayed: square pixels, rotated and mirrored by the file's display matrix."""
    pts: int = 0
    """Timestamp, in units of the stream's time base."""
    first_pts: int = 0
    """The timestamp at which time is 0."""
    repaired: int = 0
    """See `Mark.repaired`."""
    gap: int = 0
    """See `Mark.gap`."""

    @property
    def mark(self) -> Mark:
        """What `decode` needs to resume after this frame. Each access computes a checksum over all pixels."""
        return Mark(self.index, self.pts, self.first_pts, decoding.checksum(self.image), self.repaired, self.gap)


def find(root: str) -> dict[str, str]:
    """List the videos of an archive, by their endings. Files left out are logged; `archive.listing` returns them.

    Args:
        root: URI of the video folder; subfolders are included.

    Returns:
        Video key (path relative to root) -> identity of its content, sorted.

    Raises:
        ConfigError: the folder holds no video.
    """
    found = listing(root)
    if not found.videos:
        raise ConfigError(
            f"{root}: no videos among {len(found.left_out)} files, expected files ending in {', '.join(SUFFIXES)}. "
            "Check the archive's root and its video folder."
        )
    if found.left_out:
        log.warning("left out folder=%s number=%d: %s", root, len(found.left_out), found.summary)
    return found.videos


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
    for picture in _watched(pictures, uri):
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
        yield Frame(picture.index, picture.time_s, image, picture.pts, picture.first_pts, picture.repaired, picture.gap)
        yielded += 1
        if yielded == max_frames:
            return


def _watched(pictures: Iterator[Picture], uri: str) -> Iterator[Picture]:
    """Log repaired times, long gaps and damage.

    Gaps and damage may also come from a camera that paused or dropped frames, so they are not errors.
    """
    first = last = None
    gap_s, gap_at = 0.0, 0
    number_of, first_of = Counter[str](), dict[str, int]()
    for picture in pictures:
        first = first or picture
        if last is not None and picture.time_s - last.time_s > gap_s:
            gap_s, gap_at = picture.time_s - last.time_s, picture.index
        for fault in (picture.repair, "damaged" if picture.damaged else ""):
            number_of[fault] += 1
            first_of.setdefault(fault, picture.index)
        last = picture
        yield picture
    if first is None or last is None:
        return
    if gap_s > max(GAP_S, GAP_TIMES * (last.time_s - first.time_s - gap_s) / max(last.index - first.index - 1, 1)):
        log.warning("time gap video=%s before_frame=%d gap_s=%.2f", uri, gap_at, gap_s)
    for fault, what in _FAULTS.items():
        if number_of[fault]:
            log.warning("%s video=%s number=%d first=%d", what, uri, number_of[fault], first_of[fault])


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
