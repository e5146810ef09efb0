"""Which estimate the scored frames allow, and each of them by hand."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from sheep.compare import powered
from sheep.compare.estimates import Estimate, Group, estimate


def group(name: str, predicted: list[float], labelled: list[float | None]) -> Group:
    """One label; a scored animal is scored in all its frames, None is unscored."""
    values = np.array(predicted)[:, None]
    labels = np.array([math.nan if one is None else one for one in labelled])[:, None]
    return Group(name, values, np.where(np.isnan(labels), math.nan, values), labels)


def estimated(reference: Group, other: Group, num_permutations: int = 999) -> Estimate:
    [result] = estimate(
        reference, other, num_permutations=num_permutations, confidence=0.95, rng=np.random.default_rng(0)
    )
    return result


PREDICTED = [0.30, 0.42, 0.35, 0.51, 0.38, 0.45, 0.29, 0.40]
LABELLED = [0.25, 0.44, 0.36, 0.60, 0.31, 0.47, 0.20, 0.41]


def scored(count: int) -> list[float | None]:
    return [*LABELLED[:count], *[None] * (8 - count)]


@pytest.mark.parametrize(
    ("counts", "kind"),
    [
        ((8, 8), "every_animal_scored"),
        ((8, 7), "some_animals_scored"),
        ((4, 8), "some_animals_scored"),
        ((4, 4), "some_animals_scored"),
        ((3, 8), "too_few_scored"),
        ((2, 3), "too_few_scored"),
        ((1, 8), "predictions_only"),
        ((0, 0), "predictions_only"),
    ],
)
def test_the_labels_choose_the_estimate(counts: tuple[int, int], kind: str) -> None:
    result = estimated(group("control", PREDICTED, scored(counts[0])), group("treated", PREDICTED, scored(counts[1])))
    assert result.kind == kind
    assert (result.num_scored_reference, result.num_scored_group) == counts
    tested = kind in ("every_animal_scored", "some_animals_scored")
    assert math.isnan(result.p) != tested
    assert math.isnan(result.least_p) != tested
    assert math.isfinite(result.low)


def test_reasons_say_what_to_score() -> None:
    few = estimated(group("control", PREDICTED, scored(3)), group("treated", PREDICTED, scored(2)))
    assert few.reason == (
        "too few scored animals: 3 of 8 animals of control and 2 of 8 animals of treated have scored frames; score 1 "
        "more of control and 2 more of treated, or some frames of every animal"
    )
    none = estimated(group("control", PREDICTED, scored(5)), group("treated", PREDICTED, scored(0)))
    assert none.reason.startswith("exploratory: no labels in group treated to check the classifier against; score 4")
    one = estimated(group("control", PREDICTED, scored(1)), group("treated", PREDICTED, scored(0)))
    assert "only 1 scored animal in group control and no labels in group treated" in one.reason
    small = estimated(group("control", PREDICTED[:3], [0.2, 0.3, 0.4]), group("treated", PREDICTED, scored(5)))
    assert small.kind == "too_few_scored"
    assert small.reason.endswith("; score every animal")


def test_every_animal_scored_is_welch_of_corrected_shares() -> None:
    # a quarter scored: the classifier is .1 too high in the control animals and right in the treated ones
    reference = Group(
        "control", np.array([[0.4], [0.5], [0.6]]), np.array([[0.5], [0.6], [0.7]]), np.array([[0.4], [0.5], [0.6]])
    )
    other = Group(
        "treated", np.array([[0.5], [0.7], [0.9]]), np.array([[0.2], [0.3], [0.4]]), np.array([[0.2], [0.3], [0.4]])
    )
    result = estimated(reference, other)
    assert (result.mean_reference, result.mean_group) == pytest.approx((0.4, 0.7))
    assert result.uncorrected_difference == pytest.approx(0.2)
    welch = stats.ttest_ind([0.5, 0.7, 0.9], [0.3, 0.4, 0.5], equal_var=False).confidence_interval(0.95)
    assert (result.low, result.high) == pytest.approx((max(welch.low, -1), welch.high))
    assert "all 20 divisions" in result.test
    assert math.isnan(result.slope)


def test_prediction_powered_difference_by_its_formula() -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(0.4, 0.1, (2, 6))
    f = 0.3 + 0.4 * (y - 0.3) + rng.normal(0, 0.02, (2, 6))
    m, u, n = 4, 2, 6
    # slope pooled within groups
    deviation = [(y[g, :m] - y[g, :m].mean(), f[g, :m] - f[g, :m].mean()) for g in (0, 1)]
    sff = sum((df**2).sum() for _, df in deviation)
    slope = sum((dy * df).sum() for dy, df in deviation) / sff
    assert slope > 1  # not limited above
    c = slope * u / n
    share = [y[g, :m].mean() + c * (f[g, m:].mean() - f[g, :m].mean()) for g in (0, 1)]
    inflation = (2 * m - 2) / (2 * m - 3)  # of residuals, for the slope that was fitted to them
    parts = [(inflation * (y[g, :m] - c * f[g, :m]).var(ddof=1) / m, m - 1) for g in (0, 1)]
    parts += [(c**2 * f[g, m:].var(ddof=1) / u, u - 1) for g in (0, 1)]
    residual = sum(((dy - slope * df) ** 2).sum() for dy, df in deviation) / (2 * m - 3)
    shift = [u / n * (f[g, m:].mean() - f[g, :m].mean()) for g in (0, 1)]
    parts.append(((shift[1] - shift[0]) ** 2 * residual / sff, 2 * m - 3))
    variance = sum(part for part, _ in parts)
    freedom = max(variance**2 / sum(part**2 / df for part, df in parts) - 1, 1)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(variance)
    first, second = (group(name, f[g].tolist(), [*y[g, :m].tolist(), None, None]) for g, name in ((0, "a"), (1, "b")))
    result = estimated(first, second)
    assert result.slope == pytest.approx(slope)
    assert (result.mean_reference, result.mean_group) == pytest.approx((share[0], share[1]))
    assert (result.low, result.high) == pytest.approx((share[1] - share[0] - half, share[1] - share[0] + half))
    assert "within scored and unscored ones" in result.test


def test_slope_one_for_too_few_and_zero_where_predictions_mislead() -> None:
    few = estimated(group("a", PREDICTED, scored(2)), group("b", PREDICTED[::-1], scored(3)))
    assert few.slope == 1.0
    expected = np.mean(LABELLED[:2]) + 6 / 8 * (np.mean(PREDICTED[2:]) - np.mean(PREDICTED[:2]))
    assert few.mean_reference == pytest.approx(expected)
    misled = estimated(
        group("a", PREDICTED, [0.5, 0.4, 0.45, 0.3, 0.42, None, None, None]),
        group("b", PREDICTED, [0.5, 0.4, 0.45, 0.3, 0.42, None, None, None]),
    )
    assert misled.slope == 0.0
    assert misled.difference == pytest.approx(0)


def test_stratified_divisions_and_their_least_p() -> None:
    equal = estimated(group("a", PREDICTED[:6], scored(4)[:6]), group("b", PREDICTED[:6], scored(4)[:6]), 9999)
    assert "all 420 divisions" in equal.test  # 70 of the scored times 6 of the unscored
    assert equal.least_p == pytest.approx(2 / 420)
    unequal = estimated(group("a", PREDICTED[:6], scored(4)[:6]), group("b", PREDICTED[:5], scored(4)[:5]), 9999)
    assert "all 210 divisions" in unequal.test
    assert unequal.least_p == pytest.approx(1 / 210)
    drawn = estimated(group("a", PREDICTED, scored(4)), group("b", PREDICTED, scored(4)), 199)
    assert "199 random divisions" in drawn.test
    assert drawn.least_p == pytest.approx(1 / 200)
    apart = estimated(
        group("a", PREDICTED, [0.02, 0.0, 0.02, 0.0, 0.02, 0.0, None, None]),
        group("b", PREDICTED, [0.95, 0.91, 0.95, 0.91, 0.95, 0.91, None, None]),
        9999,
    )
    assert apart.p <= 2 / 924  # no division of the scored animals but the actual one and its mirror is as extreme


def test_labels_scored_in_different_animals_are_estimated_apart() -> None:
    def two(name: str, counts: tuple[int, int]) -> Group:
        columns = [group(name, PREDICTED, scored(count)) for count in counts]
        stacked: list[NDArray[np.float64]] = [
            np.concatenate([getattr(one, field) for one in columns], axis=1)
            for field in ("predicted", "predicted_scored", "scored")
        ]
        return Group(name, *stacked)

    first, second = estimate(
        two("a", (8, 2)), two("b", (8, 5)), num_permutations=99, confidence=0.95, rng=np.random.default_rng(0)
    )
    assert (first.kind, second.kind) == ("every_animal_scored", "too_few_scored")
    alone = estimated(group("a", PREDICTED, scored(2)), group("b", PREDICTED, scored(5)))
    assert second.difference == pytest.approx(alone.difference)


def test_animals_without_any_spread_have_no_interval() -> None:
    constant = [0.3] * 6
    labels: list[float | None] = [0.2, 0.2, 0.2, 0.2, None, None]
    result = estimated(group("a", constant, labels), group("b", constant, labels))
    assert math.isnan(result.low)
    assert (result.difference, result.p) == pytest.approx((0, 1.0))


def test_a_single_unscored_animal_borrows_the_spread_of_the_scored() -> None:
    sample = powered.Sample(
        np.array(PREDICTED)[:, None], np.array([*LABELLED[:7], math.nan])[:, None], np.arange(8) < 7
    )
    full = powered.Sample(np.array(PREDICTED)[:, None], np.array(LABELLED)[:, None], np.ones(8, dtype=bool))
    result = powered.difference(sample, full)
    assert math.isfinite(result.variance[0])
    low, high = result.interval(0.95)
    assert low[0] < result.value[0] < high[0]
