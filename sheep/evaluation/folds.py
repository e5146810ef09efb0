"""Cross-validation folds grouped by animal: rows and their animals in, one fold number per row out.

Frames of one animal resemble each other far more than they resemble another animal's, so a split by frame, bout or
video measures memory, not recognition. An animal in several videos stays in one fold.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sheep.errors import ConfigError, ContractError


def grouped_folds(
    animals: Sequence[str],
    targets: NDArray[np.floating],
    num_folds: int,
    seed: int,
    *,
    group_of: Mapping[str, str] | None = None,
) -> NDArray[np.int64]:
    """Assign each row to a fold so that no animal is in two and groups and labels occur about equally often in each.

    Experimental groups come first: each fold gets floor(A / K) of a group's A animals or one more, and so of all
    animals. A probe that trained on fewer animals of one group errs differently on that group, which biases the
    comparison of groups. Within these limits it is greedy: group by group, animals with the most uneven labels come
    first, and each is assigned to the fold that keeps the variance of label counts (and of row counts) over folds
    smallest. The order of rows does not matter.

    Args:
        animals: (F,) animal of each row.
        targets: (F, L) 0 or 1; nan is unscored.
        num_folds: K >= 2.
        seed: breaks ties between animals that are equally uneven.
        group_of: animal -> experimental group; None for one group of all animals. `thin_groups` tells which groups
            cannot be in every fold.

    Returns:
        (F,) fold of each row, in [0, K).

    Raises:
        ConfigError: fewer animals than folds.
        ContractError: lengths differ, or an animal has no group.

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
    groups = _groups(names.tolist(), group_of)
    shares = _shares(codes, np.asarray(targets, dtype=float), len(names))
    tie_break = np.random.default_rng(seed).random(len(names))
    order = np.lexsort((tie_break, -shares.std(axis=1), -shares.sum(axis=1), groups))
    fold_of_animal = np.full(len(names), -1)
    totals = np.zeros((num_folds, shares.shape[1]))
    sizes = np.zeros(num_folds, dtype=int)
    for group in np.unique(groups):
        before = sizes.copy()
        members = order[groups[order] == group]
        for animal in members:
            open_folds = _open_folds(sizes - before, before, len(members))
            fold = min(open_folds, key=lambda k: (_spread(totals, k, shares[animal]), sizes[k], k))
            fold_of_animal[animal] = fold
            totals[fold] += shares[animal]
            sizes[fold] += 1
    return fold_of_animal[codes]


def thin_groups(animals: Iterable[str], group_of: Mapping[str, str], num_folds: int) -> dict[str, int]:
    """Return the groups with fewer labelled animals than folds, which some folds therefore lack.

    Args:
        animals: labelled ones, each once or more often.
        group_of: animal -> group, of every animal of the study.
        num_folds: K.

    Returns:
        Group -> its labelled animals, by name; 0 for a group without any.
    """
    labelled = set(animals)
    counts = {group: 0 for group in sorted(set(group_of.values()))}
    for animal in labelled:
        counts[group_of[animal]] += 1
    return {group: count for group, count in counts.items() if count < num_folds}


def _groups(names: Sequence[str], group_of: Mapping[str, str] | None) -> NDArray[np.str_]:
    """Return the group of each animal."""
    if group_of is None:
        return np.full(len(names), "")
    missing = [name for name in names if name not in group_of]
    if missing:
        raise ContractError(
            f"folds: no group for {', '.join(missing[:20])}, expected one each. This is a bug: report it."
        )
    return np.array([group_of[name] for name in names])


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


def _open_folds(taken: NDArray[np.int64], before: NDArray[np.int64], num_members: int) -> list[int]:
    """Folds that may still get an animal of a group, so that the group and all groups so far are spread evenly.

    Each fold gets floor(A / K) animals of the group, and A mod K folds get one more: those that earlier groups left
    smaller, then others.

    Args:
        taken: (K,) animals of this group in each fold.
        before: (K,) animals of earlier groups; they differ by at most one.
        num_members: A, of this group.
    """
    least, extra = divmod(num_members, len(taken))
    is_small = before == before.min()
    # How many of the smaller folds get one animal more, and how many of the others.
    wanted = {True: min(extra, int(is_small.sum())), False: max(extra - int(is_small.sum()), 0)}
    given = {small: int((taken[is_small == small] > least).sum()) for small in (True, False)}
    return [
        fold
        for fold, number in enumerate(taken)
        if number < least or (number == least and given[bool(is_small[fold])] < wanted[bool(is_small[fold])])
    ]
