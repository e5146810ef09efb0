"""Annotations: codings resolved against videos, animals and the ethogram, and sampled at frames."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sheep import schemas
from sheep.annotations.coding import Coding, TimeUnit
from sheep.annotations.ethogram import Ethogram
from sheep.annotations.intervals import EDGE_S, Intervals, join, length, shared, within
from sheep.annotations.matching import some
from sheep.errors import ConfigError

_WHOLE: Intervals = ((0.0, float("inf")),)
_EXCLUSIVE_SLACK: Mapping[TimeUnit, float] = {"s": 0.1, "frame": 2.0}
"""Two bouts that exclude each other may overlap by this much. A convention, about the time a key
press takes; not measured."""
_SAME_OBSERVER = ("where", "observer", "unit", "scored", "only_scored", "behaviours")


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotation:
    """The scores of one animal in one video by one observer."""

    video: str
    animal: str
    observer: str
    """Empty where nobody else scored this animal in this video."""
    where: str
    """The file, for messages."""
    unit: TimeUnit
    scored: Mapping[str, Intervals]
    """Label -> where it was scored, in `unit`; a label that was not scored is missing. Infinite where the whole video
    was."""
    bouts: Mapping[str, Intervals]
    """Label -> where it holds; within `scored`."""


@dataclass(frozen=True, slots=True)
class Annotations:
    """Every annotation of an archive."""

    used: tuple[Annotation, ...]
    """One for each annotated animal and video: what the probe learns from and is scored on."""
    others: tuple[Annotation, ...] = ()
    """By further observers of the same animal and video: for the agreement between observers."""


def resolve(
    codings: Iterable[Coding],
    video_of: Callable[[Coding], str],
    animals_in: Mapping[str, Sequence[str]],
    ethogram: Ethogram,
) -> Annotations:
    """Resolve codings to annotations.

    Codings of one animal, video, file and observer are one. Others that do not overlap are joined. Of those that do,
    each is an observer's; the one with the most scored time is used, and the first in the order of files where they are
    equal.

    Args:
        codings: of all files, in the order of files.
        video_of: returns the video of a coding; raises ConfigError if there is not one.
        animals_in: video -> the animals that are prompted there.
        ethogram: the study's.

    Raises:
        ConfigError: no video or animal for a coding, a behaviour that the ethogram does not have, two codings that are
            the same, a bout outside of what was watched, or behaviours at once that exclude each other.
    """
    by_animal: dict[tuple[str, str], list[Coding]] = {}
    for coding in codings:
        video = video_of(coding)
        by_animal.setdefault((video, _animal_of(coding, video, animals_in)), []).append(coding)
    used, others = [], []
    for (video, animal), every in by_animal.items():
        annotations = _observers(video, animal, _with_scored(_merged(every)), ethogram)
        best = max(range(len(annotations)), key=lambda place: (_scored_length(annotations[place]), -place))
        used.append(annotations[best])
        others += [one for place, one in enumerate(annotations) if place != best]
    return Annotations(tuple(used), tuple(others))


def label_frames(keys: pa.Table, annotations: Iterable[Annotation], labels: Sequence[str]) -> pa.Table:
    """Sample annotations at frames.

    Args:
        keys: video, animal, frame, time_s; other columns are ignored.
        annotations: at most one for each animal and video; those of videos that are not in `keys` are ignored.
        labels: the study's.

    Returns:
        `schemas.label_frames(labels)` in the order of `keys`: 1 where start <= time < stop for a bout, 0 elsewhere
        where the label was scored, null elsewhere. Ends in seconds are moved by `EDGE_S`, see there.

    Raises:
        ConfigError: an annotated animal is not tracked in its video.
    """
    names = keys.select(["video", "animal"]).to_pandas()
    rows_of: Mapping[tuple[str, str], NDArray[np.intp]] = names.groupby(["video", "animal"], sort=False).indices
    tracked = set(names["video"])
    at: Mapping[TimeUnit, NDArray[np.floating]] = {
        "s": keys.column("time_s").to_numpy(),
        "frame": keys.column("frame").to_numpy().astype(np.float64),
    }
    held = np.zeros((keys.num_rows, len(labels)), dtype=np.int8)
    unscored = np.ones((keys.num_rows, len(labels)), dtype=bool)
    for one in annotations:
        if one.video not in tracked:
            continue
        if (one.video, one.animal) not in rows_of:
            there = sorted(animal for video, animal in rows_of if video == one.video)
            raise ConfigError(f"{one.where}: animal {one.animal!r} is not tracked in {one.video!r}: {some(there)} are.")
        rows = rows_of[one.video, one.animal]
        edge = EDGE_S if one.unit == "s" else 0.0
        for column, label in enumerate(labels):
            if label in one.scored:
                unscored[rows, column] = ~within(at[one.unit][rows], one.scored[label], edge)
                held[rows, column] = within(at[one.unit][rows], one.bouts.get(label, ()), edge)
    columns = schemas.key_columns(keys)
    columns += [pa.array(held[:, column], pa.int8(), mask=unscored[:, column]) for column in range(len(labels))]
    return pa.Table.from_arrays(columns, schema=schemas.label_frames(labels))


def _animal_of(coding: Coding, video: str, animals_in: Mapping[str, Sequence[str]]) -> str:
    there = animals_in.get(video, ())
    if not coding.animal:
        if len(there) == 1:
            return there[0]
        raise ConfigError(
            f"{coding.where}: names no animal, and {video!r} shows {some(there)}, expected one animal. Name it in the "
            "annotation file (in BORIS: subjects)."
        )
    if coding.animal not in there:
        near = get_close_matches(coding.animal.casefold(), [one.casefold() for one in there], n=1, cutoff=0.7)
        hint = "".join(f" Did you mean {one!r}?" for one in there if near and one.casefold() == near[0])
        raise ConfigError(
            f"{coding.where}: animal {coding.animal!r} has no prompt in {video!r}, which has {some(there)}.{hint} Use "
            "the same names in annotations, prompts and cohort."
        )
    return coding.animal


def _merged(codings: Iterable[Coding]) -> list[Coding]:
    """Join the codings of one observer in one file, such as BORIS's events with and without the animal as subject."""
    merged: list[Coding] = []
    for new in codings:
        for place, old in enumerate(merged):
            if all(getattr(old, name) == getattr(new, name) for name in _SAME_OBSERVER):
                merged[place] = replace(
                    old,
                    bouts=_both(old.bouts, new.bouts),
                    absent=_both(old.absent, new.absent),
                    points={**new.points, **old.points},
                    places={**new.places, **old.places},
                )
                break
        else:
            merged.append(new)
    return merged


