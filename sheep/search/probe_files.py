"""Fitted probes of one variant on storage: safetensors and JSON, never a pickle."""

from dataclasses import dataclass
from typing import Any

from sheep.config import WindowConfig
from sheep.errors import ConfigError
from sheep.io import storage
from sheep.io.ledger import Attempt
from sheep.io.manifest import Manifest
from sheep.search.probe import Probe


@dataclass(frozen=True, slots=True)
class Probes:
    """The probes of one variant: one per outer fold, and the final one."""

    fold_of: dict[str, int]
    """Labelled animal -> the fold in which it was held out."""
    by_fold: dict[int, tuple[WindowConfig, Probe]]


def write_probes(attempt: Attempt, probes: Probes) -> dict[str, Any]:
    """Write a variant's probes as safetensors and JSON.

    Returns:
        What `read_probes` needs besides the files; belongs into the manifest's facts under the variant's name.
    """
    for fold, (_, probe) in sorted(probes.by_fold.items()):
        for name, data in probe.to_bytes().items():
            attempt.put(f"probe{fold}", name.rsplit(".", 1)[1], data)
    windows = {str(fold): window.half_width_s for fold, (window, _) in sorted(probes.by_fold.items())}
    return {"fold_of": dict(sorted(probes.fold_of.items())), "half_width_s": windows}


def read_probes(search: Manifest, variant: str) -> Probes:
    """Read the probes of one variant.

    Raises:
        ConfigError: the search stage has no such variant.
    """
    facts = search.facts.get(variant)
    entry = next((entry for entry in search.entries if entry.key == variant), None)
    if facts is None or entry is None:
        raise ConfigError(f"{search.uri}: no variant {variant!r}, it has {sorted(search.facts)}. Choose one of them.")
    by_fold = {}
    for fold, half_width_s in facts["probes"]["half_width_s"].items():
        parts = [part for part in entry.parts if part.table == f"probe{fold}"]
        files = {
            f"probe.{part.path.rsplit('.', 1)[1]}": storage.read_bytes(storage.join(search.uri, part.path))
            for part in parts
        }
        by_fold[int(fold)] = (WindowConfig(half_width_s=half_width_s), Probe.from_bytes(files))
    return Probes(facts["probes"]["fold_of"], by_fold)
