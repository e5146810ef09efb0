"""Plain tables that a lab writes itself: one bout per row, or only the intervals that were watched."""

from collections.abc import Sequence

from sheep.annotations.coding import Coding, Unit
from sheep.annotations.intervals import Interval, join
from sheep.annotations.readers.base import SourceFile
from sheep.errors import ConfigError
from sheep.io.tables import Row, Table

TOOL = "plain intervals"
_SECONDS, _FRAMES = ("start_s", "stop_s"), ("start_frame", "stop_frame")
_SAME: dict[str, Sequence[str]] = {
    "video": ("video", "media", "video file", "file name", "filename", "media file name"),
    "animal": ("animal", "subject", "individual", "id"),
    "label": ("label", "behavior", "behaviour"),
    "start_s": ("start_s", "start (s)", "start time (s)", "start_time", "onset_s", "start sec", "start seconds"),
    "stop_s": ("stop_s", "stop (s)", "end_s", "end (s)", "end time (s)", "end_time", "offset_s", "stop sec", "end sec"),
    "start_frame": ("start_frame", "start frame", "first_frame"),
    "stop_frame": ("stop_frame", "end_frame", "stop frame"),
    "observer": ("observer", "coder", "rater"),
}
"""Column, as documented -> the names that are read as it."""


def read(file: SourceFile) -> list[Coding] | None:
    """Read a table with the columns video, animal, label and start_s, stop_s (or start_frame, stop_frame).

    Intervals are half-open: a bout of frames 25 to 50 holds in 25 and no longer in 50. Without the column `label` the
    rows state what was watched, and nothing else. `observer` is optional. Every label of the ethogram counts as scored
    over the whole video, or where such rows say.

    Args:
        file: any file.

    Returns:
        One coding for each video, animal and observer; None where the columns are others.

    Raises:
        ConfigError: with file and row: a value is missing, no number, or the stop is not after the start.
    """
    for unit, ends in (("s", _SECONDS), ("frame", _FRAMES)):
        found = _table(file, ends)
        if found is not None:
            return _codings(found[0], found[1], ends, unit, file)  # type: ignore[arg-type]
    return None


def _table(file: SourceFile, ends: tuple[str, str]) -> tuple[Table, dict[str, str]] | None:
    """Find the table, and for each documented column the name that the file has for it."""
    for video in _SAME["video"]:
        for start in _SAME[ends[0]]:
            table = file.table((video, start))
            if table is None:
                continue
            names = {
                column: next((given for given in table.columns if given.casefold() in same), "")
                for column, same in _SAME.items()
            }
            if names[ends[0]] and names[ends[1]]:
                return table, names
    return None


def _codings(table: Table, names: dict[str, str], ends: tuple[str, str], unit: Unit, file: SourceFile) -> list[Coding]:
    if not table.rows:
        raise ConfigError(f"{file.name}: no row below the header, expected some. Fill it in, or remove the file.")
    by_animal: dict[tuple[str, str, str], dict[str, list[Interval]]] = {}
    for row in table.rows:
        video, animal, observer = (row[names[column]] for column in ("video", "animal", "observer"))
        label = row[names["label"]]
        if not video or (names["label"] and not label):
            raise ConfigError(f"{row.where}: video {video!r}, label {label!r}, expected a value in each. Fill it in.")
        bouts = by_animal.setdefault((video, animal, observer), {})
        bouts.setdefault(label, []).append(_interval(table, row, (names[ends[0]], names[ends[1]])))
    return [
        Coding(
            where=file.name,
            media=video,
            animal=animal,
            observer=observer,
            unit=unit,
            scored=None if names["label"] else join(bouts[""]),
            only_scored=not names["label"],
            bouts={label: join(intervals) for label, intervals in bouts.items()} if names["label"] else {},
        )
        for (video, animal, observer), bouts in by_animal.items()
    ]


def _interval(table: Table, row: Row, ends: tuple[str, str]) -> Interval:
    start, stop = (table.number(row, column) for column in ends)
    if not 0 <= start < stop:
        raise ConfigError(f"{row.where}: {start:g} to {stop:g}, expected a start from 0 and a later stop. Correct it.")
    return start, stop
