"""BORIS "Export events, Tabular events" (csv, tsv, xlsx, ods): START, STOP and POINT rows."""

from sheep.annotations.coding import Coding
from sheep.annotations.readers.base import SourceFile
from sheep.annotations.readers.boris import Event
from sheep.annotations.readers.boris_table import (
    DURATION,
    MEDIA,
    MEDIA_S,
    OBSERVATION,
    OPTIONAL,
    STATUS,
    modifiers,
    offset_s,
    read_table,
)
from sheep.errors import ConfigError
from sheep.io.tables import Row, Table

TOOL = "BORIS tabular events"
_REQUIRED = ("Subject", "Behavior", "Time")
_STATES = ("START", "STOP", "POINT")


def read(file: SourceFile) -> list[Coding] | None:
    """Read an export; current and older ones (rows about the observation above the header).

    Args:
        file: any file.

    Returns:
        One coding for each observation, subject and media file; None if it is not such an export.

    Raises:
        ConfigError: with file, row and what to do: a column is missing, no event, or what `boris.codings` refuses.

    Source: BORIS user guide, "Export events".
    """
    table = file.table(_REQUIRED, OPTIONAL)
    if table is None or not any(column in table.columns for column in STATUS):
        return None
    if not any(column in table.columns for column in MEDIA):
        return None
    if not any(column in table.columns for column in (*MEDIA_S, DURATION)):
        raise ConfigError(
            f"{file.name}: no length of the media, expected one of {', '.join((*MEDIA_S, DURATION))}. Export again "
            "with a current BORIS."
        )
    if not table.rows:
        raise ConfigError(
            f"{file.name}: no event below the header, expected START and STOP rows. An export does not say which "
            "animal was watched: if it did nothing, list video, animal, start_s and stop_s in scored.csv."
        )
    return read_table(file, table, lambda row, table: [_event(row, table)], (DURATION,))


def _event(row: Row, table: Table) -> Event:
    given = [row[column].upper() for column in STATUS if column in table.columns]
    status = next((one for one in given if one in _STATES), given[0])  # older exports: "Behavior type" is STATE
    event = Event(
        where=row.where,
        animal=row["Subject"],
        behaviour=row["Behavior"],
        modifiers=modifiers(row, table),
        status=status,
        time_s=table.number(row, "Time") - offset_s(row, table),
    )
    if status not in _STATES:
        raise event.error(f"expected {', '.join(_STATES)}. Correct the row, or export the observation again.")
    if '"' in row[OBSERVATION]:
        raise event.error(f"observation {row[OBSERVATION]!r}, expected no quotation mark. Remove it.")
    if not event.behaviour:
        raise event.error("no behaviour, expected one. Correct the row.")
    return event
