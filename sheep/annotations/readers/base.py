"""What every reader of annotation files gets and gives."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath

from sheep.annotations.coding import Coding
from sheep.io import tables


@dataclass(frozen=True)
class SourceFile:
    """One file of the annotation folder."""

    name: str
    """Path relative to the folder."""
    data: bytes
    notes: list[str] = field(default_factory=list, compare=False)
    """What a reader tolerated or left out, for the person who checks the inputs."""

    @property
    def ending(self) -> str:
        """Its ending in lower case, with the dot."""
        return PurePosixPath(self.name).suffix.lower()

    @property
    def path_stem(self) -> str:
        """Its path without the ending: the media of a coding whose `stem` is set."""
        return str(PurePosixPath(self.name).with_suffix(""))

    @cached_property
    def text(self) -> str:
        """Its content as text.

        Raises:
            ConfigError: it is not text.
        """
        text, notes = tables.decode(self.data, self.name)
        self.note(*notes)
        return text

    @cached_property
    def grids(self) -> tuple[tables.Grid, ...]:
        """Its rows and cells under each separator, or in each sheet; none where its ending is not that of a table.

        Raises:
            ConfigError: it cannot be decoded.
        """
        if self.ending not in (".csv", ".tsv", ".txt", *tables.SHEETS):
            return ()
        return tables.read_grids(self.data, self.name)

    def table(
        self,
        required: Sequence[str],
        optional: Sequence[str] = (),
        aliases: Mapping[str, Sequence[str]] | None = None,
    ) -> tables.Table | None:
        """Find the first table with these columns, as `tables.find_table` does; None if absent.

        Args:
            required: columns that its header must have.
            optional: further columns, named in this spelling where they are present.
            aliases: column -> other names that are read as it.
        """
        table = tables.find_table(self.grids, self.name, required, optional, aliases)
        if table is not None:
            self.note(*table.notes)
        return table

    def note(self, *notes: str) -> None:
        """Keep what was tolerated or left out, each text once.

        Args:
            notes: for display.
        """
        self.notes.extend(one for one in notes if one not in self.notes)


@dataclass(frozen=True)
class Reader:
    """Reads the files of one format."""

    tool: str
    """Name of the program and the format, for display."""
    read: Callable[[SourceFile], list[Coding] | None]
    """Returns a file's codings, None where the file is of another format. Raises ConfigError where it is of this format
    and something in it has to be corrected."""
