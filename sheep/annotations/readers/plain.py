"""Plain tables that a lab writes itself: one bout per row, or only the intervals that were watched."""

from collections.abc import Sequence

from sheep.annotations.coding import Coding, TimeUnit
from sheep.annotations.intervals import Interval, join
from sheep.annotations.readers.base import SourceFile
from sheep.errors import ConfigError
from sheep.io.tables import Row, Table

TOOL = "plain intervals"
_SECONDS, _FRAMES = ("start_s", "stop_s"), ("start_frame", "stop_frame")
_ALIASES: dict[str, Sequence[str]] = {
    "video": ("media", "video file", "file name", "filename", "media file name"),
    "animal": ("subject", "individual", "id"),
    "label": ("behavior", "behaviour"),
    "start_s": ("start (s)", "start time (s)", "start time", "onset s", "start sec", "start seconds"),
    "stop_s": ("stop (s)", "end s", "end (s)", "end time (s)", "end time", "offset s", "stop sec", "end sec"),
    "start_frame": ("first frame",),
    "stop_frame": ("end frame",),
    "observer": ("coder", "rater"),
}
"""Column, as documented -> the names that are read as it."""
_BESIDE = ("comment", "comments", "note", "notes", "remark", "remarks", "date", "")
"""Columns that may stand in a table of watched intervals; any other might hold the behaviour."""


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
        ConfigError: with file and row: a value is missing, no number, or the stop is not after the start; or, without
            a column `label`, there are columns that might be it.
    """
    unit: TimeUnit
    for unit, ends in (("s", _SECONDS), ("frame", _FRAMES)):
        table = file.table(("video", *ends), ("animal", "label", "observer"), _ALIASES)
        if table is not None and "Observation id" not in table.columns:  # else an export of BORIS, cut by a person
            return _codings(table, ends, unit, file)
    return None


def _codings(table: Table, ends: tuple[str, str], unit: TimeUnit, file: SourceFile) -> list[Coding]:
    if not table.rows:
        raise ConfigError(f"{file.name}: no row below the header, expected some. Fill it in, or remove the file.")
    has_label = "label" in table.columns
    unknown = [one for one in table.columns if one.casefold() not in (*_ALIASES, *_BESIDE)]
    if unknown and not has_label:
        raise ConfigError(
            f"{file.name}: no column `label`, and columns of no known meaning ({', '.join(unknown)}), expected the "
            "behaviour in `label`. Rename its column, or remove these if the rows only say what was watched."
        )
    by_animal: dict[tuple[str, str, str], dict[str, list[Interval]]] = {}
    places: dict[str, str] = {}
    for row in table.rows:
        video, animal, observer, label = row["video"], row["animal"], row["observer"], row["label"]
        if not video or (has_label and not label):
            raise ConfigError(f"{row.where}: video {video!r}, label {label!r}, expected a value in each. Fill it in.")
        if '"' in f"{video}{animal}{observer}{label}":
            raise ConfigError(f"{row.where}: a quotation mark in a name, expected none. Remove it.")
        bouts = by_animal.setdefault((video, animal, observer), {})
        intervals = bouts.setdefault(label, [])
        places.setdefault(label, row.where)
        interval = _interval(table, row, ends)
        if interval in intervals:
            raise ConfigError(f"{row.where}: the same row as one above it, expected it once. Remove one of them.")
        intervals.append(interval)
    return [
        Coding(
            where=file.name,
            media=video,
            animal=animal,
            observer=observer,
            unit=unit,
            scored=None if has_label else join(bouts[""]),
            only_scored=not has_label,
            places=places,
            bouts={label: join(intervals) for label, intervals in bouts.items()} if has_label else {},
        )
        for (video, animal, observer), bouts in by_animal.items()
    ]


def _interval(table: Table, row: Row, ends: tuple[str, str]) -> Interval:
    start, stop = (table.number(row, column) for column in ends)
    if not 0 <= start < stop:
        raise ConfigError(f"{row.where}: {start:g} to {stop:g}, expected 0 or later, then a later stop. Correct it.")
    return start, stop
