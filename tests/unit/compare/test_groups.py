"""Shares of time and differences between groups by hand, error rates in simulations, and what the manifest holds."""

import dataclasses
import json
import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import ArrayLike, NDArray

from sheep.compare.groups import AnimalShares, Comparison, GroupComparison, compare, proportions, read_comparison
from sheep.config import AdvancedCompareConfig, CompareConfig
from sheep.errors import ConfigError, ContractError
from sheep.io.manifest import Manifest
from sheep.schemas import predictions
from sheep.synthetic.behaviour import LABELS

ALL = CompareConfig(advanced=AdvancedCompareConfig(num_permutations=999))


def predictions_of(values: Sequence[ArrayLike] | NDArray[np.float64], times: Sequence[float] = (0.0, 0.5)) -> pa.Table:
    """One video of constant probability per animal.

    Args:
        values: one per animal, or (A, L).
        times: of the frames of every video [s].
    """
    rows = [(number, frame, time_s) for number in range(len(values)) for frame, time_s in enumerate(times)]
    probability = np.array([np.broadcast_to(values[number], len(LABELS)) for number, _, _ in rows])
    columns = {
        "video": [f"v{number}" for number, _, _ in rows],
        "animal": [f"a{number:02}" for number, _, _ in rows],
        "frame": [frame for _, frame, _ in rows],
        "time_s": [time_s for _, _, time_s in rows],
        "fold": [0] * len(rows),
        **{label: probability[:, place] for place, label in enumerate(LABELS)},
    }
    return pa.table(columns).cast(predictions(LABELS))


def cohort_of(groups: Sequence[str]) -> pa.Table:
    names = [f"a{i:02}" for i in range(len(groups))]
    return pa.table({"video": [f"v{i}" for i in range(len(groups))], "animal": names, "group": list(groups)})


def compared(
    values: Sequence[ArrayLike] | NDArray[np.float64],
    groups: Sequence[str],
    config: CompareConfig = ALL,
    times: Sequence[float] = (0.0, 0.5),
) -> tuple[Comparison, ...]:
    return compare(predictions_of(values, times), cohort_of(groups), config, seed=0).comparisons


def test_proportion_weighs_frames_by_time_and_videos_equally() -> None:
    rows = {
        "video": ["v", "v", "v", "w", "w"],
        "animal": ["a"] * 5,
        "frame": [0, 1, 2, 0, 1],
        "time_s": [0.0, 3.0, 4.0, 0.0, 1.0],
        "fold": [0] * 5,
    }
    table = pa.table(rows | {label: [1.0, 0.0, 0.0, 0.5, 0.5] for label in LABELS}).cast(predictions(LABELS))
    (row,) = proportions(table.take([4, 2, 0, 3, 1]), {"a": "control"})
    # v: 3 s of 1, 1 s of 0, last frame the median step of 2 s: 3/6; w: 1/2
    assert list(row.shares) == list(LABELS)
    assert row.shares["eating"] == pytest.approx(0.5)
    assert (row.animal, row.group, row.num_videos) == ("a", "control", 2)
    assert row.duration_s == pytest.approx(8.0)
    (longer,) = proportions(predictions_of([0.25], times=(0.0, 0.1, 7.0)), {"a00": "control"})
    assert longer.shares["lying"] == pytest.approx(0.25)


def test_permutation_p_by_hand() -> None:
    # 3 against 3, fully apart: of 20 divisions only the actual one and its mirror are as extreme
    first = compared([0.1, 0.2, 0.3, 0.6, 0.7, 0.9], "cccttt")[0]
    assert first.p == pytest.approx(2 / 20)
    assert (first.reference, first.group, first.num_reference, first.num_group) == ("c", "t", 3, 3)
    assert first.difference == pytest.approx(2.2 / 3 - 0.2)
    assert not first.found
    assert "all 20 divisions" in first.test
    assert first.unit == "animal"


def test_no_spread_at_all_is_no_difference() -> None:
    first = compared([0.3] * 6, "cccttt")[0]
    assert (first.p, first.difference) == (1.0, 0.0)
    assert first.low == first.high == pytest.approx(0.0)


def test_random_permutations_add_the_actual_one() -> None:
    values = np.concatenate([np.linspace(0.1, 0.2, 8), np.linspace(0.8, 0.9, 8)])
    first = compared(values, "c" * 8 + "t" * 8)[0]  # 12870 divisions exist
    assert first.p == pytest.approx(1 / 1000)
    assert first.found


def test_welch_interval_by_hand() -> None:
    # means 0.2 and 0.5, both with variance 0.01: standard error sqrt(0.02 / 3), 4 degrees of freedom
    first = compared([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], "cccttt")[0]
    half = 2.776445 * np.sqrt(0.02 / 3)
    assert (first.low, first.high) == pytest.approx((0.3 - half, 0.3 + half), rel=1e-5)


def simulate(seed: int, effect: float) -> pa.Table:
    """20 animals; label proportions vary between animals, `standing` is lower in the treated ones."""
    values = np.random.default_rng(seed).normal(0.4, 0.1, (20, len(LABELS)))
    values[10:, LABELS.index("standing")] -= effect
    return predictions_of(values.clip(0, 1))


