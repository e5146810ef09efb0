"""Average precision by hand, intervals over animals that cover the expected value, and paired changes."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from sheep.errors import ContractError
from sheep.evaluation import metrics
from sheep.evaluation.metrics import Bootstrap, ScoreInterval, Scores
from sheep.io.typed_json import from_json, object_json

Array = NDArray[np.float64]
BOOTSTRAP = Bootstrap(confidence=0.95, num_resamples=200, seed=3)


def cohort(
    rng: np.random.Generator, num_animals: int, frames: int = 40, shift: float = 1.0
) -> tuple[Array, Array, list[str]]:
    """Frames whose score is the label plus noise, and an offset per animal that makes frames of one animal alike."""
    targets = (rng.random((num_animals * frames, 1)) < 0.4).astype(float)
    offset = np.repeat(rng.normal(0, 0.7, num_animals), frames)[:, None]
    logit = shift * targets + offset + rng.normal(size=targets.shape)
    return targets, 1 / (1 + np.exp(-logit)), np.repeat([f"a{i}" for i in range(num_animals)], frames).tolist()


def score(targets: Array, probability: Array, animals: list[str], labels: tuple[str, ...] = ("x",)) -> Scores:
    return metrics.score(targets, probability, animals, BOOTSTRAP, split="by animal", labels=labels)


def is_undefined(interval: ScoreInterval) -> bool:
    return all(math.isnan(value) for value in (interval.value, interval.low, interval.high))


def test_average_precision_by_hand() -> None:
    # ranked: hit, miss, hit -> (1/1 + 2/3) / 2; the unscored row does not count
    target, ranking = np.array([1, 0, 1, np.nan]), np.array([0.9, 0.8, 0.7, 1.0])
    assert metrics.average_precision(target, ranking) == pytest.approx(5 / 6)
    # ties share one threshold: two predicted, one hit
    assert metrics.average_precision(np.array([1.0, 0.0]), np.array([0.5, 0.5])) == pytest.approx(0.5)


@pytest.mark.parametrize("target", [[1.0, 1.0], [0.0, 0.0], [np.nan, np.nan]])
def test_one_class_has_no_average_precision(target: list[float]) -> None:
    assert math.isnan(metrics.average_precision(np.array(target), np.array([0.1, 0.2])))
    assert math.isnan(metrics.macro_average_precision(np.array(target)[:, None], np.array([[0.1], [0.2]])))


def test_label_without_both_classes_stays_out_of_the_macro() -> None:
    targets = np.array([[1, 0, 0], [0, 0, 1], [1, 0, np.nan], [0, 0, 0]])
    probability = np.array([[0.9, 0.1, 0.2], [0.8, 0.2, 0.9], [0.7, 0.3, 0.5], [0.1, 0.4, 0.1]])
    scores = score(targets, probability, list("abab"), labels=("x", "never", "y"))
    assert scores.labels["x"].value == pytest.approx(5 / 6)
    assert is_undefined(scores.labels["never"])
    assert scores.macro.value == pytest.approx((5 / 6 + 1) / 2)
    assert scores.base_rates == pytest.approx({"x": 0.5, "never": 0.0, "y": 1 / 3})
    assert (scores.num_animals, scores.num_frames) == (2, 4)
    assert (scores.metric, scores.split) == ("average_precision", "by animal")


def test_scores_survive_a_file_with_null_for_missing() -> None:
    targets, probability, animals = cohort(np.random.default_rng(4), 6)
    scores = score(
        np.hstack([targets, 0 * targets]), np.hstack([probability, probability]), animals, labels=("x", "never")
    )
    plain = json.loads(json.dumps(object_json(scores), allow_nan=False))
    assert plain["labels"]["never"] == {"value": None, "low": None, "high": None}
    again = from_json(Scores, plain, "facts")
    assert is_undefined(again.labels["never"])
    assert replace(again, labels={"x": again.labels["x"]}) == replace(scores, labels={"x": scores.labels["x"]})


def test_resampled_value_is_that_of_the_resampled_rows() -> None:
    """Weights against scikit-learn on rows that are really repeated, with ties and unscored rows."""
    rng = np.random.default_rng(0)
    targets, probability, animals = cohort(rng, 6)
    probability, targets[rng.random(len(targets)) < 0.2] = probability.round(1), np.nan
    codes = np.unique(animals, return_inverse=True)[1]
    draws = rng.multinomial(6, np.full(6, 1 / 6), size=70).astype(float)
    fast = metrics._resampled_ap(targets[:, 0], probability[:, 0], codes, draws)
    for draw, value in zip(draws, fast, strict=True):
        rows = np.concatenate([np.flatnonzero(codes == a) for a in range(6) for _ in range(int(draw[a]))])
        rows = rows[~np.isnan(targets[rows, 0])]
        assert value == pytest.approx(average_precision_score(targets[rows, 0], probability[rows, 0]))


def test_interval_over_animals_covers_the_expected_value_and_is_wider_than_over_frames() -> None:
    targets, probability, _ = cohort(np.random.default_rng(9), 3000)
    expected = average_precision_score(targets[:, 0], probability[:, 0])
    covered, widths, frame_widths = 0, [], []
    for seed in range(80):
        targets, probability, animals = cohort(np.random.default_rng(seed), 25)
        interval = score(targets, probability, animals).macro
        covered += interval.low <= expected <= interval.high
        widths.append(interval.high - interval.low)
        if seed < 10:
            frames = [str(i) for i in range(len(targets))]
            fewer = replace(BOOTSTRAP, num_resamples=100)
            naive = metrics.score(targets, probability, frames, fewer, split="", labels=("x",)).macro
            frame_widths.append(naive.high - naive.low)
    assert covered >= 71  # 95 % of 80 is 76, plain percentile intervals reach 70
    assert np.mean(widths) > 1.15 * np.mean(frame_widths)


def test_one_animal_has_a_value_and_no_interval() -> None:
    targets, probability, animals = cohort(np.random.default_rng(5), 1)
    macro = score(targets, probability, animals).macro
    assert macro.value == pytest.approx(average_precision_score(targets[:, 0], probability[:, 0]))
    assert math.isnan(macro.low)
    assert math.isnan(macro.high)


def test_change_is_paired() -> None:
    targets, probability, animals = cohort(np.random.default_rng(1), 12)
    worse = np.where(np.random.default_rng(2).random(targets.shape) < 0.1, 0.5, probability)
    same = metrics.change(targets, probability, probability, animals, BOOTSTRAP, labels=("x",))
    assert same.labels["x"].difference == ScoreInterval(0.0, 0.0, 0.0)
    result = metrics.change(targets, worse, probability, animals, BOOTSTRAP, labels=("x",)).macro
    single = score(targets, probability, animals).macro
    assert result.with_ == pytest.approx(single.value)
    assert result.difference.value == pytest.approx(result.with_ - result.without)
    assert result.percent.value == pytest.approx(100 * (result.with_ / result.without - 1))
    # the variants err alike on the same animals, so their difference is known far better than either
    assert result.difference.high - result.difference.low < 0.5 * (single.high - single.low)


def test_change_of_a_label_without_value_is_undefined() -> None:
    targets, probability = np.zeros((4, 1)), np.full((4, 1), 0.5)
    result = metrics.change(targets, probability, probability, list("abcd"), BOOTSTRAP, labels=("x",))
    assert is_undefined(result.macro.percent)
    assert is_undefined(result.labels["x"].difference)


def test_broken_input_is_refused() -> None:
    targets, probability = np.array([[1.0], [0.0]]), np.array([[0.5], [np.nan]])
    with pytest.raises(ContractError, match="not finite"):
        score(targets, probability, ["a", "b"])
    with pytest.raises(ContractError, match="not finite"):
        metrics.change(targets, np.zeros((2, 1)), probability, ["a", "b"], BOOTSTRAP, labels=("x",))
    with pytest.raises(ContractError, match=r"expected \(F, L\) twice"):
        score(targets, probability, ["a"])
