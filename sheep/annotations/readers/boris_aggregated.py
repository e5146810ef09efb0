"""BORIS "Export aggregated events" (csv, tsv, xlsx, ods): one row per bout."""

from sheep.annotations.coding import Coding
from sheep.annotations.readers.base import SourceFile
from sheep.annotations.readers.boris import Event
from sheep.annotations.readers.boris_table import DURATION, OPTIONAL, modifiers, offset_s, read_table
from sheep.errors import ConfigError
from sheep.io.tables import Row, Table

TOOL = "BORIS aggregated events"
_REQUIRED = ("Subject", "Behavior", "Behavior type", "Start (s)", "Stop (s)")
_DURATIONS = ("Coding duration", DURATION)


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
    return read_table(file, table, _events, _DURATIONS)


def _events(row: Row, table: Table) -> list[Event]:
    """Return the START and STOP of a bout, or its POINT."""
    columns = {"START": "Start (s)", "STOP": "Stop (s)", "POINT": "Start (s)"}
    kinds = ("POINT",) if row["Behavior type"].upper().startswith("POINT") else ("START", "STOP")
    events = [
        Event(
            where=row.where,
            animal=row["Subject"],
            behaviour=row["Behavior"],
            modifiers=modifiers(row, table),
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
