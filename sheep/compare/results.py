"""What the compare stage leaves in its manifest: differences, the classifier's errors, shares, and what was left out.

The compare stage writes these classes with `sheep.io.typed_json`, and the report reads them back.
"""

from dataclasses import dataclass
from typing import Literal

from sheep.compare.estimates import EstimateKind
from sheep.compare.shares import AnimalShares
from sheep.io.manifest import Manifest
from sheep.io.typed_json import from_json


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One group against the reference group, in one label."""

    label: str
    reference: str
    group: str
    num_reference: int
    """Units (animals, or pens) in the reference group."""
    num_group: int
    num_scored_reference: int
    """Those with frames scored by hand in this label."""
    num_scored_group: int
    estimate: EstimateKind
    """How the shares were estimated; `sheep.compare.estimates` explains each."""
    reason: str
    """Why so, for readers."""
    mean_reference: float
    """Estimated share of time of the reference group, mean over animals; can lie a little outside 0 to 1."""
    mean_group: float
    difference: float
    """mean_group - mean_reference."""
    low: float
    """Lower end of the confidence interval of the difference; nan where animals do not vary."""
    high: float
    confidence: float
    uncorrected_difference: float
    """Of the mean predictions."""
    uncorrected_low: float
    uncorrected_high: float
    slope: float
    """Of labels on predictions, for `some_animals_scored` and `too_few_scored`; else nan."""
    p: float
    """Two-sided; nan where nothing was tested."""
    p_adjusted: float
    """Benjamini-Hochberg over all tests that were made; nan where nothing was tested."""
    num_tests: int
    """How many those were, over labels and groups."""
    least_p: float
    """The smallest p that so few animals can give; nan where nothing was tested."""
    least_p_adjusted: float
    """The adjusted p if p were `least_p` and the other tests' p as they are."""
    found: bool
    """p_adjusted <= alpha; never where nothing was tested."""
    test: str
    """Name of the test, for readers."""
    unit: str
    """Unit of analysis, for readers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifierError:
    """How the classifier errs in one label in one group: why corrected and uncorrected differences differ."""

    label: str
    group: str
    num_animals: int
    """Animals with scored frames in this label."""
    error: float
    """Mean over them of (prediction - label) on their scored frames, -1 to 1; nan without any."""
    p: float
    """That this group is read as the reference group is: permutation of Welch's t over scored animals, two-sided and
    not adjusted. Nan for the reference group, and with fewer than two scored animals in either."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LeftOut:
    """What the comparison does without."""

    kind: Literal["animal", "group"]
    name: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupComparison:
    """What the compare stage leaves in its manifest's facts."""

    labels: tuple[str, ...]
    """The labels that were predicted, in the order of every table."""
    comparisons: tuple[Comparison, ...]
    """One for each other group (by name) and label (in order)."""
    errors: tuple[ClassifierError, ...]
    """One for each group (the reference first) and label."""
    proportions: tuple[AnimalShares, ...]
    """One for each animal that was observed, by name; those of groups that were left out included."""
    left_out: tuple[LeftOut, ...]
    """Animals, then groups, by name."""


def read_comparison(compared: Manifest) -> GroupComparison:
    """Read the result of the compare stage.

    Raises:
        ContractError: the manifest was written by another version.
    """
    return from_json(GroupComparison, compared.facts, f"{compared.uri}/_manifest.json: facts")