def _both(first: Mapping[str, Intervals], second: Mapping[str, Intervals]) -> dict[str, Intervals]:
    return {name: join((*first.get(name, ()), *second.get(name, ()))) for name in dict.fromkeys((*first, *second))}


def _with_scored(codings: Sequence[Coding]) -> list[Coding]:
    """Apply what files state about the scored intervals alone to the other codings of an animal in a video."""
    stated = [one for one in codings if one.only_scored]
    rest = [one for one in codings if not one.only_scored]
    if not stated:
        return rest
    for one in (*stated, *rest):
        if one.unit != stated[0].unit:
            raise ConfigError(
                f"{one.where}: in {one.unit}, and {stated[0].where} in {stated[0].unit}, expected one unit for the "
                "scored intervals and the bouts of a video. Convert one of them."
            )
    scored = join(interval for one in stated for interval in one.scored or _WHOLE)
    return [replace(one, scored=scored, only_scored=False) for one in rest or stated[:1]]


def _observers(video: str, animal: str, codings: Sequence[Coding], ethogram: Ethogram) -> list[Annotation]:
    """Resolve the codings of one animal in one video: joined where they do not overlap, one for each observer."""
    joined: list[Annotation] = []
    for coding in codings:
        new = _annotation(video, animal, coding, ethogram)
        for place, old in enumerate(joined):
            if old.where != new.where and _same(old, new):
                raise ConfigError(
                    f"{new.where}: the same annotation of {animal!r} in {video!r} as in {old.where}, expected it once. "
                    "Remove one of them."
                )
            if old.unit == new.unit and not _overlap(old, new):
                joined[place] = _join(old, new)
                break
        else:
            joined.append(new)
    return joined if len(joined) > 1 else [replace(one, observer="") for one in joined]


def _same(old: Annotation, new: Annotation) -> bool:
    """Tell a copy; two observers may agree that nothing happened."""
    return any(new.bouts.values()) and (old.unit, old.scored, old.bouts) == (new.unit, new.scored, new.bouts)