def test_planted_difference_is_found_and_none_is_not() -> None:
    cohort, config = cohort_of("c" * 10 + "t" * 10), CompareConfig(advanced=AdvancedCompareConfig(num_permutations=499))
    found, false, covered, null_false = 0, 0, 0, 0
    null_p: list[float] = []
    for seed in range(25):
        planted = compare(simulate(seed, 0.2), cohort, config, seed=seed)
        results = {r.label: r for r in planted.comparisons}
        standing = results.pop("standing")
        found += standing.found
        covered += standing.low <= -0.2 <= standing.high
        false += sum(r.found for r in results.values())
        null = compare(simulate(1000 + seed, 0.0), cohort, config, seed=seed).comparisons
        null_p += [r.p for r in null]
        null_false += any(r.found for r in null)
    assert found >= 23  # d = 2, 10 against 10
    assert covered >= 22
    assert false <= 5  # 5 null labels, 25 seeds, false discovery rate 5 %
    assert null_false <= 4  # 5 % of 25 is 1.25
    assert 0.015 <= np.mean(np.array(null_p) <= 0.05) <= 0.095  # 150 tests


def test_frames_do_not_add_certainty() -> None:
    values = np.random.default_rng(0).uniform(0.2, 0.6, 8)
    few = compared(values, "cccctttt")[0]
    many = compared(values, "cccctttt", times=[frame / 10 for frame in range(200)])[0]
    assert many.p == few.p
    assert (many.low, many.high) == pytest.approx((few.low, few.high))


def test_three_groups_against_the_reference_adjusted_together() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate(
        [rng.uniform(0.1, 0.2, (5, 6)), rng.uniform(0.1, 0.2, (5, 6)), rng.uniform(0.7, 0.8, (5, 6))]
    )
    config = CompareConfig(reference="sham", advanced=AdvancedCompareConfig(num_permutations=999))
    results = compared(values, ["control"] * 5 + ["sham"] * 5 + ["treated"] * 5, config)
    assert [(r.group, r.label) for r in results] == [(g, label) for g in ("control", "treated") for label in LABELS]
    assert all(r.reference == "sham" and r.p_adjusted >= r.p for r in results)
    assert [r.found for r in results] == [False] * 6 + [True] * 6
    # six p of 2/252 and six larger: Benjamini-Hochberg makes it 12/6 times that
    assert results[-1].p_adjusted == pytest.approx(2 / 252 * 2)


def test_refuses_what_cannot_be_compared() -> None:
    predictions = predictions_of([0.1, 0.2, 0.3, 0.4])
    with pytest.raises(ConfigError, match="fewer than 2 animals in t \\(1\\)"):
        compare(predictions, cohort_of("ccct"), ALL, seed=0)
    with pytest.raises(ConfigError, match="no group for 1 predicted animals \\(a03\\)"):
        compare(predictions, cohort_of("cct"), ALL, seed=0)
    with pytest.raises(ConfigError, match="at least one more"):
        compare(predictions, cohort_of("cccc"), ALL, seed=0)
    with pytest.raises(ConfigError, match="reference 'x'"):
        compare(predictions, cohort_of("cctt"), CompareConfig(reference="x"), seed=0)
    twice = pa.concat_tables([cohort_of("cctt"), cohort_of("t")])
    with pytest.raises(ConfigError, match="'a00' is in 't' and in 'c'"):
        compare(predictions, twice, ALL, seed=0)


def manifest_of(facts: object) -> Manifest:
    """A finished compare stage whose manifest went through JSON, which refuses nan."""
    return Manifest(
        uri="out/compare",
        stage="compare",
        config={},
        config_digest="",
        inputs={},
        entries=(),
        versions={},
        facts=json.loads(json.dumps(facts, allow_nan=False)),
    )


def test_comparison_is_read_back_from_the_manifest() -> None:
    cohort = cohort_of("cccttt")
    result = compare(predictions_of([0.1, 0.2, 0.3, 0.6, 0.7, 0.9]), cohort, ALL, seed=0)
    facts = result.to_json()
    assert read_comparison(manifest_of(facts)) == result
    assert [(row.animal, row.group) for row in result.proportions] == [
        (row["animal"], row["group"]) for row in cohort.to_pylist()
    ]
    stored = json.loads(json.dumps(facts))
    assert sorted(stored) == ["comparisons", "labels", "proportions"]
    assert set(stored["comparisons"][0]) == {field.name for field in dataclasses.fields(Comparison)}
    assert set(stored["proportions"][0]) == {"animal", "group", "num_videos", "duration_s", *LABELS}
    assert stored["proportions"][5]["lying"] == pytest.approx(0.9)


def test_a_missing_share_is_null_in_the_manifest_and_nan_in_memory() -> None:
    shares = {**dict.fromkeys(LABELS, 0.5), "eating": math.nan}
    animal = AnimalShares(animal="a", group="c", num_videos=1, duration_s=4.0, shares=shares)
    facts = GroupComparison(labels=LABELS, comparisons=(), proportions=(animal,)).to_json()
    [row] = read_comparison(manifest_of(facts)).proportions
    assert math.isnan(row.shares["eating"])
    assert {label: share for label, share in row.shares.items() if label != "eating"} == {
        label: 0.5 for label in LABELS if label != "eating"
    }


def test_a_manifest_of_another_version_is_refused() -> None:
    result = compare(predictions_of([0.1, 0.2, 0.3, 0.4]), cohort_of("cctt"), ALL, seed=0)
    facts = json.loads(json.dumps(result.to_json()))
    del facts["comparisons"][0]["p_adjusted"]
    with pytest.raises(ContractError, match=r"out/compare/_manifest.json: facts.comparisons\[0\]: .*p_adjusted"):
        read_comparison(manifest_of(facts))
    with pytest.raises(ContractError, match="another version"):
        read_comparison(manifest_of({}))
