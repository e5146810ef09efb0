"""The commit protocol: what makes a stage's output whole, resumable and the same after any death.

Ray restarts a dead actor and replays its task, but takes back nothing that the task had already sent out; so outputs do
not travel through Ray. A unit of work is one video. Whoever works on it writes part files under a fresh attempt id, and
last one ledger entry that names them; parts that no entry names are garbage. A stage's `_manifest.json` comes last of
all and holds every entry, so that a reader needs one object. Resuming is a set difference.

    <stage>/_stage.json              configuration and fixed inputs, written first
    <stage>/parts/<table>/<unit>-<attempt>-<n>.parquet
    <stage>/_ledger/<unit>.json      one per finished unit
    <stage>/_progress/<unit>.json    what of an unfinished unit need not be done again (`sheep/io/checkpoints.py`)
    <stage>/_attempts/<run>/<unit>/  one marker per try, to stop a video that keeps killing its worker
    <stage>/errors.csv               units that could not be used and why, for people; absent where all could
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

log = logging.getLogger(__name__)

MAX_ATTEMPTS = 3
_VERSIONED = ("torch", "sam2", "transformers", "pyarrow", "scikit-learn", "ray", "av")


@dataclass(frozen=True, kw_only=True, slots=True)
class StageFolder:
    """One stage's output folder. Plain data, so that it travels to workers."""

    uri: str
    name: str
    config_digest: str
    run: str
    """This run's id; attempts are counted within it."""

    def slug(self, key: str) -> str:
        """File-name-safe, fixed-length name of a unit."""
        return hashlib.sha256(key.encode()).hexdigest()[:16]

    def todo(self, units: Mapping[str, str]) -> list[str]:
        """Tell which units have no entry yet for their present input.

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
        """Begin one try at a unit.

        Raises:
            MediaError: this run has begun it MAX_ATTEMPTS times already, and its worker died each time before it got
                any further.
        """
        markers = storage.join(self.uri, "_attempts", self.run, self.slug(key))
        tries = len(storage.find(markers))
        if tries >= MAX_ATTEMPTS:
            raise MediaError(
                f"{key}: its worker died {tries} times, expected to survive. Look at the video and at "
                "the worker's memory."
            )
        attempt = uuid.uuid4().hex[:8]
        storage.write_bytes(storage.join(markers, attempt), b"")
        return Attempt(stage=self, key=key, input=input_identity, attempt=attempt)

    def fail(self, key: str, input_identity: str, error: MediaError) -> Entry:
        """Commit that a unit cannot be done."""
        entry = Entry(key=key, input=input_identity, attempt="", error=str(error))
        self._commit(entry)
        return entry

    def _commit(self, entry: Entry) -> None:
        storage.write_bytes(storage.join(self.uri, "_ledger", f"{self.slug(entry.key)}.json"), entry.to_json().encode())
        markers = storage.join(self.uri, "_attempts", self.run, self.slug(entry.key))
        for name in storage.find(markers):
            storage.remove(storage.join(markers, name))

    def finish(
        self, units: Mapping[str, str], *, max_error_frac: float = 0.0, facts: Mapping[str, Any] | None = None
    ) -> "Manifest":
        """Write the manifest, once every unit has its entry.

        Args:
            units: all units of the stage, key -> input identity; entries of other keys are left out.
            max_error_frac: share of failed units that is tolerated.
            facts: JSON values worth keeping with the result, e.g. a chosen threshold.

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
        opened = json.loads(storage.read_bytes(storage.join(self.uri, "_stage.json")))
        manifest = Manifest(
            uri=self.uri,
            stage=self.name,
            config=opened["config"],
            config_digest=self.config_digest,
            inputs=opened["inputs"],
            entries=tuple(entries),
            versions=_versions(),
            facts=dict(facts or {}),
        )
        storage.write_bytes(storage.join(self.uri, "_manifest.json"), manifest.to_bytes())
        return manifest

    def _list_errors(self, failed: Sequence[Entry]) -> None:
        """Write the failed units and their reasons as CSV, for people; the manifest's entries are what counts."""
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
    """One try at one unit: write parts, then commit. Nothing it wrote counts before the commit."""

    stage: StageFolder
    key: str
    input: str
    attempt: str
    parts: list[Part] = dataclasses.field(default_factory=list)

    def write(self, name: str, table: pa.Table, schema: pa.Schema) -> None:
        """Write rows of one table as the next part file.

        Raises:
            ContractError: the rows break the schema's promise.
        """
        schemas.validate(table, schema, f"{self.stage.name} {self.key}")
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        self._put(name, "parquet", buffer.getvalue(), table.num_rows)

    def put(self, name: str, suffix: str, data: bytes) -> None:
        """Write one file that is not a table, e.g. a contact sheet."""
        self._put(name, suffix, data, rows=0)

    def put_file(self, name: str, suffix: str, local: str) -> None:
        """Write one file that is not a table and may be larger than memory, e.g. a preview."""
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
        """Forget earlier deaths: this try has got to where the next one can go on, so a long video may die often."""
        markers = storage.join(self.stage.uri, "_attempts", self.stage.run, self.stage.slug(self.key))
        for name in storage.find(markers):
            if name != self.attempt:
                storage.remove(storage.join(markers, name))

    def commit(self) -> Entry:
        """Make the parts count: one object, written last."""
        entry = Entry(key=self.key, input=self.input, attempt=self.attempt, parts=tuple(self.parts))
        self.stage._commit(entry)
        return entry


