"""Labelled embeddings in; the choice of window and probe, out-of-fold probabilities and a final probe out. No Ray.

Nested without a second set of folds: for every pair of folds one probe is trained on all the others and scored on both.
The choice for outer fold i uses only scores on folds j of probes trained without i and j, so it never sees fold i, and
K (K - 1) / 2 + K fits per candidate do for it all. Candidates are independent of each other: whoever carries this may
evaluate them anywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from sheep.config import ProbeConfig, SearchConfig, WindowConfig, seed_for
from sheep.errors import ConfigError, ContractError
from sheep.metrics import macro_average_precision
from sheep.probe import Probe
from sheep.windows import slide_all


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


@dataclass(frozen=True)
class Evaluation:
    """How one candidate did."""

    inner: NDArray[np.float64]
    """(K, K): [i, j] is the macro average precision on fold j of a probe trained without folds i and j; nan on the
    diagonal, and where no label of fold j has both classes."""
    outer: NDArray[np.float32]
    """(F, L): probability from the probe trained on all folds but the row's."""


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


def features(
    window: WindowConfig,
    embeddings: NDArray[np.floating],
    time_s: NDArray[np.floating],
    videos: Sequence[str],
    animals: Sequence[str],
) -> NDArray[np.float32]:
    """Vectors as a probe takes them, (F, D) or (F, 5 D); see `windows.slide_all`. Rows without labels count too."""
    groups = [f"{video}\0{animal}" for video, animal in zip(videos, animals, strict=True)]
    return slide_all(embeddings, time_s, groups, window)


def evaluate(candidate: Candidate, data: ProbeData, folds: NDArray[np.integer], *, seed: int) -> Evaluation:
    """Judge one candidate under grouped folds.

    Args:
        candidate: window and probe.
        data: labelled frames.
        folds: (F,) from `splits.grouped_folds`, in [0, K), K >= 3.
        seed: of the probes.

    Raises:
        ContractError: fewer than three folds, an empty fold, or an animal in two.
    """
    num_folds = _check_folds(data, folds)
    vectors = features(candidate.window, data.embeddings, data.time_s, data.videos, data.animals)
    inner = np.full((num_folds, num_folds), np.nan)
    for i, j in combinations(range(num_folds), 2):
        probe = _fit(candidate, vectors, data.targets, (folds != i) & (folds != j), seed, f"{i},{j}")
        for without, tested in ((i, j), (j, i)):
            rows = folds == tested
            inner[without, tested] = macro_average_precision(data.targets[rows], probe.predict_proba(vectors[rows]))
    outer = np.empty(data.targets.shape, dtype=np.float32)
    for i in range(num_folds):
        rows = folds == i
        outer[rows] = _fit(candidate, vectors, data.targets, ~rows, seed, f"{i}").predict_proba(vectors[rows])
    return Evaluation(inner, outer)


def choose(evaluations: Sequence[Evaluation], folds: NDArray[np.integer]) -> list[int]:
    """Choose a candidate for every outer fold without looking at it.

    Returns:
        For each fold i the index of the candidate with the best mean over j of inner[i, j]; the first of equals.

    Raises:
        ConfigError: no fold has a label with both classes.
    """
    return [_best([evaluation.inner[i] for evaluation in evaluations]) for i in range(int(folds.max()) + 1)]


def assemble(
    evaluations: Sequence[Evaluation], chosen: Sequence[int], folds: NDArray[np.integer]
) -> NDArray[np.float32]:
    """Out-of-fold probabilities (F, L) of the nested choice: each fold's rows from the candidate chosen for it."""
    probability = np.full_like(evaluations[0].outer, np.nan)
    for fold, choice in enumerate(chosen):
        probability[folds == fold] = evaluations[choice].outer[folds == fold]
    return probability


def final(
    evaluations: Sequence[Evaluation], tried: Sequence[Candidate], data: ProbeData, *, seed: int
) -> tuple[Candidate, Probe]:
    """Fit the probe for animals without labels: the best candidate over all inner scores, on all labelled rows.

    Args:
        evaluations: one per candidate.
        tried: the candidates, in the same order.
        data: labelled frames.
        seed: of the probe.

    Raises:
        ConfigError: no fold has a label with both classes.
    """
    if len(evaluations) != len(tried):
        raise ContractError(f"search: {len(evaluations)} evaluations of {len(tried)} candidates, expected as many.")
    candidate = tried[_best([evaluation.inner for evaluation in evaluations])]
    vectors = features(candidate.window, data.embeddings, data.time_s, data.videos, data.animals)
    return candidate, _fit(candidate, vectors, data.targets, np.ones(len(vectors), dtype=bool), seed, "final")


def predict(
    candidate: Candidate,
    probe: Probe,
    embeddings: NDArray[np.floating],
    time_s: NDArray[np.floating],
    videos: Sequence[str],
    animals: Sequence[str],
) -> NDArray[np.float32]:
    """Probabilities (F, L) of a fitted probe for any rows, in the candidate's window."""
    return probe.predict_proba(features(candidate.window, embeddings, time_s, videos, animals))


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
