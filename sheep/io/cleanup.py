"""Delete what a study's folder no longer needs.

Files that no ledger names, and states that only a correction would use.

A try that died leaves parts behind, and a corrected prompt leaves those of the answer before it. Nobody reads them, so
they cost only storage, but of an archive that is much. A file younger than some hours may belong to a try that is still
going on and is left alone.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sheep.errors import ConfigError
from sheep.io import storage
from sheep.io.manifest import Entry, is_finished

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Leftover:
    """One file that may go."""

    uri: str
    bytes: int
    why: str
    """`unnamed` (no ledger entry and no checkpoint names it) or `state` (of a finished stage; only a corrected prompt
    would use it)."""


def leftovers(out: str, *, states: bool, older_h: float) -> list[Leftover]:
    """List what may go from all stages below a folder.

    Args:
        out: the study's folder, or one stage's.
        states: also what finished stages keep to go on from: checkpoints of training, and of each video, so that a
            corrected prompt redoes only what follows it. Without those the whole video is followed anew.
        older_h: age in hours from which a file may go. Less than a try can take is dangerous while a job runs.

    Raises:
        ConfigError: there is no stage below `out`.
    """
    names = list(storage.find(out))
    roots = [name.removesuffix("_stage.json").rstrip("/") for name in names if name.split("/")[-1] == "_stage.json"]
    if not roots:
        raise ConfigError(f"{out}: no _stage.json below it, expected a study's folder or a stage's. Correct the path.")
    found = []
    for root in roots:
        stage = storage.join(out, root)
        inside = [name[len(root) :].lstrip("/") for name in names if not root or name.startswith(f"{root}/")]
        for path, why in _idle(stage, inside, states):
            size, age_s = storage.size_and_age(storage.join(stage, path))
            if age_s >= 3600 * older_h:
                found.append(Leftover(uri=storage.join(stage, path), bytes=size, why=why))
    return found


def delete(found: list[Leftover]) -> None:
    """Delete them, unnamed files first, so that a sweep that is cut short has broken nothing."""
    for one in sorted(found, key=lambda one: one.why == "state"):
        storage.remove(one.uri)
    log.info("sweep deleted files=%d bytes=%d", len(found), sum(one.bytes for one in found))


def _idle(stage: str, names: list[str], states: bool) -> Iterator[tuple[str, str]]:
    ledgers = [name for name in names if name.startswith("_ledger/") and name.endswith(".json")]
    lists = [name for name in names if name.startswith("_progress/") and name.endswith(".json")]
    entries = [Entry.from_json(storage.read_bytes(storage.join(stage, name))) for name in ledgers]
    named = {part.path for entry in entries for part in entry.parts}
    spent = states and is_finished(stage)
    if not spent:
        named |= {path for name in lists for path in _paths(json.loads(storage.read_bytes(storage.join(stage, name))))}
    for name in names:
        if name.startswith(("_progress/", "_train/")) and spent:
            yield name, "state"
        elif name.startswith(("parts/", "_progress/")) and name not in named and name not in lists:
            yield name, "unnamed"


def _paths(progress: Mapping[str, Any]) -> Iterator[str]:
    """Every file that the checkpoints of a video name (see `sheep/io/checkpoints.py`)."""
    parts = [*progress["cropped"], progress["tiles"]]
    for checkpoint in progress["tracked"]:
        parts += [checkpoint["part"], checkpoint["state"]]
    yield from (part["path"] for part in parts if part is not None)
