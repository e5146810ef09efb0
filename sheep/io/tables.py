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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sheep.errors import ConfigError
from sheep.io.text import parsed

SHEETS = (".xlsx", ".xls", ".xlsb", ".ods")
"""Endings of spreadsheets, read by python-calamine."""
_DELIMITERS = "\t;,"
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
        ConfigError: it is none of these.
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


def read_table(data: bytes, name: str, required: Sequence[str], optional: Sequence[str] = ()) -> Table | None:
    """Read the first table whose header has all required columns.

    Args:
        data: content of the file.
        name: its name; the ending says whether it is a spreadsheet.
        required: columns, compared without regard to case, blanks and underscores.
        optional: further columns that are renamed to the spelling given here where they are present.

    Returns:
        The table; None where no row is such a header.

    Raises:
        ConfigError: the file cannot be decoded, a quotation mark swallows rows, or a row is longer than the header.
    """
    if name.lower().endswith(SHEETS):
        candidates: Iterator[tuple[str, list[tuple[int, list[str]]], tuple[str, ...]]] = _sheets(data, name)
    else:
        candidates = _texts(data, name)
    wanted = {_plain(column): column for column in (*required, *optional)}
    for delimiter, lines, notes in candidates:
        for place, (_, cells) in enumerate(lines):
            names = [wanted.get(_plain(cell), cell.strip()) for cell in cells]
            if not set(required) <= set(names):
                continue
            _refuse_doubles(names, wanted, f"{name}, row {lines[place][0]}")
            return Table(
                columns=tuple(names),
                rows=tuple(_rows(names, lines[place + 1 :], name, delimiter)),
                decimal_comma=delimiter != ",",
                above=tuple(tuple(cells) for _, cells in lines[:place]),
                notes=notes,
            )
    return None


def require_table(data: bytes, name: str, required: Sequence[str], optional: Sequence[str] = ()) -> Table:
    """Read the first table whose header has all required columns, as `read_table` does.

    Args:
        data: content of the file.
        name: its name.
        required: columns that its header must have.
        optional: further columns, named in this spelling where they are present.

    Raises:
        ConfigError: no row is such a header, naming what the first row lacks; or as `read_table`.
    """
    table = read_table(data, name, required, optional)
    if table is not None:
        return table
    candidates = _sheets(data, name) if name.lower().endswith(SHEETS) else _texts(data, name)
    first = max((lines[0][1] for _, lines, _ in candidates if lines), key=len, default=[])
    missing = sorted({_plain(column): column for column in required}.keys() - {_plain(cell) for cell in first})
    raise ConfigError(
        f"{name}: columns {', '.join(missing)} are missing, got {', '.join(cell.strip() for cell in first)[:200]!r}, "
        f"expected {','.join((*required, *optional))}. Correct the first row."
    )


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
        raise ConfigError(f"{where}: {text[:80]!r}, expected one finite number, such as 12.5{time}. Correct it.")
    return value


def _plain(column: str) -> str:
    return re.sub(r"[\s_]+", " ", column.strip().removeprefix("\ufeff")).casefold()


def _texts(data: bytes, name: str) -> Iterator[tuple[str, list[tuple[int, list[str]]], tuple[str, ...]]]:
    """Yield the rows of a text file once for each separator: separator, (line number, cells) of each row, notes."""
    text, notes = decode(data, name)
    for delimiter in _DELIMITERS:
        with parsed(name):
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
            lines = []
            start = 1
            try:
                for cells in reader:
                    if any(cell.strip() for cell in cells) and not _is_separator_line(start, cells):
                        lines.append((start, cells))
                    start = reader.line_num + 1
            except csv.Error as error:
                # Only the right separator's complaint counts: another one sees quotation marks inside cells.
                if delimiter == _DELIMITERS[-1] or _could_be_header(lines):
                    raise ConfigError(
                        f"{name}, row {start}: {error}. A quotation mark is not closed, or text follows it. Remove it "
                        "from the cell, or export the file again."
                    ) from error
                continue
        yield delimiter, lines, notes


def _could_be_header(lines: Sequence[tuple[int, list[str]]]) -> bool:
    return any(len(cells) > 1 for _, cells in lines[:1])


def _is_separator_line(line: int, cells: Sequence[str]) -> bool:
    """Tell whether this is Excel's first line `sep=;`, whose only character may itself have been split off."""
    return line == 1 and cells[0].strip().lower().startswith("sep=") and not any(cells[1:])


def _sheets(data: bytes, name: str) -> Iterator[tuple[str, list[tuple[int, list[str]]], tuple[str, ...]]]:
    """Yield the rows of each sheet of a spreadsheet, as `_texts` does for separators."""
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
        yield "", [(line, cells) for line, cells in lines if any(cells)], note


def _cell(value: object) -> str:
    """Return a spreadsheet's cell as the text that a CSV export would hold: 1 for the number 1.0."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def _rows(columns: Sequence[str], lines: Sequence[tuple[int, list[str]]], name: str, delimiter: str) -> Iterator[Row]:
    for line, cells in lines:
        where = f"{name}, row {line}"
        if any(cell.strip() for cell in cells[len(columns) :]):
            raise ConfigError(
                f"{where}: {len(cells)} cells, expected at most the header's {len(columns)}. Put quotation marks "
                "around cells that hold the separator, or export the file again."
            )
        for cell in cells:
            inner = [text for text in re.split(r"\r\n|\r|\n", cell) if delimiter and text.count(delimiter) >= 2]
            if any(text.count(delimiter) >= (len(columns) - 1) // 2 for text in inner):
                raise ConfigError(
                    f"{where}: one cell holds further rows, {inner[0][:60]!r} ...: a quotation mark in an earlier row "
                    "is not closed. Remove it, or export the file again."
                )
        padded = [*cells, *[""] * (len(columns) - len(cells))]
        # Of columns that share a name the first counts; `_refuse_doubles` has refused it for those that are read.
        pairs = reversed(list(zip(columns, padded[: len(columns)], strict=True)))
        yield Row(where, {column: cell.strip() for column, cell in pairs})


def _refuse_doubles(names: Sequence[str], wanted: dict[str, str], where: str) -> None:
    twice = sorted({name for name in wanted.values() if list(names).count(name) > 1})
    if twice:
        raise ConfigError(f"{where}: columns {', '.join(twice)} occur more than once, expected once. Remove one.")
