"""Annotation files and the cohort file in; label intervals, labels per frame and the group of every animal out.

Labels either import correctly or fail loudly. What was scored and found absent is 0; what nobody scored is null. An
annotation that fits no video is an error, because the alternative, a video without any behaviour, looks like data.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import PurePosixPath, PureWindowsPath

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sheep.errors import ConfigError
from sheep.tables import COHORT, LABEL_FRAMES, LABELS

EDGE_S = 0.0005 + 1e-6
"""Exports round times to milliseconds: a bout that starts at frame 2 of 30 Hz is written as 0.067, the frame is at
0.06667. Both ends of an interval are therefore taken half a millisecond (and float rounding) early."""

_MEDIA_COLUMNS = ("Media file name", "Media file path", "Media file", "Source")
_DURATION_COLUMNS = ("Media duration (s)", "Total length", "Observation duration")
_STATUS_COLUMNS = ("Behavior type", "Status")
_NO_MEDIA = ("", "NA", "Not found")
_NO_ANIMAL = ("", "No focal subject")
_SHOWN = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Annotation:
    """What one person scored of one animal in one video."""

    video: str
    """The media file as the annotation names it; the video's key once matched."""
    animal: str
    observed: tuple[float, float]
    """Half-open interval that was scored [s]."""
    bouts: dict[str, list[tuple[float, float]]]
    """Half-open intervals [s] per label, sorted, not overlapping; empty where the label was never seen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Event:
    """One row of an export."""

    where: str
    observation: str
    media: str
    animal: str
    behaviour: str
    modifiers: tuple[str, ...]
    status: str
    time_s: float
    duration_s: float

    def error(self, what: str) -> ConfigError:
        return ConfigError(f"{self.where}: {self.status} of {self.behaviour!r} at {self.time_s} s: {what}")


def parse_boris(text: str, *, name: str, labels: Sequence[str] = LABELS) -> list[Annotation]:
    """Read a BORIS export of tabular events.

    Current columns are understood (one header row), and older ones (a preamble about the observation, then the header),
    with tabs, commas or semicolons. START and STOP pair up per media file, subject, behaviour and modifiers; bouts of
    one behaviour with different modifiers are joined. The scored interval is the whole media file.

    Args:
        text: content of the file.
        name: the file, for messages.
        labels: behaviours that are expected; each counts as scored.

    Returns:
        One annotation per media file and subject that has at least one row. An animal without any row was not scored,
        as far as the export can tell.

    Raises:
        ConfigError: with file, row and what to do: columns missing, a behaviour that is not a label, a POINT event, a
            START without STOP or the reverse, times that go backwards or beyond the media file, no subject, several
            media files or a time offset in one observation.

    Source: BORIS user guide, "Export events".
    """
    events = _read_events(text, name)
    if not events:
        raise ConfigError(
            f"{name}: no event below the header, expected START and STOP rows. Export again, or remove the file."
        )
    scored: dict[tuple[str, str], list[_Event]] = {}
    for event in events:
        _check_event(event, labels)
        rows = scored.setdefault((event.media, event.animal), [event])
        if (rows[0].observation, rows[0].duration_s) != (event.observation, event.duration_s):
            raise event.error(
                f"observation {event.observation!r} of {event.duration_s} s, expected {rows[0].observation!r} of "
                f"{rows[0].duration_s} s as in {rows[0].where}. Export one observation per animal and media file."
            )
        if rows[0] is not event:
            rows.append(event)
    return [
        Annotation(video=media, animal=animal, observed=(0.0, rows[0].duration_s), bouts=_pair(rows, labels))
        for (media, animal), rows in scored.items()
    ]


def match(annotations: Iterable[Annotation], videos: Sequence[str]) -> dict[str, list[Annotation]]:
    """Find the video of every annotation: the media file's name without folder and ending, case kept.

    Args:
        annotations: as parsed.
        videos: keys of all videos of the archive.

    Returns:
        Video key -> its annotations, with `video` set to the key; videos without annotation are not in it.

    Raises:
        ConfigError: a media file fits no video or several, or an animal is annotated twice in one video.
    """
    by_stem: dict[str, list[str]] = {}
    for video in videos:
        by_stem.setdefault(PurePosixPath(video).stem, []).append(video)
    every = list(annotations)
    lost = sorted({item.video for item in every if _stem(item.video) not in by_stem})
    if lost:
        raise ConfigError(
            f"annotations: no video for {_some(lost)}, expected one with the same name (without folder and ending, "
            "case kept) "
            f"among {_some(sorted(videos))}. Rename one of them, or take the annotation file out."
        )
    matched: dict[str, list[Annotation]] = {}
    for item in every:
        candidates = by_stem[_stem(item.video)]
        if len(candidates) > 1:
            raise ConfigError(
                f"annotations: {item.video!r} fits several videos, {_some(candidates)}, expected one. Give the "
                "videos different names."
            )
        found = matched.setdefault(candidates[0], [])
        if any(other.animal == item.animal for other in found):
            raise ConfigError(
                f"annotations: animal {item.animal!r} is annotated twice in {candidates[0]!r}, expected once. Keep "
                "one of the files."
            )
        found.append(replace(item, video=candidates[0]))
    return matched


def label_frames(keys: pa.Table, annotations: Iterable[Annotation]) -> pa.Table:
    """Say for every frame whether each label holds.

    Args:
        keys: video, animal, frame, time_s; other columns are ignored.
        annotations: matched; those of videos that are not in `keys` are left out, since one may label a part of the
        archive.

    Returns:
        LABEL_FRAMES in the order of `keys`: 1 where start_s <= time_s < stop_s for a bout, 0 elsewhere within the
        scored interval, null outside it and for animals without annotation. Interval ends are taken EDGE_S early, see
        there.

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
                f"annotations: animal {item.animal!r} in {item.video!r} is not tracked, or annotated twice; tracked "
                "there: "
                f"{_some(animals_in[item.video])}. Use the same names in BORIS's subjects and in the prompt file, "
                "one file each."
            )
        done.add((item.video, item.animal))
        rows = rows_of[item.video, item.animal]
        unscored[rows] = ~_within(time_s[rows], [item.observed])
        for column, label in enumerate(LABELS):
            held[rows, column] = _within(time_s[rows], item.bouts.get(label, []))
    columns = [keys.column(field.name).combine_chunks() for field in LABEL_FRAMES if field.name not in LABELS]
    columns += [pa.array(held[:, column], pa.int8(), mask=unscored) for column in range(len(LABELS))]
    return pa.Table.from_arrays(columns, schema=LABEL_FRAMES)


