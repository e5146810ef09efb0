"""Cross-validation folds grouped by animal: rows and their animals in, one fold number per row out.

Frames of one animal resemble each other far more than they resemble another animal's, so a split by frame, bout or
video measures memory, not recognition. An animal in several videos stays in one fold.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sheep.errors import ConfigError, ContractError


def grouped_folds(
    animals: Sequence[str], targets: NDArray[np.floating], num_folds: int, seed: int
) -> NDArray[np.int64]:
    """Assign each row to a fold so that no animal is in two and labels occur about equally often in each.

    Greedy: animals with the most uneven labels come first, and each is assigned to the fold that keeps the variance of
    label counts (and of row counts) over folds smallest. Folds differ by at most one animal. The order of rows does not
    matter.

    Args:
        animals: (F,) animal of each row.
        targets: (F, L) 0 or 1; nan is unscored.
        num_folds: K >= 2.
        seed: breaks ties between animals that are equally uneven.

    Returns:
        (F,) fold of each row, in [0, K).

    Raises:
        ConfigError: fewer animals than folds.
        ContractError: lengths differ.

    Source: the rule of scikit-learn's StratifiedGroupKFold (one label per row), extended to several labels that can
    hold at once.
    """
    if len(animals) != len(targets):
        raise ContractError(
            f"folds: {len(animals)} animals for {len(targets)} rows of targets, expected one per row. This is a bug: "
            "report it."
        )
    names, codes = np.unique(np.asarray(animals, dtype=str), return_inverse=True)
    if len(names) < num_folds or num_folds < 2:
        raise ConfigError(
            f"folds: {len(names)} labelled animals for {num_folds} folds, expected at least one per fold and 2 folds. "
            f"Lower search.num_folds, or annotate more animals; labelled now: {', '.join(names[:20])}."
        )
    shares = _shares(codes, np.asarray(targets, dtype=float), len(names))
    tie_break = np.random.default_rng(seed).random(len(names))
    order = np.lexsort((tie_break, -shares.std(axis=1), -shares.sum(axis=1)))
    fold_of_animal = np.full(len(names), -1)
    totals = np.zeros((num_folds, shares.shape[1]))
    sizes = np.zeros(num_folds, dtype=int)
    for animal in order:
        fold = min(_open_folds(sizes, len(names)), key=lambda k: (_spread(totals, k, shares[animal]), sizes[k], k))
        fold_of_animal[animal] = fold
        totals[fold] += shares[animal]
        sizes[fold] += 1
    return fold_of_animal[codes]


def _shares(codes: NDArray[np.int64], targets: NDArray[np.floating], num_animals: int) -> NDArray[np.float64]:
    """Share of each animal in all rows and in each label's positive rows, (A, 1 + L).

    0 for a label that never holds.
    """
    counts = np.zeros((num_animals, 1 + targets.shape[1]))
    np.add.at(counts[:, 0], codes, 1.0)
    np.add.at(counts[:, 1:], codes, np.nan_to_num(targets))
    totals = counts.sum(axis=0)
    shares: NDArray[np.float64] = counts / np.where(totals > 0, totals, 1.0)
    return shares


def _spread(totals: NDArray[np.float64], fold: int, share: NDArray[np.float64]) -> float:
    """Variance of the totals (K, 1 + L) over folds, summed over columns, once `share` (1 + L,) is added to a fold."""
    after = totals.copy()
    after[fold] += share
    return float(after.var(axis=0).sum())


def _open_folds(sizes: NDArray[np.int64], num_animals: int) -> list[int]:
    """Folds that may still get an animal, so that each ends with floor(A / K) animals or one more."""
    least, extra = divmod(num_animals, len(sizes))
    full = int((sizes > least).sum())
    return [fold for fold, size in enumerate(sizes) if size < least or (size == least and full < extra)]
