"""Tables that people made, in whatever form their program writes them: CSV, TSV, Excel and OpenDocument sheets.

Tolerant of form: the separator (tab, comma or semicolon), a `sep=` line, a byte order mark, UTF-16 and Windows-1252,
decimal commas, blank rows, rows above the header, and the case of the header. Strict about meaning: a quotation mark
that swallows rows, or a row with more cells than the header, is refused.
"""

import codecs
import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

from sheep.errors import ConfigError

SHEETS = (".xlsx", ".xls", ".xlsb", ".ods")
"""Endings of spreadsheets, read by python-calamine."""
_DELIMITERS = "\t;,"
_MAX_ABOVE = 200
"""The header is one of the first rows; an annotation file may have a million."""
_CLOCK = re.compile(r"(?P<sign>-?)(?:(?P<hours>\d+):)?(?P<minutes>\d+):(?P<seconds>\d{1,2}(?:[.,]\d+)?)")


@dataclass(frozen=True, slots=True)
class Row:
    """One row below the header."""

    where: str
    """File and line, for messages."""
    cells: dict[str, str]
    """Column, as the caller named it, -> value without blanks around it; empty where the row is too short."""

    def __getitem__(self, column: str) -> str:
        """Return a cell; empty where the table has no such column."""
        return self.cells.get(column, "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """The rows of a file under one header."""

    columns: tuple[str, ...]
    """Names as the file writes them, without blanks around them; those the caller asked for as the caller does."""
    rows: tuple[Row, ...]
    decimal_comma: bool
    """Whether 1,5 is a number: where the comma does not separate cells."""
    above: tuple[tuple[str, ...], ...]
    """Rows above the header."""
    notes: tuple[str, ...]
    """What was tolerated, in words, e.g. the encoding."""

    def number(self, row: Row, column: str, *, times: bool = True) -> float:
        """Read a cell as a number, or as a clock time in seconds.

        Args:
            row: of this table.
            column: a column of it.
            times: whether a clock time is read.

        Raises:
            ConfigError: neither `1.5`, `1,5` (where the comma does not separate) nor `0:01:02.5`.
        """
        return number(row[column], f"{row.where}, {column}", decimal_comma=self.decimal_comma, times=times)


def decode(data: bytes, name: str) -> tuple[str, tuple[str, ...]]:
    """Decode a text file: by its byte order mark, as UTF-8, or as Windows-1252, in this order.

    Args:
        data: its content.
        name: for messages.

    Returns:
        The text, and a note where it was not UTF-8.

    Raises:
        ConfigError: no encoding fits.
    """
    tries = [("utf-8-sig", ""), ("cp1252", "not UTF-8, read as Windows-1252: check its accented letters")]
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        tries = [("utf-16", "read as UTF-16")]
    for encoding, note in tries:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text, (note,) if note else ()
    raise ConfigError(f"{name}: not a text file in UTF-8, UTF-16 or Windows-1252. Export it again as UTF-8.")


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The cells of a text file under one separator, or of one sheet, before a header is looked for."""

    delimiter: str
    """Empty for a sheet."""
    lines: tuple[tuple[int, list[str]], ...]
    """(line number from 1, cells) of each row that is not blank; up to the first row that cannot be parsed."""
    notes: tuple[str, ...]
    is_cut: bool = False
    """Whether the last row has no line end, as in a file that was not copied whole; of a text only."""
    error: str = ""
    """Why a row cannot be parsed under this separator; empty where all can."""

    @cached_property
    def heads(self) -> tuple[tuple[str, ...], ...]:
        """The rows that may be the header, as `_plain` writes them."""
        return tuple(tuple(map(_plain, cells)) for _, cells in self.lines[:_MAX_ABOVE])


def read_grids(data: bytes, name: str) -> tuple[Grid, ...]:
    """Parse a file once for each separator, or a spreadsheet once for each sheet.

    Args:
        data: content of the file.
        name: its name; the ending says whether it is a spreadsheet.

    Raises:
        ConfigError: the file cannot be decoded or is not a spreadsheet.
    """
    if name.lower().endswith(SHEETS):
        return tuple(_sheets(data, name))
    text, notes = decode(data, name)
    return tuple(_grid(text, delimiter, name, notes) for delimiter in _DELIMITERS)


def read_table(
    data: bytes,
    name: str,
    required: Sequence[str],
    optional: Sequence[str] = (),
    aliases: Mapping[str, Sequence[str]] | None = None,
) -> Table | None:
    """Read the first table whose header has all required columns: `find_table` in the file's `read_grids`.

    Args:
        data: content of the file.
        name: its name; the ending says whether it is a spreadsheet.
        required: columns, compared without regard to case, blanks and underscores.
        optional: further columns that are renamed to the spelling given here where they are present.
        aliases: see `find_table`.

    Returns:
        The table; None where no row is such a header.

    Raises:
        ConfigError: the file cannot be decoded, a quotation mark swallows rows, or a row is longer than the header.
    """
    return find_table(read_grids(data, name), name, required, optional, aliases)


def find_table(
    grids: Sequence[Grid],
    name: str,
    required: Sequence[str],
    optional: Sequence[str] = (),
    aliases: Mapping[str, Sequence[str]] | None = None,
) -> Table | None:
    """Find the first row that has all required columns, and read what is below it.

    Args:
        grids: of the file.
        name: the file, for messages.
        required: columns, compared without regard to case, blanks and underscores.
        optional: further columns that are renamed to the spelling given here where they are present.
        aliases: column -> other names that are read as it where its own is missing; the first of them counts.

    Returns:
        The table; None where no row is such a header.

    Raises:
        ConfigError: a quotation mark swallows rows, a row is longer than the header or lies above it, the last row is
            cut off, or a column occurs twice.
    """
    for grid in grids:
        for place, (head, (line, cells)) in enumerate(zip(grid.heads, grid.lines, strict=False)):
            names = _named(cells, head, (*required, *optional), aliases or {})
            if not set(required) <= set(names):
                continue
            if grid.error:
                raise ConfigError(grid.error)
            _refuse_doubles(names, (*required, *optional), f"{name}, row {line}")
            _refuse_above(names, grid.lines[:place], name)
            return Table(
                columns=tuple(names),
                rows=tuple(_rows(names, grid, place + 1, name)),
                decimal_comma=grid.delimiter != ",",
                above=tuple(tuple(cells) for _, cells in grid.lines[:place]),
                notes=grid.notes,
            )
    return None


def require_table(data: bytes, name: str, required: Sequence[str], optional: Sequence[str] = ()) -> Table:
    """Read a table whose first row is a header with all required columns.

    Args:
        data: content of the file.
        name: its name.
        required: columns that its header must have, compared without regard to case, blanks and underscores.
        optional: further columns, named in this spelling where they are present.

    Raises:
        ConfigError: the header lacks a column or is not the first row; or as `read_table`.
    """
    grids = read_grids(data, name)
    table = find_table(grids, name, required, optional)
    if table is None:
        first = max((grid.lines[0][1] for grid in grids if grid.lines), key=len, default=[])
        missing = [column for column in required if _plain(column) not in map(_plain, first)]
        raise ConfigError(
            f"{name}: columns {', '.join(missing)} are missing, got {', '.join(map(str.strip, first))[:200]!r}, "
            f"expected {','.join((*required, *optional))}. Correct the first row."
        )
    if table.above:
        raise ConfigError(f"{name}: {table.above[0]} above the header, expected the header first. Move it up.")
    return table


def complaint(grids: Sequence[Grid]) -> str:
    """Return why rows of a file without any known header cannot be parsed; empty where they can.

    Args:
        grids: of the file. The separator that splits the first row into the most cells is the file's; what others
            complain of, quotation marks inside cells, means nothing.
    """
    return max(grids, key=lambda grid: len(grid.lines[0][1]) if grid.lines else 0).error if grids else ""


def number(text: str, where: str, *, decimal_comma: bool = False, times: bool = True) -> float:
    """Read a number, or a clock time as seconds.

    Args:
        text: `1.5`, `1,5`, `1:02.5` or `0:01:02.5`.
        where: starts the message.
        decimal_comma: whether `1,5` is one and a half.
        times: whether `1:02.5` is a time.

    Raises:
        ConfigError: anything else, infinity and nan among it.
    """
    given = text.strip()
    if decimal_comma and given.count(",") == 1 and "." not in given:
        given = given.replace(",", ".")
    clock = _CLOCK.fullmatch(given)
    if clock and times:
        hours, minutes = float(clock["hours"] or 0), float(clock["minutes"])
        value = 3600 * hours + 60 * minutes + float(clock["seconds"].replace(",", "."))
        return -value if clock["sign"] else value
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in given:
        time = ", or a time, such as 0:01:02.5" if times else ""
        raise ConfigError(f"{where}: {text[:80]!r}, expected one number, such as 12.5{time}. Correct it.")
    return value


@lru_cache(maxsize=4096)
def _plain(column: str) -> str:
    return re.sub(r"[\s_]+", " ", re.sub(r"[\ufeff\"]", "", column).strip()).casefold()


def _grid(text: str, delimiter: str, name: str, notes: tuple[str, ...]) -> Grid:
    """Split a text into rows and cells; an error of the parser is kept, with the row where it starts."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    lines: list[tuple[int, list[str]]] = []
    start, broken = 1, ""
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells) and not _is_separator_line(start, cells):
                lines.append((start, cells))
            start = reader.line_num + 1
    except csv.Error as error:
        broken = (
            f"{name}, row {start}: {error}. A quotation mark is not closed, text follows it, or a cell is very long. "
            "Remove it from the cell, or export the file again."
        )
    is_cut = not text.endswith(("\n", "\r"))
    return Grid(delimiter=delimiter, lines=tuple(lines), notes=notes, is_cut=is_cut, error=broken)


def _is_separator_line(line: int, cells: Sequence[str]) -> bool:
    """Tell whether this is Excel's first line `sep=;`, whose only character may itself have been split off."""
    return line == 1 and cells[0].strip().lower().startswith("sep=") and not any(cells[1:])


def _sheets(data: bytes, name: str) -> Iterator[Grid]:
    """Yield the rows of each sheet of a spreadsheet."""
    from python_calamine import CalamineError, load_workbook

    try:
        book = load_workbook(io.BytesIO(data))
        sheets = [(sheet, book.get_sheet_by_name(sheet).to_python(skip_empty_area=False)) for sheet in book.sheet_names]
    except (CalamineError, OSError, ValueError) as error:
        raise ConfigError(
            f"{name}: no spreadsheet that can be read ({error}). Save it again, or export CSV."
        ) from error
    for sheet, rows in sheets:
        lines = [(number, [_cell(value) for value in row]) for number, row in enumerate(rows, start=1)]
        note = (f"sheet {sheet!r}",) if len(sheets) > 1 else ()
        filled = tuple((line, cells) for line, cells in lines if any(cell.strip() for cell in cells))
        yield Grid(delimiter="", lines=filled, notes=note)


def _cell(value: object) -> str:
    """Return a spreadsheet's cell as the text that a CSV export would hold: 1 for the number 1.0."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def _rows(columns: Sequence[str], grid: Grid, first: int, name: str) -> Iterator[Row]:
    """Yield the rows from `grid.lines[first]` on."""
    _refuse_cut(columns, grid, first, name)
    for line, cells in grid.lines[first:]:
        where = f"{name}, row {line}"
        if any(cell.strip() for cell in cells[len(columns) :]):
            raise ConfigError(
                f"{where}: {len(cells)} cells, expected at most the header's {len(columns)}. Put quotation marks "
                "around cells that hold the separator, or export the file again."
            )
        if grid.delimiter:
            _refuse_swallowed(cells, len(columns), grid.delimiter, where)
        padded = [*cells, *[""] * (len(columns) - len(cells))]
        # Of columns that share a name the first counts; `_refuse_doubles` has refused it for those that are read.
        pairs = reversed(list(zip(columns, padded[: len(columns)], strict=True)))
        yield Row(where, {column: cell.strip() for column, cell in pairs})


def _refuse_cut(columns: Sequence[str], grid: Grid, first: int, name: str) -> None:
    """Refuse a last row that ends early, unless the program leaves out empty cells in other rows, too."""
    widths = [len(cells) for _, cells in grid.lines[first:]]
    if grid.is_cut and widths and widths[-1] < len(columns) and all(width >= len(columns) for width in widths[:-1]):
        raise ConfigError(
            f"{name}, row {grid.lines[-1][0]}: {widths[-1]} cells and no line end, expected the header's "
            f"{len(columns)}: the file is cut off. Copy or export it again."
        )


def _refuse_swallowed(cells: Sequence[str], num_columns: int, delimiter: str, where: str) -> None:
    """Refuse a cell of several lines that look like rows: those between two stray quotation marks."""
    for cell in cells:
        inner = [text for text in re.split(r"\r\n|\r|\n", cell) if text.count(delimiter) >= 2]
        if any(text.count(delimiter) >= (num_columns - 1) // 2 for text in inner):
            raise ConfigError(
                f"{where}: one cell holds further rows, {inner[0][:60]!r} ...: a quotation mark in an earlier row "
                "is not closed. Remove it, or export the file again."
            )


def _named(
    cells: Sequence[str], plain: Sequence[str], columns: Sequence[str], aliases: Mapping[str, Sequence[str]]
) -> list[str]:
    """Return the cells of a header, with the caller's names for the columns that it asks for."""
    wanted = {_plain(column): column for column in columns}
    for column in columns:
        if _plain(column) not in plain:
            other = next((alias for alias in map(_plain, aliases.get(column, ())) if alias in plain), "")
            if other and other not in wanted:
                wanted[other] = column
    return [wanted.get(given, cell.strip()) for given, cell in zip(plain, cells, strict=True)]


def _refuse_above(columns: Sequence[str], lines: Sequence[tuple[int, list[str]]], name: str) -> None:
    """Refuse rows of data above the header; what programs write there has few cells."""
    for line, cells in lines:
        if sum(bool(cell.strip()) for cell in cells) >= max(3, (len(columns) + 1) // 2):
            raise ConfigError(f"{name}, row {line}: a row above the header, expected all below it. Move the header up.")


def _refuse_doubles(names: Sequence[str], wanted: Sequence[str], where: str) -> None:
    twice = sorted({name for name in wanted if list(names).count(name) > 1})
    if twice:
        raise ConfigError(f"{where}: columns {', '.join(twice)} occur more than once, expected once. Remove one.")
