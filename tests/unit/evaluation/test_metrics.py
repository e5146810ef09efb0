import json
import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from sheep.errors import ContractError
from sheep.evaluation import metrics

SETTINGS = {"confidence": 0.95, "num_resamples": 200, "seed": 3}


def _cohort(rng, num_animals, frames=40, shift=1.0):
    """Frames whose score is the truth plus noise, and an offset per animal that makes frames of one animal alike."""
    truth = (rng.random((num_animals * frames, 1)) < 0.4).astype(float)
    offset = np.repeat(rng.normal(0, 0.7, num_animals), frames)[:, None]
    logit = shift * truth + offset + rng.normal(size=truth.shape)
    return truth, 1 / (1 + np.exp(-logit)), np.repeat([f"a{i}" for i in range(num_animals)], frames)


def test_average_precision_by_hand():
    # ranked: hit, miss, hit -> (1/1 + 2/3) / 2; the unscored row does not count
    truth, score = np.array([1, 0, 1, np.nan]), np.array([0.9, 0.8, 0.7, 1.0])
    assert metrics.average_precision(truth, score) == pytest.approx(5 / 6)
    # ties share one threshold: two called, one hit
    assert metrics.average_precision(np.array([1.0, 0.0]), np.array([0.5, 0.5])) == pytest.approx(0.5)


@pytest.mark.parametrize("truth", [[1.0, 1.0], [0.0, 0.0], [np.nan, np.nan]])
def test_one_class_has_no_average_precision(truth):
    assert math.isnan(metrics.average_precision(np.array(truth), np.array([0.1, 0.2])))


def test_label_without_both_classes_stays_out_of_the_macro():
    truth = np.array([[1, 0, 0], [0, 0, 1], [1, 0, np.nan], [0, 0, 0]])
    probability = np.array([[0.9, 0.1, 0.2], [0.8, 0.2, 0.9], [0.7, 0.3, 0.5], [0.1, 0.4, 0.1]])
    scores = metrics.score(truth, probability, list("abab"), labels=("x", "never", "y"), **SETTINGS)
    assert scores.labels["x"].value == pytest.approx(5 / 6)
    assert math.isnan(scores.labels["never"].value)
    assert scores.macro.value == pytest.approx((5 / 6 + 1) / 2)
    assert scores.base_rates == pytest.approx({"x": 0.5, "never": 0.0, "y": 1 / 3})
    assert (scores.num_animals, scores.num_frames, scores.metric) == (2, 4, "average_precision")
    plain = json.loads(json.dumps(scores.to_json(), allow_nan=False))
    assert plain["labels"]["never"] == {"value": None, "low": None, "high": None}


def test_resampled_value_is_that_of_the_resampled_rows():
    """Weights against sklearn on really repeated rows, with ties and unscored rows."""
    rng = np.random.default_rng(0)
    truth, probability, animals = _cohort(rng, 6)
    probability, truth[rng.random(len(truth)) < 0.2] = probability.round(1), np.nan
    codes = np.unique(animals, return_inverse=True)[1]
    draws = rng.multinomial(6, np.full(6, 1 / 6), size=70).astype(float)
    fast = metrics._resampled_ap(truth[:, 0], probability[:, 0], codes, draws)
    for draw, value in zip(draws, fast, strict=True):
        rows = np.concatenate([np.flatnonzero(codes == a) for a in range(6) for _ in range(int(draw[a]))])
        rows = rows[~np.isnan(truth[rows, 0])]
        assert value == pytest.approx(average_precision_score(truth[rows, 0], probability[rows, 0]))


def test_interval_over_animals_covers_the_truth_and_is_wider_than_over_frames():
    truth, probability, _ = _cohort(np.random.default_rng(9), 3000)
    expected = average_precision_score(truth[:, 0], probability[:, 0])
    covered, widths, frame_widths = 0, [], []
    for seed in range(80):
        truth, probability, animals = _cohort(np.random.default_rng(seed), 25)
        interval = metrics.score(truth, probability, animals, labels=("x",), **SETTINGS).macro
        covered += interval.low <= expected <= interval.high
        widths.append(interval.high - interval.low)
        if seed < 10:
            frames = [str(i) for i in range(len(truth))]
            naive = metrics.score(truth, probability, frames, labels=("x",), **SETTINGS | {"num_resamples": 100}).macro
            frame_widths.append(naive.high - naive.low)
    assert covered >= 71  # 95 % of 80 is 76, plain percentile intervals reach 70
    assert np.mean(widths) > 1.15 * np.mean(frame_widths)


def test_change_is_paired():
    truth, probability, animals = _cohort(np.random.default_rng(1), 12)
    worse = np.where(np.random.default_rng(2).random(truth.shape) < 0.1, 0.5, probability)
    same = metrics.change(truth, probability, probability, animals, labels=("x",), **SETTINGS)
    assert same["labels"]["x"]["difference"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    result = metrics.change(truth, worse, probability, animals, labels=("x",), **SETTINGS)["macro"]
    single = metrics.score(truth, probability, animals, labels=("x",), **SETTINGS).macro
    assert result["with"] == pytest.approx(single.value)
    assert result["difference"]["value"] == pytest.approx(result["with"] - result["without"])
    assert result["percent"]["value"] == pytest.approx(100 * (result["with"] / result["without"] - 1))
    # the variants err alike on the same animals, so their difference is known far better than either
    assert result["difference"]["high"] - result["difference"]["low"] < 0.5 * (single.high - single.low)


def test_change_of_a_label_without_value_is_null():
    truth, probability = np.zeros((4, 1)), np.full((4, 1), 0.5)
    result = metrics.change(truth, probability, probability, list("abcd"), labels=("x",), **SETTINGS)
    assert result["macro"]["percent"] == {"value": None, "low": None, "high": None}
    json.dumps(result, allow_nan=False)


def test_refuses_broken_input():
    truth, probability = np.array([[1.0], [0.0]]), np.array([[0.5], [np.nan]])
    with pytest.raises(ContractError, match="not finite"):
        metrics.score(truth, probability, ["a", "b"], labels=("x",), **SETTINGS)
    with pytest.raises(ContractError, match="expected \\(F, L\\) twice"):
        metrics.score(truth, probability, ["a"], labels=("x",), **SETTINGS)