def read_cohort(text: str, *, name: str) -> pa.Table:
    """Read the cohort file: which animals are in which video, and the group of each.

    Args:
        text: CSV with a header of at least video, animal, group.
        name: the file, for messages.

    Returns:
        COHORT, in the order of the file.

    Raises:
        ConfigError: a column or value is missing, a (video, animal) occurs twice, or an animal is in two groups.
    """
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    wanted = tuple(COHORT.names)
    if not set(wanted) <= {(field or "").strip() for field in reader.fieldnames or ()}:
        raise ConfigError(
            f"{name}: header {reader.fieldnames}, expected the columns {', '.join(wanted)}. Add what is missing."
        )
    reader.fieldnames = [(field or "").strip() for field in reader.fieldnames or ()]
    rows: list[tuple[str, ...]] = []
    group_of: dict[str, str] = {}
    seen: set[tuple[str, ...]] = set()
    for record in reader:
        row = tuple((record[column] or "").strip() for column in wanted)
        if not all(row):
            raise ConfigError(
                f"{name}, row {reader.line_num}: {dict(zip(wanted, row, strict=True))}, expected a value in each. "
                "Fill it in."
            )
        if row[:2] in seen:
            raise ConfigError(
                f"{name}, row {reader.line_num}: animal {row[1]!r} in {row[0]!r} occurs twice, expected once. "
                "Remove one row."
            )
        if group_of.setdefault(row[1], row[2]) != row[2]:
            raise ConfigError(
                f"{name}, row {reader.line_num}: animal {row[1]!r} is in group {row[2]!r} and in "
                f"{group_of[row[1]]!r}, expected one. "
                "Correct it, or name different animals differently.",
            )
        seen.add(row[:2])
        rows.append(row)
    columns = [pa.array([row[i] for row in rows], pa.string()) for i in range(len(wanted))]
    return pa.Table.from_arrays(columns, schema=COHORT)


def check_cohort(cohort: pa.Table, videos: Sequence[str]) -> None:
    """Check that cohort and archive speak of the same videos.

    Raises:
        ConfigError: a row names a video that is not there, or a video has no row.
    """
    named, there = set(cohort.column("video").to_pylist()), set(videos)
    if named != there:
        raise ConfigError(
            f"cohort: rows for videos that are not there: {_some(sorted(named - there))}; videos without a row: "
            f"{_some(sorted(there - named))}; expected the same videos in both. Correct the cohort file or the folder."
        )


