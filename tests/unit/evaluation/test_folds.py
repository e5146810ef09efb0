import numpy as np
import pytest

from sheep.errors import ConfigError, ContractError
from sheep.evaluation.folds import grouped_folds


def _rows(rng, num_animals=11, num_rows=600):
    animals = rng.choice([f"animal{i}" for i in range(num_animals)], num_rows)
    return animals, (rng.random((num_rows, 3)) < [0.5, 0.1, 0.3]).astype(float)


def test_no_animal_is_in_two_folds_and_folds_have_as_many_animals():
    animals, targets = _rows(np.random.default_rng(0))
    folds = grouped_folds(animals, targets, 4, seed=1)
    members = [set(animals[folds == k]) for k in range(4)]
    assert sum(len(m) for m in members) == len(set(animals)) == 11
    assert sorted(len(m) for m in members) == [2, 3, 3, 3]


def test_order_of_rows_does_not_matter():
    rng = np.random.default_rng(0)
    animals, targets = _rows(rng)
    order = rng.permutation(len(animals))
    assert (grouped_folds(animals[order], targets[order], 3, 7) == grouped_folds(animals, targets, 3, 7)[order]).all()


def test_rare_label_reaches_every_fold():
    # 8 animals of 10 frames; the second label holds in animals 0, 1, 2, 3 only, and nobody scored animal 4 for it
    animals = np.repeat([f"a{i}" for i in range(8)], 10)
    targets = np.zeros((80, 2))
    targets[::2, 0] = 1
    targets[:40:10, 1] = 1
    targets[40:50, 1] = np.nan
    folds = grouped_folds(animals, targets, 4, seed=0)
    assert sorted(folds[:40:10]) == [0, 1, 2, 3]


def test_seed_decides_between_equal_animals():
    animals, targets = np.repeat([f"a{i:02}" for i in range(12)], 5), np.ones((60, 1))
    assert len({tuple(grouped_folds(animals, targets, 3, seed)) for seed in range(5)}) > 1


def test_refuses_fewer_animals_than_folds_and_ragged_rows():
    with pytest.raises(ConfigError, match="2 labelled animals for 3 folds"):
        grouped_folds(["a", "b"], np.ones((2, 1)), 3, 0)
    with pytest.raises(ContractError, match="one per row"):
        grouped_folds(["a"], np.ones((2, 1)), 2, 0)
