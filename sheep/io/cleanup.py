"""Delete files that a study no longer needs: those that no ledger names, and states that only a corrected prompt reads.

An attempt whose worker died leaves parts behind, and a corrected prompt leaves the parts of the track that it replaced.
No stage reads them; on a large archive they take much storage. A file younger than some hours may belong to a running
attempt and is kept.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from sheep.errors import ConfigError
from sheep.io import checkpoints, storage
from sheep.io.manifest import Entry, is_finished

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Leftover:
    """One file that may be deleted."""

    uri: str
    bytes: int
    why: str
    """`unnamed` (no ledger entry and no checkpoint names it) or `state` (of a finished stage; read only after a prompt
    was corrected)."""


def leftovers(out: str, *, states: bool, older_h: float) -> list[Leftover]:
    """List the files that may be deleted from all stages below a folder.

    Args:
        out: the study's folder, or one stage's.
        states: also the checkpoints of finished stages, those of training and those of each video. Without the latter a
            corrected prompt tracks its whole video again, not only the frames after the prompt.
        older_h: age from which a file may be deleted [h]; >= 0. While a job runs, less than an attempt's duration
            deletes files in use.

    Raises:
        ConfigError: there is no stage below `out`.
    """
    names = list(storage.find(out))
    roots = [name.removesuffix("_stage.json").rstrip("/") for name in names if name.split("/")[-1] == "_stage.json"]
    if not roots:
        raise ConfigError(f"{out}: no _stage.json below it, expected a study's folder or a stage's. Correct the path.")
    listed = []
    for root in roots:
        stage = storage.join(out, root)
        inside = [name[len(root) :].lstrip("/") for name in names if not root or name.startswith(f"{root}/")]
        for path, why in _idle(stage, inside, states):
            size, age_s = storage.size_and_age(storage.join(stage, path))
            if age_s >= 3600 * older_h:
                listed.append(Leftover(uri=storage.join(stage, path), bytes=size, why=why))
    return listed


def delete(listed: list[Leftover]) -> None:
    """Delete files, unnamed ones first: an interrupted clean-up then breaks nothing."""
    for one in sorted(listed, key=lambda one: one.why == "state"):
        storage.remove(one.uri)
    log.info("clean-up deleted files=%d bytes=%d", len(listed), sum(one.bytes for one in listed))


def _idle(stage: str, names: list[str], states: bool) -> Iterator[tuple[str, str]]:
    ledgers = [name for name in names if name.startswith("_ledger/") and name.endswith(".json")]
    lists = [name for name in names if name.startswith("_progress/") and name.endswith(".json")]
    entries = [Entry.from_json(storage.read_bytes(storage.join(stage, name))) for name in ledgers]
    named = {part.path for entry in entries for part in entry.parts}
    spent = states and is_finished(stage)
    if not spent:
        named |= {path for name in lists for path in checkpoints.named_paths(storage.join(stage, name))}
    for name in names:
        if name.startswith(("_progress/", "_train/")) and spent:
            yield name, "state"
        elif name.startswith(("parts/", "_progress/")) and name not in named and name not in lists:
            yield name, "unnamed"
