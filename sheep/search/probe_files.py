"""Fitted probes of one variant on storage: safetensors and JSON, never a pickle."""

from dataclasses import dataclass
from pathlib import PurePosixPath

from sheep.config import WindowConfig
from sheep.errors import ConfigError
from sheep.io import storage
from sheep.io.ledger import Attempt
from sheep.io.manifest import Manifest
from sheep.search.predictions import FINAL_FOLD
from sheep.search.probe import Probe
from sheep.search.results import ProbeIndex, read_result


@dataclass(frozen=True, slots=True)
class WindowedProbe:
    """A probe and the temporal window of the vectors that it takes."""

    window: WindowConfig
    probe: Probe


@dataclass(frozen=True, slots=True)
class Probes:
    """The probes of one variant: one per outer fold, and the final one."""

    labels: tuple[str, ...]
    """Names of what they predict, in order."""
    fold_of: dict[str, int]
    """Labelled animal -> the fold in which it was held out."""
    by_fold: dict[int, WindowedProbe]
    """Every outer fold, and `FINAL_FOLD`."""

    def fold_for(self, animal: str) -> int:
        """Return the fold whose probe was not fitted on an animal; `FINAL_FOLD` for an animal without labels."""
        return self.fold_of.get(animal, FINAL_FOLD)

    def predicting(self, animal: str) -> list[WindowedProbe]:
        """Return the probes whose mean predicts an animal: its fold's, or those of all folds for one without a fold."""
        if animal in self.fold_of:
            return [self.by_fold[self.fold_of[animal]]]
        return [windowed for fold, windowed in sorted(self.by_fold.items()) if fold != FINAL_FOLD]


def write_probes(attempt: Attempt, probes: Probes) -> ProbeIndex:
    """Write a variant's probes, two files per fold.

    Args:
        attempt: of the variant's unit.
        probes: fitted.

    Returns:
        What `read_probes` needs besides the files; it belongs in the manifest's facts.
    """
    for fold, windowed in sorted(probes.by_fold.items()):
        for name, data in windowed.probe.to_bytes().items():
            attempt.put(f"probe{fold}", PurePosixPath(name).suffix.removeprefix("."), data)
    half_widths = {fold: windowed.window.half_width_s for fold, windowed in sorted(probes.by_fold.items())}
    return ProbeIndex(fold_of=dict(sorted(probes.fold_of.items())), half_width_s=half_widths)


def read_probes(search: Manifest, variant: str) -> Probes:
    """Read the probes of one variant.

    Args:
        search: the finished search stage.
        variant: its name.

    Raises:
        ConfigError: the search stage has no such variant.
        ContractError: a file is damaged, or the manifest was written by another version.
    """
    result = read_result(search, variant)
    index = result.probes
    entry = next((entry for entry in search.entries if entry.key == variant), None)
    if entry is None:
        raise ConfigError(
            f"{search.uri}: variant {variant!r} has no files. Delete the folder and run the search again."
        )
    by_fold = {}
    for fold, half_width_s in index.half_width_s.items():
        parts = [part for part in entry.parts if part.table == f"probe{fold}"]
        files = {
            f"probe{PurePosixPath(part.path).suffix}": storage.read_bytes(storage.join(search.uri, part.path))
            for part in parts
        }
        by_fold[fold] = WindowedProbe(WindowConfig(half_width_s=half_width_s), Probe.from_bytes(files))
    return Probes(result.labels, dict(index.fold_of), by_fold)
