"""BORIS exports of tabular events -> annotations (BORIS user guide, "Export events")."""

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from sheep.annotations.intervals import EDGE_S, Annotation
from sheep.errors import ConfigError
from sheep.io.text import parsed
from sheep.schemas import LABELS

_MEDIA_COLUMNS = ("Media file name", "Media file path", "Media file", "Source")
_DURATION_COLUMNS = ("Media duration (s)", "Total length", "Observation duration")
_STATUS_COLUMNS = ("Behavior type", "Status")
_NO_MEDIA = ("", "NA", "Not found")
_NO_ANIMAL = ("", "No focal subject")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Event:
    """One row of an export."""

    where: str
    """File and row, for messages."""
    observation: str
    media: str
    animal: str
    behaviour: str
    modifiers: tuple[str, ...]
    status: str
    time_s: float
    duration_s: float

    def error(self, what: str) -> ConfigError:
        """Return an error that names the row and the event."""
        return ConfigError(f"{self.where}: {self.status} of {self.behaviour!r} at {self.time_s} s: {what}")


def parse_boris(text: str, *, name: str, labels: Sequence[str] = LABELS) -> list[Annotation]:
    """Read a BORIS export of tabular events.

    Current exports (one header row) and older ones (a preamble about the observation, then the header) are read,
    separated by tabs, commas or semicolons. START and STOP events pair up per media file, subject, behaviour and
    modifiers; bouts of one behaviour with different modifiers are joined. The scored interval is the whole media file.

    Args:
        text: content of the file.
        name: the file, for messages.
        labels: behaviours that may occur; all of them count as scored.

    Returns:
        One annotation per media file and subject with at least one row. An animal without a row counts as not scored,
        since an export does not list it.

    Raises:
        ConfigError: with file, row and what to do: columns missing, a behaviour that is not a label, a POINT event, a
            START without STOP or the reverse, times that go backwards or beyond the media file, no subject, several
            media files or a time offset in one observation.

    Source: BORIS user guide, "Export events".
    """
    events = _read_events(text, name)
    if not events:
        raise ConfigError(
            f"{name}: no event below the header, expected START and STOP rows. Export it again, or remove the file."
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


def _read_events(text: str, name: str) -> list[_Event]:
    """Parse the rows of an export; several names of columns are tried, since BORIS changed them between versions."""
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
        media_file = next((row[column] for column in media if row[column] not in _NO_MEDIA), "")
        event = _Event(
            where=where,
            observation=row.get("Observation id", ""),
            media=media_file.removeprefix("player #1:").strip(),
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
    """Return the rows (line number, cells) below the header, and the header, by which the separator is detected."""
    text = text.removeprefix("\ufeff")
    for delimiter in "\t,;":
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        with parsed(name):
            rows = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
        for position, (_, cells) in enumerate(rows):
            if {"Subject", "Behavior"} <= {cell.strip() for cell in cells}:
                return rows[position + 1 :], cells
    raise ConfigError(
        f"{name}: no header row with Subject and Behavior, expected a BORIS export of tabular events (TSV or CSV). "
        "Export with BORIS: Observations, Export events, Tabular events."
    )


def _check_event(event: _Event, labels: Sequence[str]) -> None:
    """Refuse an event that is not a START or STOP of a label by a named subject within its video."""
    if event.behaviour not in labels:
        near = get_close_matches(event.behaviour.lower().replace(" ", "_"), labels, n=1, cutoff=0.7)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise event.error(
            f"expected a behaviour of {', '.join(labels)}.{hint} Rename it in BORIS, or leave it out of the export."
        )
    if event.status not in ("START", "STOP"):
        raise event.error("expected START or STOP. Make it a state event in BORIS's ethogram.")
    if not event.media:
        raise event.error(
            "no media file, expected the video's name. Only observations of videos can be used; remove the others."
        )
    if event.animal in _NO_ANIMAL:
        raise event.error("no subject, expected the animal's name as in the prompt file. Set it in BORIS.")
    if not 0 <= event.time_s <= event.duration_s + EDGE_S:
        raise event.error(
            f"expected 0 to {event.duration_s} s, the length of {event.media!r}. Correct the event, or export the "
            "observation with its whole media file."
        )


def _pair(events: Sequence[_Event], labels: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    """Pair START and STOP rows of one animal in one media file, in the order of the file, to bouts per label."""
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
    """Sort intervals and join those that touch or overlap."""
    joined: list[tuple[float, float]] = []
    for start, stop in sorted(intervals):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return joined


def _seconds(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f"{what} is {text!r}, expected one number. Set BORIS's time format to seconds.") from error
