"""The content of a finished stage: every unit's entry with its part files, read by later stages.

`sheep.io.ledger` writes it and explains the commit protocol.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sheep import schemas
from sheep.config import digest
from sheep.errors import ConfigError, ContractError
from sheep.io import storage
from sheep.io.typed_json import from_json, to_json


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One file of one unit."""

    table: str
    path: str
    """Relative to the stage's folder."""
    rows: int
    """0 for a file that is not a table."""
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """The ledger's record of one finished unit."""

    key: str
    input: str
    """Identity of its input: the video's ETag or size and its prompts, or the digest of an earlier stage's parts."""
    attempt: str
    parts: tuple[Part, ...] = ()
    error: str = ""
    """Why the unit has no rows; empty when it has."""

    def to_json(self) -> str:
        """Serialise, for the ledger and for a worker's reply."""
        return json.dumps(to_json(self), indent=1)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Entry":
        """Read what `to_json` wrote."""
        return from_json(cls, json.loads(text), "ledger entry")

    def content(self) -> str:
        """Digest of the unit's content, the same for every attempt that wrote the same bytes."""
        return digest([self.key, self.error, [[part.table, part.rows, part.sha256] for part in self.parts]])


ERRORS_FILE = "errors.csv"


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """A finished stage: its inputs, settings and package versions, and every file that it wrote."""

    uri: str
    stage: str
    config: dict[str, object]
    """The settings that determine its output, as plain JSON values."""
    config_digest: str
    inputs: dict[str, str]
    """What is fixed for all units, name -> digest."""
    entries: tuple[Entry, ...]
    versions: dict[str, str]
    facts: dict[str, Any]
    """JSON values that later stages read, each by a class of its own stage."""

    def to_bytes(self) -> bytes:
        """Serialise as JSON; the URI is left out, so that a folder may be moved."""
        values = dataclasses.asdict(self)
        del values["uri"]
        names = sorted({part.table for entry in self.entries for part in entry.parts})
        values["rows"] = {name: self.rows(name) for name in names}
        values["num_errors"] = sum(bool(entry.error) for entry in self.entries)
        return json.dumps(values, indent=1).encode()

    def content(self) -> str:
        """Digest of everything the stage holds: the input identity of the stages that read it."""
        return digest([self.stage, self.config_digest, [entry.content() for entry in self.entries], self.facts])

    def rows(self, table: str) -> int:
        """Count a table's rows."""
        return sum(part.rows for entry in self.entries for part in entry.parts if part.table == table)

    def read(self, table: str, *, columns: list[str] | None = None, keys: Iterable[str] | None = None) -> pa.Table:
        """Read one table, or some columns or units of it, in the order of units and parts.

        Args:
            table: the table's name.
            columns: names of columns to read; None for all.
            keys: units to read; None for all.

        Raises:
            ContractError: no unit holds such a table, or a part's bytes differ from the ledger's digest.
        """
        wanted = None if keys is None else set(keys)
        chosen = [entry for entry in self.entries if wanted is None or entry.key in wanted]
        pieces = [read_part(self.uri, part, columns) for entry in chosen for part in entry.parts if part.table == table]
        if not pieces:
            raise ContractError(f"{self.uri}: {len(chosen)} units hold no table {table!r}, expected at least one part.")
        return pa.concat_tables(pieces)

    def files(self, table: str) -> dict[str, str]:
        """Unit key -> URI of its first file of one kind."""
        return {
            entry.key: storage.join(self.uri, part.path)
            for entry in reversed(self.entries)
            for part in reversed(entry.parts)
            if part.table == table
        }

    @property
    def errors_uri(self) -> str:
        """URI of the list of failed units; the CSV file exists only where a unit failed."""
        return storage.join(self.uri, ERRORS_FILE)

    def errors(self) -> pa.Table:
        """The errors table of this stage."""
        failed = [entry for entry in self.entries if entry.error]
        rows = [{"video": entry.key, "stage": self.stage, "error": entry.error} for entry in failed]
        return pa.Table.from_pylist(rows, schema=schemas.ERRORS)


def read_manifest(uri: str) -> Manifest:
    """Read a finished stage.

    Raises:
        ConfigError: the folder has no manifest: the stage has not run there, or has not finished.
        ContractError: an entry of the manifest is damaged or of another version.
    """
    try:
        values = json.loads(storage.read_bytes(storage.join(uri, "_manifest.json")))
    except FileNotFoundError as error:
        raise ConfigError(
            f"{uri}: no _manifest.json, expected a finished stage. Run the stage that writes it, or correct the path."
        ) from error
    return Manifest(
        uri=uri,
        entries=tuple(from_json(Entry, entry, f"{uri}/_manifest.json: entries") for entry in values["entries"]),
        **{name: values[name] for name in ("stage", "config", "config_digest", "inputs", "versions", "facts")},
    )


def is_finished(uri: str) -> bool:
    """Tell whether a stage's folder has its manifest."""
    return storage.exists(storage.join(uri, "_manifest.json"))


def read_part(uri: str, part: Part, columns: list[str] | None = None) -> pa.Table:
    """Read one part file of a stage.

    Args:
        uri: the stage's folder.
        part: the part, from the ledger.
        columns: names of columns to read; None for all.

    Raises:
        ContractError: the file is missing, or its bytes differ from the ledger's digest.
    """
    target = storage.join(uri, part.path)
    try:
        data = storage.read_bytes(target)
    except FileNotFoundError as error:
        raise ContractError(
            f"{target}: named by the ledger but missing. Delete the stage's folder and run it again."
        ) from error
    if hashlib.sha256(data).hexdigest() != part.sha256:
        raise ContractError(
            f"{target}: bytes differ from the ledger's digest. Delete the stage's folder and run it again."
        )
    return pq.read_table(pa.BufferReader(data), columns=columns)
