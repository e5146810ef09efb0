import json

import numpy as np
import pyarrow as pa
import pytest

from sheep.compare.groups import compare, proportions
from sheep.config import AdvancedCompareConfig, CompareConfig
from sheep.errors import ConfigError
from sheep.schemas import LABELS, PREDICTIONS

ALL = CompareConfig(advanced=AdvancedCompareConfig(num_permutations=999))


def _predictions(values, times=None):
    """One video of constant probability per animal: values (A, L), or rows of (video, animal, time_s, probability)."""
    rows = []
    for i, value in enumerate(values):
        rows += [(f"v{i}", f"a{i:02}", frame, t, value) for frame, t in enumerate(times or (0.0, 0.5))]
    columns = {"video": [r[0] for r in rows], "animal": [r[1] for r in rows], "frame": [r[2] for r in rows]}
    columns |= {"time_s": [r[3] for r in rows], "fold": [0] * len(rows)}
    probability = np.array([np.broadcast_to(r[4], len(LABELS)) for r in rows])
    columns |= {label: probability[:, i] for i, label in enumerate(LABELS)}
    return pa.table(columns).cast(PREDICTIONS)


def _cohort(groups):
    names = [f"a{i:02}" for i in range(len(groups))]
    return pa.table({"video": [f"v{i}" for i in range(len(groups))], "animal": names, "group": list(groups)})


def test_proportion_weighs_frames_by_time_and_videos_equally():
    rows = {
        "video": ["v", "v", "v", "w", "w"],
        "animal": ["a"] * 5,
        "frame": [0, 1, 2, 0, 1],
        "time_s": [0.0, 3.0, 4.0, 0.0, 1.0],
        "fold": [0] * 5,
    }
    table = pa.table(rows | {label: [1.0, 0.0, 0.0, 0.5, 0.5] for label in LABELS}).cast(PREDICTIONS)
    (row,) = proportions(table.take([4, 2, 0, 3, 1])).to_pylist()
    # v: 3 s of 1, 1 s of 0, last frame the median step of 2 s: 3/6; w: 1/2
    assert row["eating"] == pytest.approx(0.5)
    assert (row["num_videos"], row["duration_s"]) == (2, pytest.approx(8.0))
    (longer,) = proportions(_predictions([0.25], times=(0.0, 0.1, 7.0))).to_pylist()
    assert longer["lying"] == pytest.approx(0.25)


def test_permutation_p_by_hand():
    # 3 against 3, fully apart: of 20 divisions only the actual one and its mirror are as extreme
    first = compare(_predictions([0.1, 0.2, 0.3, 0.6, 0.7, 0.9]), _cohort("ccctttt"[:6]), ALL, seed=0)[0]
    assert first.p == pytest.approx(2 / 20)
    assert (first.reference, first.group, first.num_reference, first.num_group) == ("c", "t", 3, 3)
    assert first.difference == pytest.approx(2.2 / 3 - 0.2)
    assert not first.found
    assert "all 20 divisions" in first.test
    assert first.unit == "animal"
    json.dumps(first.to_json(), allow_nan=False)


def test_no_spread_at_all_is_no_difference():
    first = compare(_predictions([0.3] * 6), _cohort("cccttt"), ALL, seed=0)[0]
    assert (first.p, first.difference) == (1.0, 0.0)
    assert first.low == first.high == pytest.approx(0.0)


def test_random_permutations_add_the_actual_one():
    values = np.concatenate([np.linspace(0.1, 0.2, 8), np.linspace(0.8, 0.9, 8)])
    first = compare(_predictions(values), _cohort("c" * 8 + "t" * 8), ALL, seed=0)[0]  # 12870 divisions exist
    assert first.p == pytest.approx(1 / 1000)
    assert first.found


