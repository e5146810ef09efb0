"""What the videos are, and where prompts and annotations do not fit them: read from the containers, nothing decoded."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from sheep import prompts
from sheep.annotations.coding import Coding
from sheep.config import CropConfig
from sheep.errors import ConfigError, MediaError
from sheep.io import storage
from sheep.schemas import Prompt
from sheep.video.scan import Scan, scan

MAX_LENGTH_DIFFERENCE_S, MAX_LENGTH_SHARE = 1.0, 0.02
"""A media file whose stated length differs from the video's by more than both was annotated on another cut."""
_THREADS = 8

Scans = Mapping[str, "Scan | str"]
"""Video -> what its container tells, or why it cannot be used."""


def scan_all(folder: str, videos: Iterable[str]) -> Scans:
    """Scan every video, several at a time.

    Args:
        folder: URI of the video folder.
        videos: keys.

    Raises:
        ConfigError: access to the storage is refused.
    """

    def one(video: str) -> "Scan | str":
        try:
            return scan(storage.join(folder, video))
        except MediaError as error:
            return str(error)

    keys = list(videos)
    with ThreadPoolExecutor(_THREADS) as pool:
        return dict(zip(keys, pool.map(one, keys), strict=True))


def unusable(scans: Scans) -> Iterator[str]:
    """Say which videos cannot be used. They are recorded by the crop stage, and the others go on.

    Args:
        scans: of every video.
    """
    for video, found in scans.items():
        if isinstance(found, str):
            yield f"{found} The study leaves it out."
        elif found.faults:
            left_out = "" if found.is_usable else ". The study leaves it out"
            yield f"{video}: {'; '.join(map(str, found.faults))}{left_out}."


def prompt_problems(
    given: Mapping[str, Iterable[Prompt]], scans: Scans, config: CropConfig, name: str
) -> Iterator[str]:
    """Say which prompts are on a frame or a place that the video does not have: all of them.

    Args:
        given: video -> its prompts.
        scans: of every video.
        config: stride and number of frames.
        name: the prompt file, for messages.
    """
    for video, of_video in given.items():
        found = scans.get(video)
        if found is None or isinstance(found, str):
            continue
        last = found.num_frames - 1
        if config.max_frames:
            last = min(last, (config.max_frames - 1) * config.stride_frames)
        for one in of_video:
            if one.frame > last:
                yield (
                    f"{name}: prompt of {one.animal!r} in {video} is on frame {one.frame}, expected 0 to {last}, the "
                    "last frame that is tracked. Correct the frame."
                )
            try:
                prompts.check_inside([one], {video: (found.height_px, found.width_px)}, name=name)
            except ConfigError as error:
                yield str(error)


def other_cuts(codings: Iterable[Coding], video_of: Callable[[Coding], str | None], scans: Scans) -> Iterator[str]:
    """Say which annotations were made on another cut of their video, as far as both state a length.

    Args:
        codings: of all annotation files.
        video_of: returns the video of a coding, None if absent.
        scans: of every video.
    """
    seen: set[tuple[str, float]] = set()
    for coding in codings:
        video = video_of(coding)
        found = scans.get(video) if video is not None else None
        if video is None or coding.media_s is None or (video, coding.media_s) in seen or not isinstance(found, Scan):
            continue
        seen.add((video, coding.media_s))
        # False where the container states no length: nan compares as False.
        if abs(coding.media_s - found.length_s) > max(MAX_LENGTH_DIFFERENCE_S, MAX_LENGTH_SHARE * found.length_s):
            yield (
                f"{coding.where}: annotated on media of {coding.media_s:g} s, and {video!r} lasts "
                f"{found.length_s:.1f} s, expected the same. It was made on another cut or another video of the same "
                "name: annotate this one."
            )
