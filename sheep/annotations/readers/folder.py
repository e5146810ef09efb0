"""The annotation folder: each file read by the reader that knows its format, refused, or ignored with a reason."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from sheep.annotations.coding import Coding
from sheep.annotations.readers import (
    boris_aggregated,
    boris_project,
    boris_tabular,
    elan,
    elan_table,
    event_log,
    jabs,
    label_studio,
    nwb,
    one_hot,
    plain,
)
from sheep.annotations.readers.base import Reader, SourceFile
from sheep.annotations.readers.unsupported import tool_of
from sheep.errors import ConfigError
from sheep.io.tables import complaint

READERS: tuple[Reader, ...] = (
    Reader(boris_project.TOOL, boris_project.read),
    Reader(boris_tabular.TOOL, boris_tabular.read),
    Reader(boris_aggregated.TOOL, boris_aggregated.read),
    Reader(event_log.OBSERVER, event_log.read_observer),
    Reader(event_log.SOLOMON, event_log.read_solomon),
    Reader(elan.TOOL, elan.read),
    Reader(elan_table.TOOL, elan_table.read),
    Reader(jabs.TOOL, jabs.read),
    Reader(label_studio.TOOL, label_studio.read),
    Reader(nwb.TOOL, nwb.read),
    Reader(plain.TOOL, plain.read),
    Reader(one_hot.TOOL, one_hot.read),
)
"""Tried in this order; the first that knows a file reads it."""
_DATA = (".csv", ".tsv", ".xlsx", ".xls", ".xlsb", ".ods", ".json", ".xml", ".boris", ".eaf", ".nwb", ".annot", ".mat")
"""Endings of files that hold annotations if anything does: one that no reader knows is refused, not ignored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileReport:
    """The outcome for one file of the folder."""

    name: str
    tool: str
    """The format it was read as; empty where it was ignored."""
    num_codings: int
    """Animals and videos that it annotates."""
    notes: tuple[str, ...]
    """What was tolerated or left out, or why the file was ignored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """The content of an annotation folder."""

    codings: tuple[Coding, ...]
    """Of all files, in the order of their names."""
    files: tuple[FileReport, ...]


def read_files(names: Iterable[str], read_bytes: Callable[[str], bytes]) -> Folder:
    """Read every file of an annotation folder.

    Args:
        names: of its files, relative to it.
        read_bytes: returns a file's content.

    Raises:
        ConfigError: a file of annotations that cannot be read, with the tool's name and what to export instead.
    """
    codings: list[Coding] = []
    reports = []
    for name in sorted(names):
        why = _reason_to_ignore(name)
        if why:
            reports.append(FileReport(name=name, tool="", num_codings=0, notes=(why,)))
            continue
        file = SourceFile(name, read_bytes(name))
        tool, found = read_file(file)
        codings += found
        reports.append(FileReport(name=name, tool=tool, num_codings=len(found), notes=tuple(file.notes)))
    return Folder(codings=tuple(codings), files=tuple(reports))


def read_file(file: SourceFile) -> tuple[str, list[Coding]]:
    """Read one file by the first reader that knows it.

    Args:
        file: of the annotation folder.

    Returns:
        The tool's name and the codings; no name and no codings if the file is not an annotation.

    Raises:
        ConfigError: no reader knows it, or the reader refuses it.
    """
    for reader in READERS:
        found = reader.read(file)
        if found is not None:
            return reader.tool, found
    unsupported = tool_of(file)
    if unsupported is not None:
        raise ConfigError(f"{file.name}: a file of {unsupported.tool}, which is not read. {unsupported.instead}")
    broken = complaint(file.grids)
    if broken:
        raise ConfigError(broken)
    if file.ending not in _DATA and not _is_table(file):
        file.note("ignored: not a format of annotations that is known")
        return "", []
    known = ", ".join(reader.tool for reader in READERS)
    raise ConfigError(
        f"{file.name}: its format is not known, expected one of: {known}. Export one of these, write a table with the "
        "columns video, animal, label, start_s, stop_s, or move the file out of the annotation folder."
    )


def _is_table(file: SourceFile) -> bool:
    """Tell whether a text holds at least two rows of the same three or more cells, as notes in words do not."""
    widths = [[len(cells) for _, cells in grid.lines] for grid in file.grids if grid.delimiter != ","]
    return any(len(set(one)) == 1 and one[0] >= 3 and len(one) >= 2 for one in widths if one)


def _reason_to_ignore(name: str) -> str:
    base = PurePosixPath(name).name
    if base.startswith("._"):
        return "ignored: macOS keeps file attributes in it"
    if base.startswith((".", "~$")) or base.lower() in ("thumbs.db", "desktop.ini"):
        return "ignored: a hidden or temporary file"
    return ""