def _read_events(text: str, name: str) -> list[_Event]:
    lines, header = _table(text, name)
    columns = {column.strip(): position for position, column in reversed(list(enumerate(header)))}
    media = [column for column in _MEDIA_COLUMNS if column in columns]
    duration = next((column for column in _DURATION_COLUMNS if column in columns), None)
    status = next((column for column in _STATUS_COLUMNS if column in columns), None)
    if not media or duration is None or status is None or "Time" not in columns:
        raise ConfigError(
            f"{name}: columns {', '.join(columns)}; expected Time, one of {_STATUS_COLUMNS}, one of "
            f"{_MEDIA_COLUMNS} and one of {_DURATION_COLUMNS}. Export with BORIS: Observations, Export events, "
            "Tabular events, as TSV or CSV."
        )
    modifiers = [column for column in columns if column.startswith("Modifier")]
    events = []
    for line, cells in lines:
        row = dict.fromkeys(columns, "") | {c: cells[p].strip() for c, p in columns.items() if p < len(cells)}
        where = f"{name}, row {line}"
        if _seconds(row.get("Time offset (s)") or "0", f"{where}: time offset") != 0:
            raise ConfigError(
                f"{where}: time offset {row['Time offset (s)']} s, expected 0. Set it to 0 in the observation."
            )
        found = next((row[column] for column in media if row[column] not in _NO_MEDIA), "")
        event = _Event(
            where=where,
            observation=row.get("Observation id", ""),
            media=found.removeprefix("player #1:").strip(),
            animal=row["Subject"],
            behaviour=row["Behavior"],
            modifiers=tuple(row[column] for column in modifiers),
            status=row[status].upper(),
            time_s=_seconds(row["Time"], f"{where}: time"),
            duration_s=_seconds(row[duration], f"{where}: {duration} (one media file per observation)"),
        )
        events.append(event)
    return events


def _table(text: str, name: str) -> tuple[list[tuple[int, list[str]]], list[str]]:
    """Rows (line number, cells) below the header, and the header; the separator is the one that shows a header."""
    text = text.removeprefix("\ufeff")
    for delimiter in "\t,;":
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        rows = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
        for position, (_, cells) in enumerate(rows):
            if {"Subject", "Behavior"} <= {cell.strip() for cell in cells}:
                return rows[position + 1 :], cells
    raise ConfigError(
        f"{name}: no header row with Subject and Behavior, expected a BORIS export of tabular events (TSV or CSV). "
        "Export with BORIS: Observations, Export events, Tabular events."
    )


def _check_event(event: _Event, labels: Sequence[str]) -> None:
    if event.behaviour not in labels:
        near = get_close_matches(event.behaviour.lower().replace(" ", "_"), labels, n=1, cutoff=0.7)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise event.error(
            f"expected a behaviour of {', '.join(labels)}.{hint} Rename it in BORIS, or do not export it."
        )
    if event.status not in ("START", "STOP"):
        raise event.error("expected START or STOP. Make it a state event in BORIS's ethogram.")
    if not event.media:
        raise event.error("no media file, expected the video's name. Only observations of videos can be used.")
    if event.animal in _NO_ANIMAL:
        raise event.error("no subject, expected the animal's name as in the prompt file. Set it in BORIS.")
    if not 0 <= event.time_s <= event.duration_s + EDGE_S:
        raise event.error(
            f"expected 0 to {event.duration_s} s, the length of {event.media!r}. Correct the event, or export the "
            "observation with its whole media file."
        )


def _pair(events: Sequence[_Event], labels: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    """Bouts per label of one animal in one media file, from START and STOP rows in the order of the file."""
    bouts: dict[str, list[tuple[float, float]]] = {label: [] for label in labels}
    before: dict[tuple[str, ...], _Event] = {}
    for event in events:
        kind = (event.behaviour, *event.modifiers)
        last = before.get(kind)
        if last and event.time_s < last.time_s:
            raise event.error(f"after {last.time_s} s in {last.where}, expected rising times. Sort the events by time.")
        is_open = last is not None and last.status == "START"
        if is_open != (event.status == "STOP"):
            expected = f"a STOP of {last.where} first" if last and is_open else "a START before it"
            raise event.error(
                f"unpaired, expected {expected}. Use BORIS's 'Check state events' and 'Fix unpaired events'."
            )
        if last and is_open:
            if event.time_s == last.time_s:
                raise event.error(f"lasts 0 s since {last.where}, expected longer. Remove both rows.")
            bouts[event.behaviour].append((last.time_s, event.time_s))
        before[kind] = event
    for event in before.values():
        if event.status == "START":
            raise event.error("unpaired, expected a STOP after it. Use BORIS's 'Fix unpaired events'.")
    return {label: _join(intervals) for label, intervals in bouts.items()}


def _join(intervals: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    joined: list[tuple[float, float]] = []
    for start, stop in sorted(intervals):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return joined


def _within(time_s: NDArray[np.float64], intervals: Sequence[tuple[float, float]]) -> NDArray[np.bool_]:
    inside = np.zeros(len(time_s), dtype=bool)
    for start, stop in intervals:
        inside |= (time_s >= start - EDGE_S) & (time_s < stop - EDGE_S)
    return inside


def _seconds(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f"{what} is {text!r}, expected one number. Set BORIS's time format to seconds.") from error


def _stem(media: str) -> str:
    return PureWindowsPath(media).stem  # splits at both kinds of slash


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(map(repr, names[:_SHOWN])) or "none") + more
