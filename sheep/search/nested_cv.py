"""Nested cross-validation of window and probe: labelled embeddings in; selected hyperparameters and probes out. No Ray.

Nested without a second set of folds: for each pair of folds, one probe is trained on all the others and scored on both.
The hyperparameters of outer fold i are selected by scores on folds j of probes trained without i and j, so fold i has
no part in the selection. Candidates are scored independently of each other (`inner_scores`), on any worker; selecting
and refitting are quick.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from sheep.config import ProbeConfig, SearchConfig, WindowConfig, seed_for
from sheep.errors import ConfigError, ContractError
from sheep.evaluation.metrics import macro_average_precision
from sheep.search.probe import Probe, project
from sheep.search.windows import slide_all

ScoreMatrix = NDArray[np.float64]
"""(K, K): [i, j] is the macro average precision on fold j of a probe trained without folds i and j; nan on the
diagonal, and where no label of fold j has both classes."""


@dataclass(frozen=True)
class Candidate:
    """One combination of hyperparameters."""

    window: WindowConfig
    probe: ProbeConfig


@dataclass(frozen=True)
class ProbeData:
    """Labelled frames of all animals; rows of one animal in one video are in the order of time."""

    embeddings: NDArray[np.floating]
    """(F, D)."""
    time_s: NDArray[np.floating]
    """(F,) [s]."""
    videos: Sequence[str]
    """(F,)."""
    animals: Sequence[str]
    """(F,)."""
    targets: NDArray[np.floating]
    """(F, L) 0 or 1; nan is unscored, but every row has a scored label."""
    labels: tuple[str, ...]
    """(L,) names."""

    def __post_init__(self) -> None:
        lengths = [len(column) for column in (self.embeddings, self.time_s, self.videos, self.animals, self.targets)]
        if len(set(lengths)) != 1:
            raise ContractError(f"search: columns of {lengths} rows, expected one length. This is a bug: report it.")
        if np.isnan(self.targets).all(axis=1).any():
            raise ContractError(
                "search: rows without any scored label, expected none. Remove them before the search. This is a bug: "
                "report it."
            )


def candidates(config: SearchConfig, *, temporal: bool) -> list[Candidate]:
    """List the grid to search, in a fixed order: windows, then components, then penalties.

    Args:
        config: the values to combine.
        temporal: True for windows wider than a frame, False for the single frame.

    Returns:
        Every combination, at least one.

    Raises:
        ConfigError: `half_widths_s` has no value for this kind of variant.
    """
    widths = [width for width in config.half_widths_s if (width > 0) == temporal]
    if not widths:
        need = "one above 0" if temporal else "0.0 among them"
        raise ConfigError(
            f"search.half_widths_s: got {config.half_widths_s}, expected {need}. Change it in the recipe or by its "
            "flag."
        )
    return [
        Candidate(WindowConfig(half_width_s=width), ProbeConfig(inverse_l2=inverse_l2, num_components=num_components))
        for width, num_components, inverse_l2 in product(widths, config.num_components, config.inverse_l2s)
    ]


def group_by_projection(grid: Sequence[Candidate]) -> list[tuple[Candidate, ...]]:
    """Group candidates by window and number of components, in the order in which these first occur."""
    groups: dict[tuple[WindowConfig, int], list[Candidate]] = {}
    for candidate in grid:
        groups.setdefault((candidate.window, candidate.probe.num_components), []).append(candidate)
    return [tuple(group) for group in groups.values()]


def inner_scores(
    group: Sequence[Candidate], data: ProbeData, folds: NDArray[np.integer], *, seed: int
) -> list[ScoreMatrix]:
    """Score candidates that differ in penalty only, under grouped folds, by K (K - 1) / 2 fits each.

    Args:
        group: of one window and number of components, so that all share the costly part, the principal components.
        data: labelled frames.
        folds: (F,) from `folds.grouped_folds`, in [0, K), K >= 3.
        seed: of the probes.

    Returns:
        A matrix for each candidate, in order.

    Raises:
        ContractError: fewer than three folds, an empty fold, or an animal in two; candidates of several windows or
            numbers of components.
    """
    num_folds = _check_folds(data, folds)
    shared = {(candidate.window, candidate.probe.num_components) for candidate in group}
    if len(shared) != 1:
        raise ContractError(
            f"search: candidates of {len(shared)} windows and components, expected one. Score them in separate trials."
        )
    [(window, num_components)] = shared
    vectors = _vectors(window, data)
    scores = np.full((len(group), num_folds, num_folds), np.nan)
    for i, j in combinations(range(num_folds), 2):
        rows, probe_seed = (folds != i) & (folds != j), seed_for(seed, "probe", f"{i},{j}")
        projection = project(vectors[rows], num_components, probe_seed)
        for number, candidate in enumerate(group):
            probe = Probe(candidate.probe, probe_seed).fit_projected(projection, data.targets[rows])
            # One fit serves both: fold i's selection by its score on j, and fold j's by its score on i.
            for outer, tested in ((i, j), (j, i)):
                held_out = folds == tested
                probability = probe.predict_proba(vectors[held_out])
                scores[number, outer, tested] = macro_average_precision(data.targets[held_out], probability)
    return list(scores)


def select_per_fold(inner: Sequence[ScoreMatrix]) -> list[int]:
    """Select a candidate for every outer fold by scores in which that fold has no part.

    Args:
        inner: `inner_scores` of each candidate.

    Returns:
        For each fold i the index of the candidate with the best mean over j of inner[i, j]; of equals, the first.

    Raises:
        ConfigError: no other fold has a label with both classes.
    """
    return [_best([scores[fold] for scores in inner]) for fold in range(len(inner[0]))]


def select_final(inner: Sequence[ScoreMatrix]) -> int:
    """Select the candidate for animals without labels: the index of the best mean over all folds; of equals, the first.

    Raises:
        ConfigError: no fold has a label with both classes.
    """
    return _best(inner)


def refit_without(
    candidate: Candidate, data: ProbeData, folds: NDArray[np.integer], fold: int, *, seed: int
) -> tuple[Probe, NDArray[np.float32]]:
    """Fit on all folds but one, and predict that one.

    Args:
        candidate: the hyperparameters selected for the fold.
        data: labelled frames.
        folds: (F,) in [0, K), K >= 3.
        fold: the one to hold out.
        seed: of the probes.

    Returns:
        The probe, and the out-of-fold probability of each label, (rows of the fold, L).

    Raises:
        ContractError: fewer than three folds, an empty fold, or an animal in two.
    """
    _check_folds(data, folds)
    vectors = _vectors(candidate.window, data)
    probe = _fit(candidate, vectors, data.targets, folds != fold, seed, f"{fold}")
    return probe, probe.predict_proba(vectors[folds == fold])


def refit_final(candidate: Candidate, data: ProbeData, *, seed: int) -> Probe:
    """Fit on every labelled row, for animals without labels.

    Args:
        candidate: the hyperparameters selected over all folds.
        data: labelled frames.
        seed: of the probes.
    """
    every_row = np.ones(len(data.targets), dtype=bool)
    return _fit(candidate, _vectors(candidate.window, data), data.targets, every_row, seed, "final")


def _vectors(window: WindowConfig, data: ProbeData) -> NDArray[np.float32]:
    """Embeddings with their temporal window, (F, D) or (F, 5 D); no window reaches into another video or animal."""
    groups = [f"{video}\0{animal}" for video, animal in zip(data.videos, data.animals, strict=True)]
    return slide_all(data.embeddings, data.time_s, groups, window)


def _fit(
    candidate: Candidate,
    vectors: NDArray[np.float32],
    targets: NDArray[np.floating],
    rows: NDArray[np.bool_],
    seed: int,
    key: str,
) -> Probe:
    return Probe(candidate.probe, seed_for(seed, "probe", key)).fit(vectors[rows], targets[rows])


def _best(scores: Sequence[NDArray[np.float64]]) -> int:
    # Where one candidate has no score (no label with both classes in that fold) none has: means stay comparable.
    if np.isnan(scores[0]).all():
        raise ConfigError(
            "search: no held-out fold has a label that holds in some frames and not in others, expected one. "
            "Annotate more animals."
        )
    return int(np.argmax([np.nanmean(score) for score in scores]))


def _check_folds(data: ProbeData, folds: NDArray[np.integer]) -> int:
    """Return the number of folds K, once they are known to be whole and to keep animals apart."""
    if len(folds) != len(data.targets):
        raise ContractError(
            f"search: {len(folds)} folds for {len(data.targets)} rows, expected one each. This is a bug: report it."
        )
    num_folds = int(folds.max(initial=-1)) + 1
    empty = set(range(num_folds)) - set(np.unique(folds).tolist())
    fold_of = set(zip(data.animals, folds.tolist(), strict=True))
    if num_folds < 3 or empty or len(fold_of) != len({animal for animal, _ in fold_of}):
        raise ContractError(
            f"search: {num_folds} folds, empty {sorted(empty)}, expected at least 3, none empty and no animal in two. "
            "Use folds.grouped_folds."
        )
    return num_folds