def test_welch_interval_by_hand():
    # means 0.2 and 0.5, both with variance 0.01: standard error sqrt(0.02 / 3), 4 degrees of freedom
    first = compare(_predictions([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), _cohort("cccttt"), ALL, seed=0)[0]
    half = 2.776445 * np.sqrt(0.02 / 3)
    assert (first.low, first.high) == pytest.approx((0.3 - half, 0.3 + half), rel=1e-5)


def _simulate(rng, effect):
    """20 animals; label proportions vary between animals, `standing` is lower in the treated ones."""
    values = rng.normal(0.4, 0.1, (20, len(LABELS)))
    values[10:, LABELS.index("standing")] -= effect
    return _predictions(values.clip(0, 1))


def test_planted_difference_is_found_and_none_is_not():
    cohort, config = _cohort("c" * 10 + "t" * 10), CompareConfig(advanced=AdvancedCompareConfig(num_permutations=499))
    found, false, covered, null_p, null_false = 0, 0, 0, [], 0
    for seed in range(25):
        results = {r.label: r for r in compare(_simulate(np.random.default_rng(seed), 0.2), cohort, config, seed=seed)}
        standing = results.pop("standing")
        found += standing.found
        covered += standing.low <= -0.2 <= standing.high
        false += sum(r.found for r in results.values())
        null = compare(_simulate(np.random.default_rng(1000 + seed), 0.0), cohort, config, seed=seed)
        null_p += [r.p for r in null]
        null_false += any(r.found for r in null)
    assert found >= 23  # d = 2, 10 against 10
    assert covered >= 22
    assert false <= 5  # 5 null labels, 25 seeds, false discovery rate 5 %
    assert null_false <= 4  # 5 % of 25 is 1.25
    assert 0.015 <= np.mean(np.array(null_p) <= 0.05) <= 0.095  # 150 tests


def test_frames_do_not_add_certainty():
    values = np.random.default_rng(0).uniform(0.2, 0.6, 8)
    few = compare(_predictions(values), _cohort("cccctttt"), ALL, seed=0)[0]
    many = compare(_predictions(values, times=tuple(np.arange(200) / 10)), _cohort("cccctttt"), ALL, seed=0)[0]
    assert many.p == few.p
    assert (many.low, many.high) == pytest.approx((few.low, few.high))


def test_three_groups_against_the_reference_adjusted_together():
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [rng.uniform(0.1, 0.2, (5, 6)), rng.uniform(0.1, 0.2, (5, 6)), rng.uniform(0.7, 0.8, (5, 6))]
    )
    config = CompareConfig(reference="sham", advanced=AdvancedCompareConfig(num_permutations=999))
    results = compare(_predictions(values), _cohort(["control"] * 5 + ["sham"] * 5 + ["treated"] * 5), config, seed=0)
    assert [(r.group, r.label) for r in results] == [(g, label) for g in ("control", "treated") for label in LABELS]
    assert all(r.reference == "sham" and r.p_adjusted >= r.p for r in results)
    assert [r.found for r in results] == [False] * 6 + [True] * 6
    # six p of 2/252 and six larger: Benjamini-Hochberg makes it 12/6 times that
    assert results[-1].p_adjusted == pytest.approx(2 / 252 * 2)


def test_refuses_what_cannot_be_compared():
    predictions = _predictions([0.1, 0.2, 0.3, 0.4])
    with pytest.raises(ConfigError, match="fewer than 2 animals in t \\(1\\)"):
        compare(predictions, _cohort("ccct"), ALL, seed=0)
    with pytest.raises(ConfigError, match="no group for 1 predicted animals \\(a03\\)"):
        compare(predictions, _cohort("cct"), ALL, seed=0)
    with pytest.raises(ConfigError, match="at least one more"):
        compare(predictions, _cohort("cccc"), ALL, seed=0)
    with pytest.raises(ConfigError, match="reference 'x'"):
        compare(predictions, _cohort("cctt"), CompareConfig(reference="x"), seed=0)
    twice = pa.concat_tables([_cohort("cctt"), _cohort("t")])
    with pytest.raises(ConfigError, match="'a00' is in 't' and in 'c'"):
        compare(predictions, twice, ALL, seed=0)
