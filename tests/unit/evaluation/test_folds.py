"""Folds keep animals whole, are even, and do not depend on the order of rows."""

import numpy as np
import pytest
from numpy.typing import NDArray

from sheep.errors import ConfigError, ContractError
from sheep.evaluation.folds import grouped_folds, thin_groups

Rows = tuple[NDArray[np.str_], NDArray[np.float64]]


def random_rows(rng: np.random.Generator, num_animals: int = 11, num_rows: int = 600) -> Rows:
    animals = rng.choice([f"animal{i}" for i in range(num_animals)], num_rows)
    return animals, (rng.random((num_rows, 3)) < [0.5, 0.1, 0.3]).astype(float)


def folds_of(rows: Rows, num_folds: int, seed: int) -> NDArray[np.int64]:
    return grouped_folds(rows[0].tolist(), rows[1], num_folds, seed)


def test_no_animal_is_in_two_folds_and_folds_have_equally_many_animals() -> None:
    animals, targets = random_rows(np.random.default_rng(0))
    folds = folds_of((animals, targets), 4, seed=1)
    members = [set(animals[folds == k]) for k in range(4)]
    assert sum(len(m) for m in members) == len(set(animals)) == 11
    assert sorted(len(m) for m in members) == [2, 3, 3, 3]


def test_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    animals, targets = random_rows(rng)
    order = rng.permutation(len(animals))
    assert (folds_of((animals[order], targets[order]), 3, 7) == folds_of((animals, targets), 3, 7)[order]).all()


def test_rare_label_reaches_every_fold() -> None:
    # 8 animals of 10 frames; the second label holds in animals 0, 1, 2, 3 only, and is unscored in animal 4
    animals = np.repeat([f"a{i}" for i in range(8)], 10)
    targets = np.zeros((80, 2))
    targets[::2, 0] = 1
    targets[:40:10, 1] = 1
    targets[40:50, 1] = np.nan
    folds = folds_of((animals, targets), 4, seed=0)
    assert sorted(folds[:40:10]) == [0, 1, 2, 3]


def test_seed_decides_between_equal_animals() -> None:
    rows = np.repeat([f"a{i:02}" for i in range(12)], 5), np.ones((60, 1))
    assert len({tuple(folds_of(rows, 3, seed)) for seed in range(5)}) > 1


def test_fewer_animals_than_folds_and_ragged_rows_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"2 labelled animals for 3 folds.*labelled now: a, b"):
        grouped_folds(["a", "b"], np.ones((2, 1)), 3, 0)
    with pytest.raises(ConfigError, match="for 1 folds, expected at least one per fold and 2 folds"):
        grouped_folds(["a", "b"], np.ones((2, 1)), 1, 0)
    with pytest.raises(ContractError, match="one per row"):
        grouped_folds(["a"], np.ones((2, 1)), 2, 0)


@pytest.mark.parametrize(
    "sizes", [(6, 6), (5, 7), (3, 9), (4, 4, 4), (5, 6, 7), (1, 2, 9), (2, 2, 2, 2), (13, 1), (7, 8, 3)]
)
@pytest.mark.parametrize("num_folds", [3, 4, 5])
def test_each_group_is_spread_evenly_over_folds_and_so_are_all_animals(sizes: tuple[int, ...], num_folds: int) -> None:
    rng = np.random.default_rng(sum(sizes))
    group_of = {f"a{place}{group}": f"g{group}" for group, size in enumerate(sizes) for place in range(size)}
    animals = rng.permutation(np.repeat(list(group_of), 7))
    targets = (rng.random((len(animals), 3)) < [0.5, 0.1, 0.3]).astype(float)
    for seed in range(5):
        folds = grouped_folds(animals.tolist(), targets, num_folds, seed, group_of=group_of)
        fold_of = dict(zip(animals.tolist(), folds.tolist(), strict=True))
        for members in [*([a for a in group_of if group_of[a] == f"g{g}"] for g in range(len(sizes))), list(group_of)]:
            counts = [sum(fold_of[animal] == fold for animal in members) for fold in range(num_folds)]
            assert max(counts) - min(counts) <= 1, (members, counts)


def test_one_group_is_the_same_as_none() -> None:
    animals, targets = random_rows(np.random.default_rng(3))
    one = dict.fromkeys(animals.tolist(), "control")
    with_group = grouped_folds(animals.tolist(), targets, 4, 7, group_of=one)
    assert (with_group == grouped_folds(animals.tolist(), targets, 4, 7)).all()


def test_groups_that_some_folds_lack_are_told() -> None:
    group_of = {f"a{number}": "abc"[number // 4] for number in range(12)}
    assert thin_groups([*list(group_of)[:7], "a0"], group_of, 4) == {"b": 3, "c": 0}
    assert thin_groups(group_of, group_of, 4) == {}
    with pytest.raises(ContractError, match="no group for b"):
        grouped_folds(["a", "b"], np.ones((2, 1)), 2, 0, group_of={"a": "x"})