def _annotation(video: str, animal: str, coding: Coding, ethogram: Ethogram) -> Annotation:
    """Resolve the behaviours of one coding."""
    bouts = _by_label(coding.bouts, coding, ethogram)
    absent = _by_label(coding.absent, coding, ethogram)
    for written in coding.points:
        behaviour = ethogram.find(written, coding.place_of(written))
        if behaviour.kind == "state" and not behaviour.ignore:
            raise ConfigError(
                f"{coding.place_of(written)}: point event {written!r}, expected a state with START and STOP, as in the "
                "ethogram. Make it a state event in the annotation tool, or give it kind = point in the ethogram."
            )
    whole = coding.scored if coding.scored is not None else _WHOLE
    if coding.absent:
        scored = _both(bouts, absent)
    elif coding.behaviours is not None:
        named = [
            ethogram.named(written, coding.where) for written in coding.behaviours if not coding.bouts.get(written)
        ]
        scored = dict.fromkeys((*bouts, *(one.name for one in named if one)), whole)
    else:
        scored = dict.fromkeys(ethogram.labels, whole)
    labels = [label for label in ethogram.labels if label in scored]
    cut = {label: _within_scored(label, bouts.get(label, ()), scored[label], coding) for label in labels}
    _refuse_at_once(cut, ethogram, coding)
    return Annotation(
        video=video,
        animal=animal,
        observer=coding.observer or coding.where,
        where=coding.where,
        unit=coding.unit,
        scored={label: scored[label] for label in labels},
        bouts=cut,
    )


def _refuse_at_once(bouts: Mapping[str, Intervals], ethogram: Ethogram, coding: Coding) -> None:
    for group in ethogram.exclusive:
        for place, first in enumerate(group):
            for second in group[place + 1 :]:
                for start, stop in shared(bouts.get(first, ()), bouts.get(second, ())):
                    if stop - start > _EXCLUSIVE_SLACK[coding.unit]:
                        raise ConfigError(
                            f"{coding.where}: {first!r} and {second!r} hold at once from {start:g} to {stop:g} "
                            f"[{coding.unit}], expected never: they are of one group in the ethogram. Correct the "
                            "annotation or the group."
                        )


def _by_label(given: Mapping[str, Intervals], coding: Coding, ethogram: Ethogram) -> dict[str, Intervals]:
    """Translate what a file calls its behaviours; several names of one behaviour are joined."""
    found: dict[str, Intervals] = {}
    for written, intervals in given.items():
        behaviour = (
            ethogram.find(written, coding.place_of(written)) if intervals else ethogram.named(written, coding.where)
        )
        if behaviour is None:
            continue
        if intervals and behaviour.kind == "point" and not behaviour.ignore:
            raise ConfigError(
                f"{coding.where}: {written!r} has a duration, expected a point event as in the ethogram. Correct its "
                "kind there."
            )
        found[behaviour.name] = join((*found.get(behaviour.name, ()), *intervals))
    return found


def _within_scored(label: str, bouts: Intervals, scored: Intervals, coding: Coding) -> Intervals:
    """Cut bouts to what was watched; refuse one that lies outside of it."""
    for bout in bouts:
        if not shared((bout,), scored):
            raise ConfigError(
                f"{coding.where}: {label!r} from {bout[0]:g} to {bout[1]:g} [{coding.unit}], expected it within what "
                f"was watched, {', '.join(f'{start:g} to {stop:g}' for start, stop in scored)}. Correct the bout or "
                "the watched intervals."
            )
    return shared(bouts, scored)


def _overlap(first: Annotation, second: Annotation) -> bool:
    both = set(first.scored) & set(second.scored)
    return any(shared(first.scored[label], second.scored[label]) for label in both)


def _join(first: Annotation, second: Annotation) -> Annotation:
    labels = [*first.scored, *(label for label in second.scored if label not in first.scored)]
    return replace(
        first,
        where=f"{first.where}; {second.where}",
        scored={label: join((*first.scored.get(label, ()), *second.scored.get(label, ()))) for label in labels},
        bouts={label: join((*first.bouts.get(label, ()), *second.bouts.get(label, ()))) for label in labels},
    )


def _scored_length(annotation: Annotation) -> float:
    return sum(length(intervals) for intervals in annotation.scored.values())