def open_stage(uri: str, name: str, config: Any, inputs: Mapping[str, str]) -> StageFolder:
    """Open a stage's folder for writing, new or begun earlier with the same settings.

    Args:
        uri: the stage's folder.
        name: the stage's name.
        config: its configuration, a dataclass; fields marked `RUNTIME_ONLY` may differ from those of before.
        inputs: what is fixed for all units, name -> digest, e.g. the backbone's.

    Raises:
        ConfigError: the folder holds output of another configuration or input; nothing is touched.
    """
    values = {"stage": name, "config": output_settings(config), "inputs": dict(inputs)}
    config_digest = digest(values)
    target = storage.join(uri, "_stage.json")
    present = json.loads(storage.read_bytes(target)) if storage.exists(target) else values
    if digest(present) != config_digest:
        if storage.find(storage.join(uri, "_ledger")):
            raise ConfigError(
                f"{uri}: holds output of configuration {digest(present)}, this run is {config_digest}; they differ in "
                f"{_differences(present, values)}. Write to another folder, or delete this one first."
            )
        log.info("%s out=%s was begun with other settings but holds nothing: begun anew", name, uri)
    storage.write_bytes(target, json.dumps(values, indent=1).encode())
    return StageFolder(uri=uri, name=name, config_digest=config_digest, run=uuid.uuid4().hex[:8])


def unchanged(stage: StageFolder, units: Mapping[str, str]) -> Manifest | None:
    """Return the manifest if it already covers exactly these units, so that there is nothing to do."""
    if not is_finished(stage.uri):
        return None
    manifest = read_manifest(stage.uri)
    same = {entry.key: entry.input for entry in manifest.entries} == dict(units)
    return manifest if same and manifest.config_digest == stage.config_digest else None


def _differences(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """Name the settings and inputs that differ, with both values.

    Args:
        present: what the folder was begun with.
        wanted: what this run asks for.
    """
    old, new = (dict(_flat({name: one.get(name, {}) for name in ("config", "inputs")})) for one in (present, wanted))
    names = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
    return "; ".join(f"{name} ({old.get(name)!r} -> {new.get(name)!r})" for name in names) or "the stage's name"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """List nested values by their dotted names."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _versions() -> dict[str, str]:
    found = {"sheep": __version__}  # run from a checkout it is not among the installed packages
    for name in _VERSIONED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
