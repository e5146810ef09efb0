"""One row per frame or time, one column of 0 and 1 per behaviour: DeepEthogram, SimBA, CBAS, BORIS's binary table.

The video is the one that the file is named after, with or without the tool's suffix (`matching`).

Sources: DeepEthogram, docs/file_structure.md (`<video>_labels.csv`: an index from 0, a first column `background`, -1
where nothing was labelled); SimBA, docs/labelling (`targets_inserted`: pose columns `*_x, *_y, *_p`, features, then one
column per classifier); CBAS (a column per behaviour, no index); BORIS user guide, "Export events as behavioral binary
table" (a column `time` [s], a column per subject and behaviour).
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from sheep.annotations.coding import Coding, TimeUnit
from sheep.annotations.intervals import Interval, join
from sheep.annotations.readers.base import SourceFile
from sheep.errors import ConfigError
from sheep.io.tables import Grid, number

TOOL = "one-hot table (DeepEthogram, SimBA, CBAS, BORIS binary)"
_HELD, _NOT_HELD = ("1", "1.0", "true"), ("0", "0.0", "false")
_UNSCORED = ("", "-1", "-1.0", "nan", "na", "null")
_INDEX = ("", "frame", "frames", "index", "unnamed: 0", "frame number", "scorer")
_BACKGROUND = "background"
_POSE = re.compile(r".+_(x|y|p|likelihood)", re.I)
_NOT_TARGET = re.compile(r"probability[ _].*", re.I)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Body:
    """The rows below the header, by column."""

    where: tuple[str, ...]
    """File and row, for messages."""
    columns: dict[str, list[str]]
    clock: tuple[float, ...]
    """(F + 1,) where each row starts, and where the last one ends."""
    unit: TimeUnit


def read(file: SourceFile) -> list[Coding] | None:
    """Read a table of zeros and ones.

    Empty cells and -1 are unscored; a behaviour without a column is, too. A row is a frame from 0; a column of indices
    has to count from 0 without a gap. With a column `time` a row lasts until the next one. Columns `<animal>
    <behaviour>` that name each animal with the same behaviours are split there.

    Args:
        file: any file.

    Returns:
        One coding for each animal, unnamed unless the columns name it; None if it is not such a table.

    Raises:
        ConfigError: with file and row: a cell is neither 0, 1 nor empty, rows are missing or repeated, or a column
            occurs twice.
    """
    if not file.grids:
        return None
    grid = max(file.grids, key=lambda one: len(one.lines[0][1]) if one.lines else 0)
    if len(grid.lines) < 2:
        return None
    header = _header(grid)
    targets = _targets(header, grid)
    if not targets or not _is_one_hot(targets, header, grid):
        return None
    if grid.error:
        raise ConfigError(grid.error)
    body = _body(header, grid, file)
    file.note(*grid.notes, f"behaviours read: {', '.join(targets)}")
    return [_coding(animal, columns, body, file) for animal, columns in _by_animal(targets).items()]


def _header(grid: Grid) -> list[str]:
    """Return the names of the columns, without empty columns at the end."""
    header = [cell.strip() for cell in grid.lines[0][1]]
    while header and not header[-1] and not any("".join(cells[len(header) - 1 :]).strip() for _, cells in grid.lines):
        header.pop()
    return header


def _targets(header: Sequence[str], grid: Grid) -> list[str]:
    """Return the columns of behaviours: all but index, time and background, or those behind SimBA's features."""
    names = list(header)
    if names and names[0].casefold() in (*_INDEX, "time"):
        names = names[1:]
    pose = [place for place, name in enumerate(header) if _POSE.fullmatch(name)]
    if len(pose) >= 2:
        names = []
        for name, place in reversed([(name, place) for place, name in enumerate(header) if place > pose[-1]]):
            if _NOT_TARGET.fullmatch(name) or _share_valid([place], grid) < 0.5:
                break
            names.insert(0, name)
    return [name for name in names if name.casefold() != _BACKGROUND]


def _is_one_hot(targets: Sequence[str], header: Sequence[str], grid: Grid) -> bool:
    """Tell whether names head the columns and nearly all cells are valid; the others are complained of later."""
    if any(not name or re.fullmatch(r"-?[\d.,:]+", name) for name in targets):
        return False
    return _share_valid([header.index(name) for name in targets], grid) >= 0.5


def _share_valid(places: Sequence[int], grid: Grid) -> float:
    """Return the share of rows whose cells are all 0, 1 or empty, of those that have any."""
    valid = [all(_value(cells, place) is not None for place in places) for _, cells in grid.lines[1:]]
    stated = any(_value(cells, place) in (0, 1) for _, cells in grid.lines[1:] for place in places)
    return sum(valid) / len(valid) if stated else 0.0


