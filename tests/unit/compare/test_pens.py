"""Animals of one pen count together, so that pens do not make findings."""

import math

import numpy as np
import pytest

from sheep.annotations.units import ANIMALS, Units
from sheep.compare.groups import compare
from sheep.compare.results import LeftOut
from sheep.errors import ConfigError
from tests.unit.compare.test_groups import ALL, cohort_of, tables


def pens(per_pen: int, num_animals: int) -> Units:
    return Units("pen", {f"a{number:02}": f"pen{number // per_pen}" for number in range(num_animals)})


def test_a_pen_is_one_value_the_mean_over_its_animals() -> None:
    values = [0.1, 0.3, 0.2, 0.2, 0.25, 0.45, 0.6, 0.8, 0.5, 0.7, 0.9, 0.9]
    result = compare(*tables(values), cohort_of("c" * 6 + "t" * 6), ALL, seed=0, units=pens(2, 12))
    first = result.comparisons[0]
    assert (first.unit, first.num_reference, first.num_group) == ("pen", 3, 3)
    assert first.mean_reference == pytest.approx(np.mean(values[:6]))
    assert "permutation of pens, Welch t, all 20 divisions" in first.test
    assert first.p == first.least_p == pytest.approx(2 / 20)
    assert not first.found  # 3 against 3 pens cannot be told apart, however many animals they hold
    assert first.least_p_adjusted > 0.05
    assert first.reason.startswith("every pen has scored frames")
    assert len(result.proportions) == 12


def test_a_pen_is_corrected_by_those_of_its_animals_that_are_scored() -> None:
    predicted, labels = tables([0.5] * 8, scored=[0, 2, 4, 6])
    holds = predicted.column("lying").to_numpy() * 0.5 + 0.1  # predictions shrink
    predicted = predicted.set_column(
        predicted.schema.get_field_index("lying"), predicted.schema.field("lying"), [holds.astype(np.float32)]
    )
    result = compare(predicted, labels, cohort_of("cccctttt"), ALL, seed=0, units=pens(2, 8))
    [row] = [one for one in result.comparisons if one.label == "lying"]
    assert row.estimate == "every_animal_scored"
    assert row.mean_group == pytest.approx(0.5)
    assert row.num_scored_group == 2


def test_one_pen_is_no_group() -> None:
    both = tables([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    with pytest.raises(ConfigError, match=r"observed pens per group: c \(1\), t \(2\)"):
        compare(*both, cohort_of("cctttt"), ALL, seed=0, units=pens(2, 6))
    result = compare(*tables([0.1] * 10), cohort_of("ccccttttxx"), ALL, seed=0, units=pens(2, 10))
    assert result.left_out == (LeftOut(kind="group", name="x", reason="1 observed pen, at least 2 are needed"),)


def test_pens_hold_the_level_where_animals_do_not() -> None:
    # 12 animals a group in 4 pens; pens vary by .05 beside animals by .08, and groups do not differ
    rng = np.random.default_rng(0)
    found = {"animal": 0, "pen": 0}
    tested = 0
    for seed in range(12):
        pen = np.repeat(rng.normal(0, 0.05, (8, 6)), 3, axis=0)
        values = (0.4 + pen + rng.normal(0, 0.08, (24, 6))).clip(0, 1)
        for units in (ANIMALS, pens(3, 24)):
            result = compare(*tables(values), cohort_of("c" * 12 + "t" * 12), ALL, seed=seed, units=units)
            found[units.word] += sum(row.p <= 0.05 for row in result.comparisons)
        tested += 6
    assert found["pen"] <= 0.05 * tested + 3 * math.sqrt(0.05 * 0.95 * tested)
    assert found["animal"] > found["pen"]
