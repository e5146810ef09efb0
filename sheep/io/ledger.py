"""The commit protocol: a stage's output is complete, resumable, and the same whichever workers died.

Ray restarts a dead actor and replays its task, but does not withdraw what the task had already returned, so outputs do
not pass through Ray. A unit of work is usually one video. Its worker writes part files under a new attempt id and then
one ledger entry that names them; parts that no entry names are garbage. `_manifest.json` is written when every unit has
its entry and holds all entries, so that a reader needs one object. To resume is to run the units without an entry.

    <stage>/_stage.json              configuration and fixed inputs, written first
    <stage>/parts/<table>/<unit>-<attempt>-<n>.parquet
    <stage>/_ledger/<unit>.json      one per finished unit
    <stage>/_progress/<unit>.json    checkpoints within a unit (`sheep/io/checkpoints.py`)
    <stage>/_attempts/<run>/<unit>/  one marker per attempt, to stop a video that keeps killing its worker
    <stage>/errors.csv               failed units with the reasons; absent where none failed
    <stage>/_manifest.json
"""

import csv
import dataclasses
import hashlib
import io
import json
import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sheep import __version__, schemas
from sheep.config import digest, output_settings
from sheep.errors import ConfigError, ContractError, MediaError
from sheep.io import storage
from sheep.io.manifest import ERRORS_FILE, Entry, Manifest, Part, is_finished, read_manifest
from sheep.io.typed_json import from_json

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
_VERSIONED = ("torch", "sam2", "transformers", "pyarrow", "scikit-learn", "ray", "av")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Opening:
    """The content of `_stage.json`."""

    stage: str
    config: dict[str, object]
    """The settings that determine the output, as plain JSON values."""
    inputs: dict[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class StageFolder:
    """One stage's output folder. Plain data, so that it can be sent to workers."""

    uri: str
    name: str
    config_digest: str
    run: str
    """This run's id; attempts are counted within it."""

    def slug(self, key: str) -> str:
        """File-name-safe, fixed-length name of a unit."""
        return hashlib.sha256(key.encode()).hexdigest()[:16]

    def todo(self, units: Mapping[str, str]) -> list[str]:
        """List the units that have no entry yet for their present input.

        Args:
            units: unit key -> identity of its input.

        Returns: Keys in the order of `units`. A unit whose input changed is due again; a unit that failed on the same
            input is not.
        """
        done = {entry.key: entry.input for entry in self.entries()}
        return [key for key, identity in units.items() if done.get(key) != identity]

    def entries(self) -> list[Entry]:
        """Read the whole ledger, sorted by key."""
        folder = storage.join(self.uri, "_ledger")
        fs, path = storage.filesystem(folder)
        names = [storage.join(path, name) for name in storage.find(folder) if name.endswith(".json")]
        with storage.explained(self.uri, "reading the ledger of"):
            # Not cat(): it takes a "[" in a folder's name for a pattern.
            found = fs.cat_ranges(names, [None] * len(names), [None] * len(names), on_error="raise")
        entries = [Entry.from_json(data) for data in found]
        return sorted(entries, key=lambda entry: entry.key)

    def attempt(self, key: str, input_identity: str) -> "Attempt":
        """Begin an attempt at a unit.

        Args:
            key: the unit.
            input_identity: identity of its present input.

        Raises:
            MediaError: this run has begun it MAX_ATTEMPTS times already, and its worker died each time before the
                next checkpoint.
        """
        markers = storage.join(self.uri, "_attempts", self.run, self.slug(key))
        tries = len(storage.find(markers))
        if tries >= MAX_ATTEMPTS:
            raise MediaError(
                f"{key}: its worker died {tries} times, expected none. Check the video and the worker's memory."
            )
        attempt = uuid.uuid4().hex[:8]
        storage.write_bytes(storage.join(markers, attempt), b"")
        return Attempt(stage=self, key=key, input=input_identity, attempt=attempt)

    def fail(self, key: str, input_identity: str, error: MediaError) -> Entry:
        """Commit that a unit failed.

        Args:
            key: the unit.
            input_identity: identity of its present input; the unit is due again when that changes.
            error: the reason, stored in the entry.
        """
        entry = Entry(key=key, input=input_identity, attempt="", error=str(error))
        self._commit(entry)
        return entry

    def _commit(self, entry: Entry) -> None:
        storage.write_bytes(storage.join(self.uri, "_ledger", f"{self.slug(entry.key)}.json"), entry.to_json().encode())
        markers = storage.join(self.uri, "_attempts", self.run, self.slug(entry.key))
        for name in storage.find(markers):
            storage.remove(storage.join(markers, name))

    def finish(
        self, units: Mapping[str, str], *, max_error_frac: float = 0.0, facts: Mapping[str, object] | None = None
    ) -> "Manifest":
        """Write the manifest, once every unit has its entry.

        Args:
            units: all units of the stage, key -> input identity; entries of other keys are left out.
            max_error_frac: share of failed units that is tolerated; 0 to 1.
            facts: JSON values to store with the result, e.g. a chosen threshold.

        Raises:
            ContractError: a unit has no entry, or more units failed than tolerated.
        """
        missing = self.todo(units)
        if missing:
            count = f"{len(missing)} of {len(units)} units"
            raise ContractError(f"{self.uri}: {count} have no entry, first {missing[0]!r}. Run the stage again.")
        entries = [entry for entry in self.entries() if entry.key in units]
        failed = [entry for entry in entries if entry.error]
        self._list_errors(failed)
        if len(failed) > max_error_frac * len(entries):
            raise ContractError(
                f"{self.uri}: {len(failed)} of {len(entries)} units failed, expected at most {max_error_frac:.0%}. "
                f"First: {failed[0].error} All are listed in {storage.join(self.uri, ERRORS_FILE)}."
            )
        opening = _opening(storage.join(self.uri, "_stage.json"))
        manifest = Manifest(
            uri=self.uri,
            stage=self.name,
            config=opening.config,
            config_digest=self.config_digest,
            inputs=opening.inputs,
            entries=tuple(entries),
            versions=_versions(),
            facts=dict(facts or {}),
        )
        storage.write_bytes(storage.join(self.uri, "_manifest.json"), manifest.to_bytes())
        return manifest

    def _list_errors(self, failed: Sequence[Entry]) -> None:
        """Write the failed units and their reasons as CSV. Programs read the manifest's entries instead."""
        target = storage.join(self.uri, ERRORS_FILE)
        if not failed:
            storage.remove(target)  # of an earlier run
            return
        text = io.StringIO()
        rows = csv.writer(text)
        rows.writerow(schemas.ERRORS.names)
        rows.writerows([entry.key, self.name, entry.error] for entry in failed)
        storage.write_bytes(target, text.getvalue().encode())


@dataclass(kw_only=True)
class Attempt:
    """One attempt at one unit: write parts, then commit. Before the commit no reader sees them."""

    stage: StageFolder
    key: str
    input: str
    attempt: str
    parts: list[Part] = dataclasses.field(default_factory=list)

    def write(self, name: str, table: pa.Table, schema: pa.Schema) -> None:
        """Write rows of one table as the next part file.

        Args:
            name: the table's name.
            table: the rows.
            schema: what they are checked against.

        Raises:
            ContractError: the rows do not match the schema.
        """
        schemas.validate(table, schema, f"{self.stage.name} {self.key}")
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        self._put(name, "parquet", buffer.getvalue(), table.num_rows)

    def put(self, name: str, suffix: str, data: bytes) -> None:
        """Write one file that is not a table, e.g. a contact sheet.

        Args:
            name: kind of file; stands for the table's name.
            suffix: of the file, without the dot.
            data: its content.
        """
        self._put(name, suffix, data, rows=0)

    def put_file(self, name: str, suffix: str, local: str) -> None:
        """Write one file that is not a table and may be larger than memory, e.g. a preview.

        Args:
            name: kind of file; stands for the table's name.
            suffix: of the file, without the dot.
            local: path of the file on this machine.
        """
        path = self._path(name, suffix)
        storage.write_file(storage.join(self.stage.uri, path), local)
        with open(local, "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            self.parts.append(Part(table=name, path=path, rows=0, bytes=file.tell(), sha256=sha256))

    def _path(self, name: str, suffix: str) -> str:
        return f"parts/{name}/{self.stage.slug(self.key)}-{self.attempt}-{len(self.parts):05d}.{suffix}"

    def _put(self, name: str, suffix: str, data: bytes, rows: int) -> None:
        path = self._path(name, suffix)
        storage.write_bytes(storage.join(self.stage.uri, path), data)
        sha256 = hashlib.sha256(data).hexdigest()
        self.parts.append(Part(table=name, path=path, rows=rows, bytes=len(data), sha256=sha256))

    def progressed(self) -> None:
        """Reset the count of attempts: this one has written a checkpoint, so a long video may lose many workers."""
        markers = storage.join(self.stage.uri, "_attempts", self.stage.run, self.stage.slug(self.key))
        for name in storage.find(markers):
            if name != self.attempt:
                storage.remove(storage.join(markers, name))

    def commit(self) -> Entry:
        """Make the parts visible to readers by writing the ledger entry, one object."""
        entry = Entry(key=self.key, input=self.input, attempt=self.attempt, parts=tuple(self.parts))
        self.stage._commit(entry)
        return entry


def open_stage(uri: str, name: str, config: Any, inputs: Mapping[str, str]) -> StageFolder:
    """Open a stage's folder for writing: a new one, or one that an earlier run began with the same settings.

    Args:
        uri: the stage's folder.
        name: the stage's name.
        config: its configuration, a dataclass; fields marked `RUNTIME_ONLY` may differ between runs.
        inputs: what is fixed for all units, name -> digest, e.g. the backbone's.

    Raises:
        ConfigError: the folder holds output of another configuration or input; nothing is changed.
        ContractError: the folder's `_stage.json` is damaged or of another version.
    """
    opening = _Opening(stage=name, config=output_settings(config), inputs=dict(inputs))
    config_digest = digest(opening)
    target = storage.join(uri, "_stage.json")
    present = _opening(target) if storage.exists(target) else opening
    if digest(present) != config_digest:
        if storage.find(storage.join(uri, "_ledger")):
            raise ConfigError(
                f"{uri}: holds output of configuration {digest(present)}, this run is {config_digest}; they differ in "
                f"{_differences(present, opening)}. Write to another folder, or delete this one first."
            )
        log.info("%s out=%s was begun with other settings but holds no output: starting over", name, uri)
    storage.write_bytes(target, json.dumps(dataclasses.asdict(opening), indent=1).encode())
    return StageFolder(uri=uri, name=name, config_digest=config_digest, run=uuid.uuid4().hex[:8])


def unchanged(stage: StageFolder, units: Mapping[str, str]) -> Manifest | None:
    """Return the manifest if it already covers exactly these units, so that none is due; None otherwise.

    Args:
        stage: the folder, opened with the present settings.
        units: unit key -> identity of its input.
    """
    if not is_finished(stage.uri):
        return None
    manifest = read_manifest(stage.uri)
    same = {entry.key: entry.input for entry in manifest.entries} == dict(units)
    return manifest if same and manifest.config_digest == stage.config_digest else None


def _opening(uri: str) -> _Opening:
    return from_json(_Opening, json.loads(storage.read_bytes(uri)), uri)


def _differences(present: _Opening, requested: _Opening) -> str:
    """Name the settings and inputs that differ, with both values.

    Args:
        present: what the folder was begun with.
        requested: this run's.
    """
    old, new = (dict(_flat({"config": one.config, "inputs": one.inputs})) for one in (present, requested))
    names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    return "; ".join(f"{name} ({old.get(name)!r} -> {new.get(name)!r})" for name in names) or "the stage's name"


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield nested values by their dotted names.

    Args:
        values: nested mappings.
        prefix: of the names, with its dot.
    """
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _versions() -> dict[str, str]:
    found = {"sheep": __version__}  # in a checkout it is not an installed package
    for name in _VERSIONED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
