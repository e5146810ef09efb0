"""BORIS "Export aggregated events" (csv, tsv, xlsx, ods): one row per bout."""

from sheep.annotations.coding import Coding
from sheep.annotations.readers.base import SourceFile
from sheep.annotations.readers.boris import Event, Medium, Observation, codings, late_cut
from sheep.annotations.readers.boris_tabular import OPTIONAL, media_lengths, media_names, offset_s, stated
from sheep.errors import ConfigError
from sheep.io.tables import Row, Table

TOOL = "BORIS aggregated events"
_REQUIRED = ("Subject", "Behavior", "Behavior type", "Start (s)", "Stop (s)")
_DURATIONS = ("Coding duration", "Observation duration")


def read(file: SourceFile) -> list[Coding] | None:
    """Read an export of aggregated events.

    Args:
        file: any file.

    Returns:
        One coding for each observation, subject and media file; None if it is not such an export.

    Raises:
        ConfigError: with file, row and what to do: no row, a bout that does not end after its start, or what
            `boris.codings` refuses.

    Source: BORIS user guide, "Export events".
    """
    table = file.table(_REQUIRED, (*OPTIONAL, *_DURATIONS))
    if table is None:
        return None
    if not table.rows:
        raise ConfigError(f"{file.name}: no bout below the header, expected some. Export it again, or remove the file.")
    grouped: dict[tuple[str, tuple[str, ...]], list[Row]] = {}
    for row in table.rows:
        grouped.setdefault((row["Observation id"], media_names(row, table)), []).append(row)
    return [
        coding
        for (name, media), rows in grouped.items()
        for coding in codings(_observation(name, media, rows, table, file))
    ]


def _observation(name: str, media: tuple[str, ...], rows: list[Row], table: Table, file: SourceFile) -> Observation:
    lengths = media_lengths(rows[0], table, len(media))
    end_s = sum(float("inf") if length is None else length for length in lengths)
    duration = next((column for column in _DURATIONS if stated(rows[0][column])), "")
    return Observation(
        where=f"{file.name}, observation {name!r}" if name else file.name,
        name=name,
        media=tuple(Medium(name=one, length_s=length) for one, length in zip(media, lengths, strict=True)),
        events=tuple(late_cut(event, end_s) for row in rows for event in _events(row, table)),
        duration_s=table.number(rows[0], duration) if duration else None,
    )


def _events(row: Row, table: Table) -> list[Event]:
    """Return the START and STOP of a bout, or its POINT."""
    columns = {"START": "Start (s)", "STOP": "Stop (s)", "POINT": "Start (s)"}
    kinds = ("POINT",) if row["Behavior type"].upper().startswith("POINT") else ("START", "STOP")
    modifiers = tuple(row[column] for column in table.columns if column.startswith("Modifier"))
    events = [
        Event(
            where=row.where,
            animal=row["Subject"],
            behaviour=row["Behavior"],
            modifiers=modifiers,
            status=status,
            time_s=table.number(row, columns[status]) - offset_s(row, table),
        )
        for status in kinds
    ]
    if not events[0].behaviour:
        raise events[0].error("no behaviour, expected one. Correct the row.")
    if events[-1].time_s <= events[0].time_s and len(events) == 2:
        raise events[1].error(f"expected it after its start at {events[0].time_s:g} s. Correct the row.")
    return events
