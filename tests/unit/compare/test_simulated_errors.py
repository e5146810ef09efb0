"""A short version of `benchmarks/groups.py`: intervals cover and tests hold their level when the classifier errs."""

import math

import numpy as np
import pytest

from benchmarks.groups import ALPHA, CONFIDENCE, Cell, Errors, Row, Scored, possible, run, separation, shares

STUDIES = 300
SEED = 1


def slack(rate: float, studies: int) -> float:
    """Three binomial standard errors."""
    return 3 * math.sqrt(rate * (1 - rate) / studies)


@pytest.fixture(scope="module")
def rows() -> dict[tuple[Errors, Scored], Row]:
    errors: tuple[Errors, ...] = ("shifted", "leaking")
    made = [row for error in errors for row in run(Cell(8, 0.8, error), possible(8), STUDIES, 199, SEED)]
    return {(row.cell.errors, row.scored): row for row in made}


@pytest.mark.parametrize("errors", ["shifted", "leaking"])
@pytest.mark.parametrize(("scored", "kind"), [("quarter", "every_animal_scored"), ("4 whole", "some_animals_scored")])
def test_corrected_estimates_cover_and_hold_their_level(
    rows: dict[tuple[Errors, Scored], Row], errors: Errors, scored: Scored, kind: str
) -> None:
    row = rows[errors, scored]
    assert row.kind == kind
    for one in row.ours:
        assert abs(one.coverage - CONFIDENCE) <= slack(CONFIDENCE, STUDIES)
    assert row.ours[0].found <= 0.06 + slack(ALPHA, STUDIES)
    assert row.ours[1].found > row.labels[1].found  # predictions help


@pytest.mark.parametrize("errors", ["shifted", "leaking"])
def test_nothing_is_found_without_enough_labels_and_the_naive_way_fails(
    rows: dict[tuple[Errors, Scored], Row], errors: Errors
) -> None:
    kinds: tuple[tuple[Scored, str], ...] = (("2 whole", "too_few_scored"), ("none", "predictions_only"))
    for scored, kind in kinds:
        row = rows[errors, scored]
        assert row.kind == kind
        assert [one.found for one in row.ours] == [0, 0]
    assert rows[errors, "2 whole"].ours[0].coverage >= CONFIDENCE - slack(CONFIDENCE, STUDIES)
    assert rows[errors, "none"].naive[0].found > 0.06 + slack(ALPHA, STUDIES)


def test_simulated_shares_and_classifier_are_what_they_say() -> None:
    drawn = shares(0.3, (200, 200), np.random.default_rng(0))
    assert drawn.mean() == pytest.approx(0.3, abs=0.002)
    assert drawn.std() == pytest.approx(0.1, abs=0.002)
    assert separation(0.6) < separation(0.8) < separation(0.95)
    assert possible(4) == ["quarter", "2 whole", "none"]
