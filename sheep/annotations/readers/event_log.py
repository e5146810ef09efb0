"""Logs of starts and stops without a media file: Noldus The Observer XT and Solomon Coder.

The video is the one that the file is named after; in a log of several observations, the one of the observation's name.

Sources: The Observer XT reference manual, "Export event logs" (columns Observation, Event_Log, Time_Relative_sf,
Subject, Behavior, Modifier_N, Event_Type with State start, State stop, Point; text or Excel); Solomon Coder's table
with the columns Time, Subject, Behavior, Status.
"""

from collections.abc import Sequence

from sheep.annotations.coding import Coding
from sheep.annotations.readers.base import SourceFile
from sheep.annotations.readers.boris import NO_ANIMAL, Event, pair, refuse_doubles
from sheep.errors import ConfigError
from sheep.io.tables import Row, Table

OBSERVER, SOLOMON = "Noldus The Observer (event log)", "Solomon Coder"
_TIMES = ("Time_Relative_sf", "Time_Relative_hmsf", "Time_Relative_hms", "Time_Relative_f")
"""Exact ones first; hms has whole seconds."""
_STATUS = {
    "state start": "START",
    "start": "START",
    "state stop": "STOP",
    "stop": "STOP",
    "end": "STOP",
    "point": "POINT",
    "point event": "POINT",
}


def read_observer(file: SourceFile) -> list[Coding] | None:
    """Read an event log of The Observer: text, CSV or Excel.

    Args:
        file: any file.

    Returns:
        One coding for each observation and subject; None where the columns are others.

    Raises:
        ConfigError: with file and row: no relative time, an event of no known type, or starts and stops that do not
            pair up.
    """
    table = file.table(("Behavior", "Event_Type"), ("Observation", "Subject", *_TIMES[:3]))
    if table is None:
        return None
    time = next((one for one in _TIMES if one in table.columns), "")
    if not time:
        raise ConfigError(
            f"{file.name}: no column Time_Relative_sf, expected it. Add it to the export in The Observer."
        )
    if time == "Time_Relative_hms":
        file.note("Time_Relative_hms has whole seconds: export Time_Relative_sf for exact bouts")
    return _codings(file, table, time=time, status="Event_Type")


def read_solomon(file: SourceFile) -> list[Coding] | None:
    """Read a table of Solomon Coder with the columns Time, Subject, Behavior and Status (start, stop or point).

    Args:
        file: any file.

    Returns:
        One coding for each subject; None where the columns are others.

    Raises:
        ConfigError: with file and row: an event of no known status, or starts and stops that do not pair up.
    """
    table = file.table(("Time", "Behavior", "Status"), ("Subject", "Observation"))
    return None if table is None else _codings(file, table, time="Time", status="Status")


def _codings(file: SourceFile, table: Table, *, time: str, status: str) -> list[Coding]:
    if not table.rows:
        raise ConfigError(f"{file.name}: no event below the header, expected some. Export it again, or remove it.")
    observations = list(dict.fromkeys(row["Observation"] for row in table.rows))
    made = []
    for name in observations:
        rows = [row for row in table.rows if row["Observation"] == name]
        events = [_event(row, table, time, status) for row in rows]
        refuse_doubles(events)
        for animal in dict.fromkeys(event.animal for event in events):
            bouts, points = pair([event for event in events if event.animal == animal])
            made.append(
                Coding(
                    where=f"{file.name}, observation {name!r}" if len(observations) > 1 else file.name,
                    media=name if len(observations) > 1 else file.path_stem,
                    stem=True,
                    animal=animal,
                    observer=name,
                    bouts=bouts,
                    points=points,
                )
            )
    return made


def _event(row: Row, table: Table, time: str, status: str) -> Event:
    given = row[status]
    if given.casefold() not in _STATUS or not row["Behavior"]:
        raise ConfigError(
            f"{row.where}: {status} {given!r} of {row['Behavior']!r}, expected State start, State stop or Point of a "
            "behaviour. Correct the row."
        )
    time_s = table.number(row, time)
    if time_s < 0:
        raise ConfigError(f"{row.where}: {time} {time_s:g} s, expected a time from 0 on. Correct the row.")
    return Event(
        where=row.where,
        animal="" if row["Subject"] in NO_ANIMAL else row["Subject"],
        behaviour=row["Behavior"],
        modifiers=_modifiers(row, table.columns),
        status=_STATUS[given.casefold()],
        time_s=time_s,
    )


def _modifiers(row: Row, columns: Sequence[str]) -> tuple[str, ...]:
    return tuple(row[column] for column in columns if column.startswith("Modifier"))
