"""What BORIS's exported tables of events share: columns about the observation, and how rows become observations."""

from collections.abc import Callable, Iterable, Sequence

from sheep.annotations.coding import Coding
from sheep.annotations.readers.base import SourceFile
from sheep.annotations.readers.boris import Event, Medium, Observation, codings, late_cut
from sheep.errors import ConfigError
from sheep.io.tables import Row, Table, number

OBSERVATION = "Observation id"
STATUS = ("Behavior type", "Status")
MEDIA = ("Media file name", "Media file path", "Media file", "Source")
MEDIA_S = ("Media duration (s)", "Total length")
DURATION = "Observation duration"
OPTIONAL = (*STATUS, *MEDIA, *MEDIA_S, DURATION, "Time offset (s)", OBSERVATION)
"""Columns that any of these tables may have."""
_NOT_STATED = ("", "na", "not found", "live observation")


def read_table(
    file: SourceFile, table: Table, events_of: Callable[[Row, Table], Iterable[Event]], durations: Sequence[str]
) -> list[Coding]:
    """Read the rows of an export, observation by observation.

    Args:
        file: where the table is from.
        table: with at least one row.
        events_of: returns the events of one row.
        durations: columns with the length of the observation [s], the first one that is stated counts.

    Returns:
        One coding for each observation, subject and media file.

    Raises:
        ConfigError: with file, row and what to do: no media file, a length that is no number, or what `events_of` and
            `boris.codings` refuse.
    """
    grouped: dict[tuple[str, tuple[str, ...]], list[Row]] = {}
    for row in table.rows:
        grouped.setdefault((row[OBSERVATION], _media_names(row, table)), []).append(row)
    found: list[Coding] = []
    for (name, media), rows in grouped.items():
        lengths = _media_lengths(rows[0], table, len(media))
        end_s = sum(float("inf") if length is None else length for length in lengths)
        duration = next((column for column in durations if _stated(rows[0][column])), "")
        observation = Observation(
            where=f"{file.name}, observation {name!r}" if name else file.name,
            name=name,
            media=tuple(Medium(name=one, length_s=length) for one, length in zip(media, lengths, strict=True)),
            events=tuple(late_cut(event, end_s) for row in rows for event in events_of(row, table)),
            duration_s=table.number(rows[0], duration) if duration else None,
        )
        found += codings(observation)
    return found


def modifiers(row: Row, table: Table) -> tuple[str, ...]:
    """Return what the modifier columns of a row hold."""
    return tuple(row[column] for column in table.columns if column.startswith("Modifier"))


def offset_s(row: Row, table: Table) -> float:
    """Return the observation's time offset [s], which BORIS adds to every time."""
    return table.number(row, "Time offset (s)") if _stated(row["Time offset (s)"]) else 0.0


def _stated(text: str) -> bool:
    """Tell whether a cell about the media holds a value."""
    return text.strip().casefold() not in _NOT_STATED


def _media_names(row: Row, table: Table) -> tuple[str, ...]:
    """Return the media files of player 1, in order.

    Raises:
        ConfigError: none, as in a live observation.
    """
    source = row["Source"]
    if _stated(source):
        first = source.split("|")[0]
        first = first.partition(":")[2] if first.lower().startswith("player #1:") else first
        names = tuple(name.strip() for name in first.split(";") if name.strip())
        if names:
            return names
    for column in MEDIA:
        if column in table.columns and _stated(row[column]):
            return (row[column].removeprefix("player #1:").strip(),)
    raise ConfigError(
        f"{row.where}: no media file, expected the video's name. Only observations of videos can be used: leave live "
        "observations out of the export."
    )


def _media_lengths(row: Row, table: Table, count: int) -> list[float | None]:
    """Return the length [s] of each media file of player 1, None where it is not stated."""
    column = next((one for one in MEDIA_S if one in table.columns), "")
    given = row[column].split("|")[0].split(";") if column else [""] * count
    if len(given) != count:
        raise ConfigError(f"{row.where}: {column} {row[column]!r}, expected {count} lengths, one for each media file.")
    return [
        number(text, f"{row.where}, {column}", decimal_comma=table.decimal_comma) if _stated(text) else None
        for text in given
    ]
