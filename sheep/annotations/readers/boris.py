"""BORIS observations -> codings: what the three readers of BORIS's files share (tabular, aggregated, project).

Checked against BORIS 9 (`export_observation.py`, `observation_operations.py`). "Observation duration" and "Coding
duration" are the time from the first to the last event, or the media's length if the whole observation was exported.
Times of several media files in a row count on from one to the next.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sheep.annotations.coding import Coding
from sheep.annotations.intervals import Interval, Intervals, clip, join
from sheep.errors import ConfigError

NO_ANIMAL = ("", "No focal subject")
"""How BORIS writes that an event has no subject."""
LATE_S = 0.1
"""BORIS closes a state at the player's end, which may lie this much behind the media file's length [s]. A
convention: some frames of a slow camera."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Medium:
    """One media file of an observation."""

    name: str
    length_s: float | None
    """None where the file does not state it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One row of an export, or event of a project."""

    where: str
    animal: str
    behaviour: str
    modifiers: tuple[str, ...]
    status: str
    """START, STOP or POINT."""
    time_s: float
    """Since the start of the first media file."""

    def error(self, what: str) -> ConfigError:
        """Return an error that names the row and the event.

        Args:
            what: what is wrong, what was expected, what to do.
        """
        return ConfigError(f"{self.where}: {self.status} of {self.behaviour!r} at {self.time_s:g} s: {what}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """What was coded of some media files in a row."""

    where: str
    """File and observation, for messages."""
    name: str
    media: tuple[Medium, ...]
    """Of player 1, in order; at least one."""
    events: tuple[Event, ...]
    """In the order of the file."""
    duration_s: float | None
    """Coded duration as exported; None where the file does not state one."""
    interval_s: Interval | None = None
    """The part of the media that was watched, where the project limits the observation to one."""
    behaviours: tuple[str, ...] | None = None
    """Behaviours that could be coded; None where the file does not list them."""


def codings(observation: Observation) -> list[Coding]:
    """Turn an observation into one coding for each of its subjects and media files.

    Args:
        observation: without any event, its videos show nothing of any animal: then the animal stays unnamed.

    Raises:
        ConfigError: events that do not pair up, lie outside the media, or occur twice; media of unknown length in a
            row; or a limit of the observation outside of them.
    """
    edges = _edges(observation)
    refuse_doubles(observation.events)
    _check_times(observation, edges[-1])
    scored = _scored(observation, edges[-1])
    made = []
    by_animal: dict[str, list[Event]] = {} if observation.events else {"": []}
    for event in observation.events:
        by_animal.setdefault("" if event.animal in NO_ANIMAL else event.animal, []).append(event)
    for animal, events in by_animal.items():
        bouts, points = pair(events)
        for medium, start, stop in zip(observation.media, edges[:-1], edges[1:], strict=True):
            if scored is not None and not clip(scored, start, stop):
                continue  # nothing of this file was watched
            made.append(
                Coding(
                    where=observation.where,
                    media=medium.name,
                    media_s=medium.length_s,
                    animal=animal,
                    observer=observation.name,
                    scored=None if scored is None else _moved(clip(scored, start, stop), start),
                    bouts={name: _moved(clip(intervals, start, stop), start) for name, intervals in bouts.items()},
                    points={
                        name: tuple(time - start for time in times if start <= time < stop)
                        for name, times in points.items()
                    },
                    behaviours=observation.behaviours,
                    places={event.behaviour: event.where for event in reversed(events)},
                )
            )
    return made


def pair(events: Sequence[Event]) -> tuple[dict[str, Intervals], dict[str, tuple[float, ...]]]:
    """Pair START and STOP rows of one subject to bouts per behaviour, whatever their modifiers.

    Args:
        events: of one subject, in the order of the file.

    Returns:
        Behaviour -> bouts [s], and point event -> times [s].

    Raises:
        ConfigError: a START without STOP or the reverse, times that fall, or a bout of 0 s.
    """
    bouts: dict[str, list[Interval]] = {}
    points: dict[str, list[float]] = {}
    before: dict[tuple[str, ...], Event] = {}
    for event in events:
        if event.status == "POINT":
            points.setdefault(event.behaviour, []).append(event.time_s)
            continue
        kind = (event.behaviour, *event.modifiers)
        last = before.get(kind)
        if last and event.time_s < last.time_s:
            raise event.error(
                f"after {last.time_s:g} s in {last.where}, expected rising times. Sort the events by time."
            )
        is_open = last is not None and last.status == "START"
        if is_open != (event.status == "STOP"):
            expected = f"a STOP of {last.where} first" if last and is_open else "a START before it"
            raise event.error(f"unpaired, expected {expected}. Correct the rows (in BORIS: 'Fix unpaired events').")
        if last and is_open:
            if event.time_s == last.time_s:
                raise event.error(f"lasts 0 s since {last.where}, expected longer. Remove both rows.")
            bouts.setdefault(event.behaviour, []).append((last.time_s, event.time_s))
        before[kind] = event
    for event in before.values():
        if event.status == "START":
            raise event.error("unpaired, expected a STOP after it. Correct the rows (in BORIS: 'Fix unpaired events').")
    return {name: join(found) for name, found in bouts.items()}, {n: tuple(found) for n, found in points.items()}


def _edges(observation: Observation) -> list[float]:
    """Return where each media file starts and where the last one ends, [s]; infinite where the length is unknown."""
    edges = [0.0]
    for medium in observation.media:
        if medium.length_s is None and len(observation.media) > 1:
            raise ConfigError(
                f"{observation.where}: {len(observation.media)} media files in a row, of which {medium.name!r} has no "
                "length, expected one for each. Export with the media files present."
            )
        edges.append(edges[-1] + (medium.length_s if medium.length_s is not None else float("inf")))
    return edges


def _check_times(observation: Observation, end_s: float) -> None:
    for event in observation.events:
        if not (0 <= event.time_s <= end_s + LATE_S and math.isfinite(event.time_s)):
            names = " + ".join(one.name for one in observation.media)
            raise event.error(
                f"expected 0 to {end_s:g} s, the length of {names}. Correct the event, or the "
                "observation's time offset, or export it with its media files."
            )


def _scored(observation: Observation, end_s: float) -> Intervals | None:
    """Return what was watched [s]; None is everything.

    A duration that is shorter than the media says that only a part was coded. From 0 to the duration, if every event
    lies there; otherwise from the first to the last event, as BORIS counts the coded time. Of several media files in
    a row the duration may be the first one's alone.
    """
    if observation.interval_s is not None:
        start, stop = observation.interval_s
        if not 0 <= start < min(stop, end_s):
            raise ConfigError(
                f"{observation.where}: limited to {start:g} to {stop:g} s, expected a part of the {end_s:g} s of its "
                "media. Correct the observation's time interval."
            )
        return ((start, min(stop, end_s)),)
    duration_s = observation.duration_s
    if duration_s is None or not observation.events or duration_s >= end_s - LATE_S:
        return None
    times = [event.time_s for event in observation.events]
    if max(times) <= duration_s + LATE_S:
        return ((0.0, duration_s),)
    if max(times) - min(times) <= duration_s + LATE_S or len(observation.media) > 1:
        return ((min(times), max(times)),)
    raise ConfigError(
        f"{observation.where}: events from {min(times):g} to {max(times):g} s in an observation of {duration_s:g} s, "
        "expected them within its duration. Export the observation again."
    )


def refuse_doubles(events: Sequence[Event]) -> None:
    """Refuse rows that are pasted or exported twice.

    Args:
        events: of one observation.

    Raises:
        ConfigError: two events are the same.
    """
    seen: dict[tuple[object, ...], Event] = {}
    for event in events:
        key = (event.animal, event.behaviour, event.modifiers, event.status, event.time_s)
        if key in seen:
            raise event.error(
                f"the same event as in {seen[key].where}, expected it once. Remove one of the rows, or one of the "
                "files if one is a copy."
            )
        seen[key] = event


def _moved(intervals: Intervals, by: float) -> Intervals:
    return tuple((start - by, stop - by) for start, stop in intervals) if by else intervals


def late_cut(event: Event, end_s: float) -> Event:
    """Return an event that lies just behind the media's end at the end, and any other as it is.

    Args:
        event: any.
        end_s: length of the media [s]; may be infinite.
    """
    return replace(event, time_s=end_s) if end_s < event.time_s <= end_s + LATE_S else event
