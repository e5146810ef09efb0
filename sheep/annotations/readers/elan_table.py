"""ELAN's "Export as tab-delimited text" (txt, and csv with a header).

Rows hold tier, participant, begin, end, duration (each in one or more of the formats hh:mm:ss.ms, ss.msec, msec) and
the text; or, with "separate column for each tier", the times and one column per tier. The video is the one that the
file is named after. Which tier is whose: see `elan`.

Source: ELAN manual, "Export as tab-delimited text".
"""

import re
from collections.abc import Sequence

from sheep.annotations.coding import Coding
from sheep.annotations.readers.base import SourceFile
from sheep.annotations.readers.elan import Tier, codings
from sheep.errors import ConfigError
from sheep.io.tables import Grid, Table, number

TOOL = "ELAN (tab-delimited text)"
_FORMATS = ("ss.msec", "msec", "hh:mm:ss.ms")
"""Exact ones first."""
_BESIDE = ("tier", "participant", "annotator", "file", "file path", "file name", "tier type", "")
_SLACK_S = 0.003
"""A duration may differ from stop - start by the rounding of three times to milliseconds."""

TierMark = tuple[float, float, str]


def read(file: SourceFile) -> list[Coding] | None:
    """Read an export with or without a header.

    Args:
        file: any file.

    Returns:
        One coding for each animal; None if it is not such an export.

    Raises:
        ConfigError: with file and row: a time is not a number, or a row is not of the others' form.
    """
    for form in _FORMATS:
        ends = (f"Begin Time - {form}", f"End Time - {form}")
        table = file.table(ends, ("Tier", "Participant"))
        if table is not None:
            return codings(_from_header(table, ends, form, file), file.path_stem, stem=True, file=file)
    if file.ending not in (".txt", ".tsv"):
        return None
    grid = next((one for one in file.grids if one.delimiter == "\t"), None)
    found = _without_header(grid, file) if grid is not None and grid.lines else None
    return None if found is None else codings(found, file.path_stem, stem=True, file=file)


def _from_header(table: Table, ends: tuple[str, str], form: str, file: SourceFile) -> list[Tier]:
    others = [
        one for one in table.columns if one.casefold() not in _BESIDE and not re.match("(Begin|End) Time|Dur", one)
    ]
    has_tier = "Tier" in table.columns
    if has_tier and len(others) != 1:
        raise ConfigError(f"{file.name}: columns {others}, expected one with the annotations' text. Remove the others.")
    tiers: dict[tuple[str, str], list[TierMark]] = {}
    for row in table.rows:
        start, stop = (table.number(row, one) / (1000 if form == "msec" else 1) for one in ends)
        marked = [(row["Tier"], row[others[0]])] if has_tier else [(one, row[one]) for one in others if row[one]]
        if not marked or not all(tier for tier, _ in marked):
            raise ConfigError(f"{row.where}: no tier, expected one. Fill it in, or remove the row.")
        for tier, text in marked:
            tiers.setdefault((tier, row["Participant"]), []).append((start, stop, text))
    return _tiers(tiers)


def _without_header(grid: Grid, file: SourceFile) -> list[Tier] | None:
    """Read rows of tier, participant, times and text; None if the first row is not one."""
    if _mark(grid.lines[0][1], "") is None:
        return None
    if grid.error:
        raise ConfigError(grid.error)
    tiers: dict[tuple[str, str], list[TierMark]] = {}
    width = len(grid.lines[0][1])
    for line, cells in grid.lines:
        mark = _mark(cells, f"{file.name}, row {line}") if len(cells) == width else None
        if mark is None or not cells[0].strip():
            raise ConfigError(
                f"{file.name}, row {line}: {cells[:4]}, expected tier, participant, begin, end, duration and text as "
                "in the first row. Export it again."
            )
        tiers.setdefault((cells[0].strip(), cells[1].strip()), []).append(mark)
    return _tiers(tiers)


def _mark(cells: Sequence[str], where: str) -> TierMark | None:
    """Return start, stop and text of a row without header; None if it is not such a row.

    The times are begin, end and duration, or begin and end, each in the same one to three formats.
    """
    times = [cell.strip() for cell in cells[2:-1]]
    for count in (3, 2):
        if times and len(times) % count == 0 and len(times) // count <= len(_FORMATS):
            each = len(times) // count
            try:
                start, stop, *duration = [_seconds(times[i * each], where) for i in range(count)]
            except ConfigError:
                return None
            if not duration or abs(stop - start - duration[0]) <= _SLACK_S:
                return start, stop, cells[-1].strip()
    return None


def _seconds(text: str, where: str) -> float:
    """Read one of ELAN's formats: only msec has neither colons nor a decimal point."""
    return number(text, where, decimal_comma=True) / (1000 if text.isdigit() else 1)


def _tiers(marks: dict[tuple[str, str], list[TierMark]]) -> list[Tier]:
    return [
        Tier(name=name, animal=participant, root=name, observer="", marks=tuple(found))
        for (name, participant), found in marks.items()
    ]
