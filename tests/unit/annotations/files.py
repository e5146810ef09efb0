"""Annotation files in the forms that tools write, made by tests."""

import io
from collections.abc import Mapping, Sequence
from importlib import import_module

from sheep.annotations.coding import Coding
from sheep.annotations.readers.base import SourceFile
from sheep.annotations.readers.folder import read_file

TABULAR = (
    "Observation id",
    "Observation date",
    "Description",
    "Observation duration",
    "Observation type",
    "Source",
    "Time offset (s)",
    "Media duration (s)",
    "FPS",
    "Subject",
    "Behavior",
    "Behavioral category",
    "Modifier #1",
    "Behavior type",
    "Time",
    "Media file name",
    "Image index",
    "Image file path",
    "Comment",
)
"""Columns of BORIS 9's tabular events."""

Cells = Mapping[str, str]


def event(
    time: object, status: str, behaviour: str = "lying", subject: str = "m1", media: str = "cam1.mp4", **other: str
) -> dict[str, str]:
    """One row of BORIS's tabular events; keywords name a column with `_` for a blank."""
    values = {
        "Observation id": "o1",
        "Observation duration": "60.000",
        "Observation type": "Media file(s)",
        "Source": f"player #1:{media}",
        "Time offset (s)": "0.0",
        "Media duration (s)": "60.000",
        "FPS": "25.000",
        "Subject": subject,
        "Behavior": behaviour,
        "Behavior type": status,
        "Time": str(time),
        "Media file name": media,
        "Image file path": "NA",
    }
    renamed = {name: next(column for column in TABULAR if _key(column) == name) for name in other}
    return values | {renamed[name]: value for name, value in other.items()}


def bout(start: object, stop: object, behaviour: str = "lying", **other: str) -> list[dict[str, str]]:
    """Its START and STOP rows."""
    return [event(start, "START", behaviour, **other), event(stop, "STOP", behaviour, **other)]


def table(columns: Sequence[str], rows: Sequence[Cells], separator: str = "\t", end: str = "\n") -> str:
    """A text table without any quotation marks."""
    lines = [list(columns)] + [[row.get(column, "") for column in columns] for row in rows]
    return end.join(separator.join(line) for line in lines) + end


def tabular(*rows: Cells, separator: str = "\t") -> str:
    """A BORIS export of tabular events."""
    return table(TABULAR, rows, separator)


def xlsx(lines: Sequence[Sequence[object]]) -> bytes:
    """A workbook of one sheet."""
    book = import_module("openpyxl").Workbook()
    for line in lines:
        book.active.append(list(line))
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def read(name: str, content: str | bytes) -> list[Coding]:
    """Read one file of the annotation folder."""
    return read_with_tool(name, content)[1]


def read_with_tool(name: str, content: str | bytes) -> tuple[str, list[Coding]]:
    """Read one file of the annotation folder: the tool's name and the codings."""
    return read_file(SourceFile(name, content if isinstance(content, bytes) else content.encode()))


def _key(column: str) -> str:
    return column.replace(" (s)", "_s").replace(" #", "_").replace(" ", "_")
