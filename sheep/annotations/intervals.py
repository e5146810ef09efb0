"""Annotations: scored intervals and bouts of one animal in one video, matched with videos and sampled at frames."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath, PureWindowsPath

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sheep.errors import ConfigError
from sheep.schemas import LABEL_FRAMES, LABELS

EDGE_S = 0.0005 + 1e-6
"""Exports round times to milliseconds: a bout that starts at frame 2 of 30 Hz is written as 0.067, the frame is at
0.06667. Both ends of an interval are therefore moved half a millisecond (and float rounding) earlier."""
_SHOWN = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotation:
    """The scored intervals and bouts of one animal in one video."""

    video: str
    """The media file as the annotation names it; the video's key once matched."""
    animal: str
    observed: tuple[float, float]
    """Half-open interval [s] that was scored."""
    bouts: dict[str, list[tuple[float, float]]]
    """Label -> half-open intervals [s], sorted and disjoint; empty where the label never holds."""


def match(annotations: Iterable[Annotation], videos: Sequence[str]) -> dict[str, list[Annotation]]:
    """Match every annotation with its video, by the media file's name without folder and ending, case-sensitively.

    Args:
        annotations: as parsed.
        videos: keys of all videos of the archive.

    Returns:
        Video key -> its annotations, with `video` set to the key; videos without an annotation are missing.

    Raises:
        ConfigError: a media file matches no video or several, or an animal is annotated twice in one video.
    """
    by_stem: dict[str, list[str]] = {}
    for video in videos:
        by_stem.setdefault(PurePosixPath(video).stem, []).append(video)
    every = list(annotations)
    unmatched = sorted({item.video for item in every if _stem(item.video) not in by_stem})
    if unmatched:
        raise ConfigError(
            f"annotations: no video for {some(unmatched)}, expected one with the same name (without folder and ending, "
            f"case-sensitive) among {some(sorted(videos))}. Rename one of them, or remove the annotation file."
        )
    matched: dict[str, list[Annotation]] = {}
    for item in every:
        candidates = by_stem[_stem(item.video)]
        if len(candidates) > 1:
            raise ConfigError(
                f"annotations: {item.video!r} matches several videos, {some(candidates)}, expected one. Give the "
                "videos different names."
            )
        of_video = matched.setdefault(candidates[0], [])
        if any(other.animal == item.animal for other in of_video):
            raise ConfigError(
                f"annotations: animal {item.animal!r} is annotated twice in {candidates[0]!r}, expected once. Keep "
                "one of the files."
            )
        of_video.append(replace(item, video=candidates[0]))
    return matched


def label_frames(keys: pa.Table, annotations: Iterable[Annotation]) -> pa.Table:
    """Sample annotations at frames.

    Args:
        keys: video, animal, frame, time_s; other columns are ignored.
        annotations: matched; those of videos that are not in `keys` are ignored.

    Returns:
        LABEL_FRAMES in the order of `keys`: 1 where start_s <= time_s < stop_s for a bout, 0 elsewhere in the scored
        interval, null outside it and for animals without an annotation. Both ends are moved by `EDGE_S`, see there.

    Raises:
        ConfigError: an annotated animal is not tracked in its video, or is annotated twice there.
    """
    names = keys.select(["video", "animal"]).to_pandas()
    rows_of: Mapping[tuple[str, str], NDArray[np.intp]] = names.groupby(["video", "animal"], sort=False).indices
    animals_in: dict[str, list[str]] = {}
    for video, animal in rows_of:
        animals_in.setdefault(video, []).append(animal)
    time_s = keys.column("time_s").to_numpy()
    held = np.zeros((keys.num_rows, len(LABELS)), dtype=np.int8)
    unscored = np.ones(keys.num_rows, dtype=bool)
    done: set[tuple[str, str]] = set()
    for item in annotations:
        if item.video not in animals_in:
            continue
        if item.animal not in animals_in[item.video] or (item.video, item.animal) in done:
            raise ConfigError(
                f"annotations: animal {item.animal!r} in {item.video!r} is not tracked, or "
                f"annotated twice; tracked there: {some(animals_in[item.video])}. Use the "
                "same names in BORIS's subjects and in the prompt file, one file each."
            )
        done.add((item.video, item.animal))
        rows = rows_of[item.video, item.animal]
        unscored[rows] = ~_within(time_s[rows], [item.observed])
        for column, label in enumerate(LABELS):
            held[rows, column] = _within(time_s[rows], item.bouts.get(label, []))
    columns = [keys.column(field.name).combine_chunks() for field in LABEL_FRAMES if field.name not in LABELS]
    columns += [pa.array(held[:, column], pa.int8(), mask=unscored) for column in range(len(LABELS))]
    return pa.Table.from_arrays(columns, schema=LABEL_FRAMES)


def _within(time_s: NDArray[np.float64], intervals: Sequence[tuple[float, float]]) -> NDArray[np.bool_]:
    """Tell for each time (F,) whether it is in one of the intervals."""
    inside = np.zeros(len(time_s), dtype=bool)
    for start, stop in intervals:
        inside |= (time_s >= start - EDGE_S) & (time_s < stop - EDGE_S)
    return inside


def _stem(media: str) -> str:
    return PureWindowsPath(media).stem  # splits at both kinds of slashes


def some(names: Sequence[str]) -> str:
    """List names for a message: at most 20 of them, and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(map(repr, names[:_SHOWN])) or "none") + more
