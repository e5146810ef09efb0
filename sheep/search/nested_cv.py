"""Labelled embeddings in; the choice of window and probe, and probes with out-of-fold probabilities, out. No Ray.

Nested without a second set of folds: for every pair of folds one probe is trained on all the others and scored on both.
The choice for outer fold i uses only scores on folds j of probes trained without i and j, so it never sees fold i.
Candidates are judged independently of each other (`inner_scores`), anywhere; what follows from the scores is quick.
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


@dataclass(frozen=True)
class Candidate:
    """One setting that is tried."""

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
    frames: NDArray[np.integer]
    """(F,)."""
    targets: NDArray[np.floating]
    """(F, L) 0 or 1; nan is unscored, but every row has a scored label."""

    def __post_init__(self) -> None:
        lengths = [
            len(column)
            for column in (self.embeddings, self.time_s, self.videos, self.animals, self.frames, self.targets)
        ]
        if len(set(lengths)) != 1:
            raise ContractError(f"search: columns of {lengths} rows, expected one length.")
        if np.isnan(self.targets).all(axis=1).any():
            raise ContractError("search: rows without any scored label, expected none. Leave them out.")


def candidates(config: SearchConfig, *, temporal: bool) -> list[Candidate]:
    """List the settings to try, in a fixed order: windows, then components, then penalties.

    Args:
        config: what to combine.
        temporal: True for windows wider than a frame, False for the frame's own vector.

    Raises:
        ConfigError: there is none.
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


def together(tried: Sequence[Candidate]) -> list[tuple[Candidate, ...]]:
    """Group candidates by window and number of components, in the order in which these first occur."""
    groups: dict[tuple[WindowConfig, int], list[Candidate]] = {}
    for candidate in tried:
        groups.setdefault((candidate.window, candidate.probe.num_components), []).append(candidate)
    return [tuple(group) for group in groups.values()]


def inner_scores(
    tried: Sequence[Candidate], data: ProbeData, folds: NDArray[np.integer], *, seed: int
) -> list[NDArray[np.float64]]:
    """Judge candidates that differ in penalty only, under grouped folds, by K (K - 1) / 2 fits each.

    Args:
        tried: of one window and number of components, so that all share the costly part, the components.
        data: labelled frames.
        folds: (F,) from `splits.grouped_folds`, in [0, K), K >= 3.
        seed: of the probes.

    Returns: Per candidate (K, K): [i, j] is the macro average precision on fold j of a probe trained without folds i
        and j; nan on the diagonal, and where no label of fold j has both classes.

    Raises:
        ContractError: fewer than three folds, an empty fold, or an animal in two; candidates of several windows.
    """
    num_folds = _check_folds(data, folds)
    shared = {(candidate.window, candidate.probe.num_components) for candidate in tried}
    if len(shared) != 1:
        raise ContractError(
            f"search: candidates of {len(shared)} windows and components, expected one. Judge them apart."
        )
    [(window, num_components)] = shared
    vectors = _vectors(window, data)
    scores = np.full((len(tried), num_folds, num_folds), np.nan)
    for i, j in combinations(range(num_folds), 2):
        rows, probe_seed = (folds != i) & (folds != j), seed_for(seed, "probe", f"{i},{j}")
        projection = project(vectors[rows], num_components, probe_seed)
        for number, candidate in enumerate(tried):
            probe = Probe(candidate.probe, probe_seed).fit_projected(projection, data.targets[rows])
            for without, tested in ((i, j), (j, i)):
                held_out = folds == tested
                found = probe.predict_proba(vectors[held_out])
                scores[number, without, tested] = macro_average_precision(data.targets[held_out], found)
    return list(scores)


def choose(inner: Sequence[NDArray[np.float64]]) -> list[int]:
    """Choose a candidate for every outer fold without looking at it.

    Args:
        inner: `inner_scores` of each candidate.

    Returns:
        For each fold i the index of the candidate with the best mean over j of inner[i, j]; the first of equals.

    Raises:
        ConfigError: no other fold has a label with both classes.
    """
    return [_best([scores[fold] for scores in inner]) for fold in range(len(inner[0]))]


def choose_final(inner: Sequence[NDArray[np.float64]]) -> int:
    """Choose the candidate for animals without labels: the best mean over all folds; the first of equals."""
    return _best(inner)


def fit_without(
    candidate: Candidate, data: ProbeData, folds: NDArray[np.integer], fold: int, *, seed: int
) -> tuple[Probe, NDArray[np.float32]]:
    """Fit on all folds but one, and predict that one.

    Returns:
        The probe, and the probability of each label for the rows of the fold that was left out, (rows of the fold, L).

    Raises:
        ContractError: fewer than three folds, an empty fold, or an animal in two.
    """
    _check_folds(data, folds)
    vectors = _vectors(candidate.window, data)
    probe = _fit(candidate, vectors, data.targets, folds != fold, seed, f"{fold}")
    return probe, probe.predict_proba(vectors[folds == fold])


def fit_final(candidate: Candidate, data: ProbeData, *, seed: int) -> Probe:
    """Fit on every labelled row, for animals without labels."""
    return _fit(
        candidate, _vectors(candidate.window, data), data.targets, np.ones(len(data.targets), dtype=bool), seed, "final"
    )


def _vectors(window: WindowConfig, data: ProbeData) -> NDArray[np.float32]:
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
    # Where one candidate has no score (no label with both classes in that fold) all have none: means stay comparable.
    if np.isnan(scores[0]).all():
        raise ConfigError(
            "search: no held-out fold has a label that holds in some frames and not in others, expected one. "
            "Annotate more animals."
        )
    return int(np.argmax([np.nanmean(score) for score in scores]))


def _check_folds(data: ProbeData, folds: NDArray[np.integer]) -> int:
    if len(folds) != len(data.targets):
        raise ContractError(f"search: {len(folds)} folds for {len(data.targets)} rows, expected one each.")
    num_folds = int(folds.max(initial=-1)) + 1
    empty = set(range(num_folds)) - set(np.unique(folds).tolist())
    fold_of = set(zip(data.animals, folds.tolist(), strict=True))
    if num_folds < 3 or empty or len(fold_of) != len({animal for animal, _ in fold_of}):
        raise ContractError(
            f"search: {num_folds} folds, empty {sorted(empty)}, expected at least 3, none empty and no animal in two. "
            "Use splits.grouped_folds."
        )
    return num_folds
