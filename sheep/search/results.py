"""What the search leaves in its manifest for every variant: selected hyperparameters, scores, and which probe is whose.

The search writes these classes with `sheep.io.typed_json`, and prediction and report read them back.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sheep.errors import ConfigError
from sheep.evaluation.metrics import Scores
from sheep.io.manifest import Manifest
from sheep.io.typed_json import from_json


@dataclass(frozen=True, kw_only=True, slots=True)
class Hyperparameters:
    """What was selected for one probe."""

    fold: int
    """The outer fold that was held out; `FINAL_FOLD` for the final probe."""
    half_width_s: float
    """Reach of the temporal window to each side; 0 is the single frame."""
    inverse_l2: float
    num_components: int
    """0 keeps every dimension."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeIndex:
    """Which probe predicts which animal."""

    fold_of: Mapping[str, int]
    """Labelled animal -> the fold in which it was held out."""
    half_width_s: Mapping[int, float]
    """Fold -> reach of the temporal window that its probe was fitted with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VariantResult:
    """The manifest's facts of one variant."""

    labels: tuple[str, ...]
    """Names, in the order of the probes' outputs and of every table."""
    probes: ProbeIndex
    chosen: tuple[Hyperparameters, ...]
    """Of each outer fold in order, then of the final probe."""
    scores: Scores
    """Of the out-of-fold predictions."""


def read_results(search: Manifest) -> dict[str, VariantResult]:
    """Read the result of every variant that was searched, by its name.

    Raises:
        ContractError: the manifest was written by another version.
    """
    where = f"{search.uri}/_manifest.json: facts"
    return {name: from_json(VariantResult, facts, f"{where}.{name}") for name, facts in search.facts.items()}


def read_result(search: Manifest, variant: str) -> VariantResult:
    """Read the result of one variant.

    Raises:
        ConfigError: it was not searched.
        ContractError: the manifest was written by another version.
    """
    if variant not in search.facts:
        raise ConfigError(f"{search.uri}: no variant {variant!r}, it has {sorted(search.facts)}. Choose one of them.")
    return from_json(VariantResult, search.facts[variant], f"{search.uri}/_manifest.json: facts.{variant}")