def _value(cells: Sequence[str], place: int) -> int | None:
    """Return 1, 0, -1 for unscored; None for anything else."""
    text = cells[place].strip().casefold() if place < len(cells) else ""
    return 1 if text in _HELD else 0 if text in _NOT_HELD else -1 if text in _UNSCORED else None


def _body(header: Sequence[str], grid: Grid, file: SourceFile) -> _Body:
    twice = sorted({name for name in header if name and header.count(name) > 1 and not _POSE.fullmatch(name)})
    if twice:
        raise ConfigError(f"{file.name}, row 1: columns {', '.join(twice)} occur more than once. Remove one.")
    where = tuple(f"{file.name}, row {line}" for line, _ in grid.lines[1:])
    for place, (_, cells) in zip(where, grid.lines[1:], strict=True):
        if len(cells) != len(grid.lines[0][1]):
            raise ConfigError(
                f"{place}: {len(cells)} cells, expected {len(grid.lines[0][1])} as in the header. Correct it."
            )
    columns = {name: [cells[i].strip() for _, cells in grid.lines[1:]] for i, name in enumerate(header)}
    unit: TimeUnit = "s" if header[0].casefold() == "time" else "frame"
    if unit == "s":
        clock = _times(columns[header[0]], where, decimal_comma=grid.delimiter != ",")
    else:
        _check_frames(header[0], columns[header[0]], grid, where)
        clock = tuple(float(frame) for frame in range(len(where) + 1))
    return _Body(where=where, columns=columns, clock=clock, unit=unit)


def _check_frames(name: str, cells: Sequence[str], grid: Grid, where: Sequence[str]) -> None:
    """Check that no frame is missing or repeated: a gap would move every later one."""
    first = grid.lines[0][0]
    for frame, (cell, place) in enumerate(zip(cells, where, strict=True)):
        if name.casefold() in _INDEX and cell not in (str(frame), f"{frame}.0"):
            raise ConfigError(f"{place}: frame {cell!r}, expected {frame}, as frames count from 0. Export it again.")
        if grid.lines[frame + 1][0] != first + 1 + frame:
            raise ConfigError(f"{place}: a blank row before it, expected a row for each frame. Export it again.")


def _times(cells: Sequence[str], where: Sequence[str], *, decimal_comma: bool) -> tuple[float, ...]:
    """Read the column of times: evenly spaced, since a missing row would stretch the one before it."""
    times = [number(cell, f"{at}, time", decimal_comma=decimal_comma) for cell, at in zip(cells, where, strict=True)]
    if len(times) < 2:
        raise ConfigError(f"{where[0]}: one row, expected at least two, to know how long a row lasts. Export it again.")
    steps = [after - before for before, after in pairwise(times)]
    step = sorted(steps)[len(steps) // 2]
    for given, at in zip(steps, where[1:], strict=True):
        if step <= 0 or not math.isclose(given, step, rel_tol=0.1, abs_tol=0.0011):  # times are rounded to 1 ms
            raise ConfigError(
                f"{at}: {given:g} s after the row before, expected {step:g} s as elsewhere. Export again."
            )
    return (*times, times[-1] + step)


def _by_animal(targets: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return animal -> behaviour -> column. Columns are split if each first word has the same further words."""
    split: dict[str, dict[str, str]] = {}
    for column in targets:
        no_subject = re.match(r"No focal subject ", column)
        animal, _, behaviour = (
            ("No focal subject", "", column[no_subject.end() :]) if no_subject else column.partition(" ")
        )
        split.setdefault(animal, {})[behaviour] = column
    behaviours = [set(columns) for columns in split.values()]
    if "" in behaviours[0] or any(one != behaviours[0] for one in behaviours):
        return {"": {column: column for column in targets}}
    return {"" if animal == "No focal subject" else animal: columns for animal, columns in split.items()}


def _coding(animal: str, columns: dict[str, str], body: _Body, file: SourceFile) -> Coding:
    held: dict[str, list[Interval]] = {}
    absent: dict[str, list[Interval]] = {}
    for behaviour, column in columns.items():
        held[behaviour], absent[behaviour] = [], []
        for row, cell in enumerate(body.columns[column]):
            value = _value([cell], 0)
            if value is None:
                raise ConfigError(f"{body.where[row]}, {column}: {cell!r}, expected 0, 1 or nothing. Correct the cell.")
            if value >= 0:
                (held if value else absent)[behaviour].append((body.clock[row], body.clock[row + 1]))
    return Coding(
        where=file.name,
        media=file.path_stem,
        stem=True,
        animal=animal,
        unit=body.unit,
        bouts={behaviour: join(intervals) for behaviour, intervals in held.items()},
        absent={behaviour: join(intervals) for behaviour, intervals in absent.items()},
    )
