"""BORIS "Export events, Tabular events" (csv, tsv, xlsx, ods): START, STOP and POINT rows."""

from sheep.annotations.coding import Coding
from sheep.annotations.readers.base import SourceFile
from sheep.annotations.readers.boris import Event, Medium, Observation, codings, late_cut
from sheep.errors import ConfigError
from sheep.io.tables import Row, Table, number

TOOL = "BORIS tabular events"
_REQUIRED = ("Subject", "Behavior", "Time")
_STATUS = ("Behavior type", "Status")
_MEDIA = ("Media file name", "Media file path", "Media file", "Source")
_MEDIA_S = ("Media duration (s)", "Total length")
_DURATION = "Observation duration"
_OFFSET = "Time offset (s)"
_OBSERVATION = "Observation id"
OPTIONAL = (*_STATUS, *_MEDIA, *_MEDIA_S, _DURATION, _OFFSET, _OBSERVATION)
"""Columns about the observation, which BORIS's tables share."""
_NOT_STATED = ("", "na", "not found", "live observation")
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
    if table is None or not any(column in table.columns for column in _STATUS):
        return None
    if not any(column in table.columns for column in _MEDIA):
        return None
    if not any(column in table.columns for column in (*_MEDIA_S, _DURATION)):
        raise ConfigError(
            f"{file.name}: no length of the media, expected one of {', '.join((*_MEDIA_S, _DURATION))}. Export again "
            "with a current BORIS."
        )
    if not table.rows:
        raise ConfigError(
            f"{file.name}: no event below the header, expected START and STOP rows. An export does not say which "
            "animal was watched: if it did nothing, list video, animal, start_s and stop_s in scored.csv."
        )
    grouped: dict[tuple[str, tuple[str, ...]], list[Row]] = {}
    for row in table.rows:
        grouped.setdefault((row[_OBSERVATION], media_names(row, table)), []).append(row)
    return [
        coding
        for (name, media), rows in grouped.items()
        for coding in codings(_observation(name, media, rows, table, file))
    ]


def _observation(name: str, media: tuple[str, ...], rows: list[Row], table: Table, file: SourceFile) -> Observation:
    lengths = media_lengths(rows[0], table, len(media))
    end_s = sum(float("inf") if length is None else length for length in lengths)
    events = [late_cut(_event(row, table), end_s) for row in rows]
    duration = rows[0][_DURATION]
    return Observation(
        where=f"{file.name}, observation {name!r}" if name else file.name,
        name=name,
        media=tuple(Medium(name=one, length_s=length) for one, length in zip(media, lengths, strict=True)),
        events=tuple(events),
        duration_s=None if not stated(duration) else table.number(rows[0], _DURATION),
    )


def _event(row: Row, table: Table) -> Event:
    given = [row[column].upper() for column in _STATUS if column in table.columns]
    status = next((one for one in given if one in _STATES), given[0])  # older exports: "Behavior type" is STATE
    event = Event(
        where=row.where,
        animal=row["Subject"],
        behaviour=row["Behavior"],
        modifiers=tuple(row[column] for column in table.columns if column.startswith("Modifier")),
        status=status,
        time_s=table.number(row, "Time") - offset_s(row, table),
    )
    if status not in _STATES:
        raise event.error(f"expected {', '.join(_STATES)}. Correct the row, or export the observation again.")
    if '"' in row[_OBSERVATION]:
        raise event.error(f"observation {row[_OBSERVATION]!r}, expected no quotation mark. Remove it.")
    if not event.behaviour:
        raise event.error("no behaviour, expected one. Correct the row.")
    return event


def offset_s(row: Row, table: Table) -> float:
    """Return the observation's time offset [s], which BORIS adds to every time."""
    return table.number(row, _OFFSET) if stated(row[_OFFSET]) else 0.0


def stated(text: str) -> bool:
    """Tell whether a cell about the media holds a value."""
    return text.strip().casefold() not in _NOT_STATED


def media_names(row: Row, table: Table) -> tuple[str, ...]:
    """Return the media files of player 1, in order.

    Raises:
        ConfigError: none, as in a live observation.
    """
    source = row["Source"]
    if stated(source):
        first = source.split("|")[0]
        first = first.partition(":")[2] if first.lower().startswith("player #1:") else first
        names = tuple(name.strip() for name in first.split(";") if name.strip())
        if names:
            return names
    for column in _MEDIA:
        if column in table.columns and stated(row[column]):
            return (row[column].removeprefix("player #1:").strip(),)
    raise ConfigError(
        f"{row.where}: no media file, expected the video's name. Only observations of videos can be used: leave live "
        "observations out of the export."
    )


def media_lengths(row: Row, table: Table, count: int) -> list[float | None]:
    """Return the length [s] of each media file of player 1, None where it is not stated."""
    column = next((one for one in _MEDIA_S if one in table.columns), "")
    given = row[column].split("|")[0].split(";") if column else [""] * count
    if len(given) != count:
        raise ConfigError(f"{row.where}: {column} {row[column]!r}, expected {count} lengths, one for each media file.")
    return [
        number(text, f"{row.where}, {column}", decimal_comma=table.decimal_comma) if stated(text) else None
        for text in given
    ]
