"""Shares of time and differences between groups by hand, error rates in simulations, and what the manifest holds."""

import dataclasses
import json
import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import ArrayLike, NDArray

from sheep.compare.groups import adjust, compare, least_adjusted
from sheep.compare.results import Comparison, GroupComparison, LeftOut, read_comparison
from sheep.compare.shares import AnimalShares
from sheep.config import AdvancedCompareConfig, CompareConfig
from sheep.errors import ConfigError, ContractError
from sheep.io.manifest import Manifest
from sheep.io.typed_json import object_json
from sheep.schemas import label_frames, predictions
from sheep.synthetic.behaviour import LABELS

ALL = CompareConfig(advanced=AdvancedCompareConfig(num_permutations=999))
FRAMES = 40
"""Of every video, half a second apart: shares are multiples of 1 / 40."""
Values = Sequence[ArrayLike] | NDArray[np.float64]


def tables(
    values: Values, *, num_frames: int = FRAMES, scored: Sequence[int] | None = None
) -> tuple[pa.Table, pa.Table]:
    """One video per animal, in which each label holds in the first frames, and is predicted without error.

    Args:
        values: share of time of each animal, or (A, L).
        num_frames: of every video.
        scored: animals with labels; None for all.
    """
    shares = np.array([np.broadcast_to(value, len(LABELS)) for value in values])
    holds = np.arange(num_frames)[None, :, None] < np.round(shares * num_frames)[:, None, :]
    animals = np.repeat(np.arange(len(shares)), num_frames)
    columns = {
        "video": [f"v{number}" for number in animals],
        "animal": [f"a{number:02}" for number in animals],
        "frame": np.tile(np.arange(num_frames), len(shares)),
        "time_s": np.tile(np.arange(num_frames) / 2, len(shares)),
    }
    flat = holds.reshape(-1, len(LABELS))
    unscored = ~np.isin(animals, range(len(shares)) if scored is None else scored)
    labels = {label: pa.array(flat[:, i].astype(int), mask=unscored) for i, label in enumerate(LABELS)}
    predicted = {"fold": np.zeros(len(flat), int)} | {label: flat[:, i].astype(float) for i, label in enumerate(LABELS)}
    return (
        pa.table(columns | predicted).cast(predictions(LABELS)),
        pa.table(columns | labels).cast(label_frames(LABELS)),
    )


def cohort_of(groups: Sequence[str]) -> pa.Table:
    names = [f"a{i:02}" for i in range(len(groups))]
    return pa.table({"video": [f"v{i}" for i in range(len(groups))], "animal": names, "group": list(groups)})


def compared(
    values: Values, groups: Sequence[str], config: CompareConfig = ALL, num_frames: int = FRAMES
) -> tuple[Comparison, ...]:
    return compare(*tables(values, num_frames=num_frames), cohort_of(groups), config, seed=0).comparisons


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
    assert math.isnan(first.low)  # an interval of width 0 would claim to be exact
    assert math.isnan(first.high)


def test_random_permutations_add_the_actual_one() -> None:
    values = np.concatenate([np.linspace(0.1, 0.275, 8), np.linspace(0.725, 0.9, 8)])
    first = compared(values, "c" * 8 + "t" * 8)[0]  # 12870 divisions exist
    assert first.p == pytest.approx(1 / 1000)
    assert first.found


def test_welch_interval_by_hand() -> None:
    # means 0.2 and 0.5, both with variance 0.01: standard error sqrt(0.02 / 3), 4 degrees of freedom
    first = compared([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], "cccttt")[0]
    half = 2.776445 * np.sqrt(0.02 / 3)
    assert (first.low, first.high) == pytest.approx((0.3 - half, 0.3 + half), rel=1e-5)


def simulate(seed: int, effect: float) -> tuple[pa.Table, pa.Table]:
    """20 animals; label proportions vary between animals, `standing` is lower in the treated ones."""
    values = np.random.default_rng(seed).normal(0.4, 0.1, (20, len(LABELS)))
    values[10:, LABELS.index("standing")] -= effect
    return tables(values.clip(0, 1))


def test_planted_difference_is_found_and_none_is_not() -> None:
    cohort, config = cohort_of("c" * 10 + "t" * 10), CompareConfig(advanced=AdvancedCompareConfig(num_permutations=499))
    found, false, covered, null_false = 0, 0, 0, 0
    null_p: list[float] = []
    for seed in range(25):
        planted = compare(*simulate(seed, 0.2), cohort, config, seed=seed)
        results = {r.label: r for r in planted.comparisons}
        standing = results.pop("standing")
        found += standing.found
        covered += standing.low <= -0.2 <= standing.high
        false += sum(r.found for r in results.values())
        null = compare(*simulate(1000 + seed, 0.0), cohort, config, seed=seed).comparisons
        null_p += [r.p for r in null]
        null_false += any(r.found for r in null)
    assert found >= 23  # d = 2, 10 against 10
    assert covered >= 22
    assert false <= 5  # 5 null labels, 25 seeds, false discovery rate 5 %
    assert null_false <= 4  # 5 % of 25 is 1.25
    assert 0.015 <= np.mean(np.array(null_p) <= 0.05) <= 0.095  # 150 tests


def test_frames_do_not_add_certainty() -> None:
    values = np.random.default_rng(0).uniform(0.2, 0.6, 8).round(1)
    few = compared(values, "cccctttt")[0]
    many = compared(values, "cccctttt", num_frames=5 * FRAMES)[0]
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
    both = tables([0.1, 0.2, 0.3, 0.4])
    with pytest.raises(ConfigError, match=r"observed animals per group: c \(3\), t \(1\)"):
        compare(*both, cohort_of("ccct"), ALL, seed=0)
    with pytest.raises(ConfigError, match="no group for 1 predicted animals \\(a03\\)"):
        compare(*both, cohort_of("cct"), ALL, seed=0)
    with pytest.raises(ConfigError, match="at least one more"):
        compare(*both, cohort_of("cccc"), ALL, seed=0)
    with pytest.raises(ConfigError, match="reference 'x'"):
        compare(*both, cohort_of("cctt"), CompareConfig(reference="x"), seed=0)
    twice = pa.concat_tables([cohort_of("cctt"), cohort_of("t")])
    with pytest.raises(ConfigError, match="'a00' is in 't' and in 'c'"):
        compare(*both, twice, ALL, seed=0)


def test_a_group_of_one_is_left_out_with_a_line_unless_it_is_the_reference() -> None:
    both, cohort = tables([0.1, 0.2, 0.3, 0.4, 0.5]), cohort_of(["a", "c", "c", "t", "t"])
    result = compare(*both, cohort, ALL, seed=0)
    assert {(row.reference, row.group) for row in result.comparisons} == {("c", "t")}
    reason = "1 observed animal, at least 2 are needed"
    assert result.left_out == (LeftOut(kind="group", name="a", reason=reason),)
    assert [row.animal for row in result.proportions] == [f"a0{number}" for number in range(5)]
    with pytest.raises(ConfigError, match=r"reference 'a' and observed animals per group: a \(1\)"):
        compare(*both, cohort, dataclasses.replace(ALL, reference="a"), seed=0)


def test_animals_without_observed_time_are_left_out_by_name() -> None:
    predicted, labels = tables([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    rows = [row for row in range(predicted.num_rows) if row <= 4 * FRAMES]  # a04 has one frame, a05 none
    result = compare(predicted.take(rows), labels, cohort_of("ccttcc"), ALL, seed=0)
    assert [(one.kind, one.name) for one in result.left_out] == [("animal", "a04"), ("animal", "a05")]
    assert [one.reason for one in result.left_out] == [
        "a single frame per video, which has no duration",
        "no predicted frame",
    ]
    assert result.comparisons[0].num_reference == 2


def test_a_classifier_that_errs_by_group_does_not_make_a_finding() -> None:
    rng = np.random.default_rng(0)
    shares = np.tile(rng.normal(0.4, 0.05, 8), 2)
    predicted, labels = tables(shares, scored=[*range(5), *range(8, 13)])
    treated = np.array([animal >= "a08" for animal in predicted.column("animal").to_pylist()])
    for label in LABELS:
        read = predicted.column(label).to_numpy() * 0.7 + 0.1 + 0.2 * treated  # too much in treated animals
        values = pa.array(read.astype(np.float32))
        predicted = predicted.set_column(
            predicted.schema.get_field_index(label), predicted.schema.field(label), [values]
        )
    first = compare(predicted, labels, cohort_of("c" * 8 + "t" * 8), ALL, seed=0)
    row = first.comparisons[0]
    assert row.estimate == "some_animals_scored"
    assert row.uncorrected_low > 0.1  # found, if one believed the predictions
    assert not row.found
    assert row.low < 0 < row.high
    by_group = {(one.group, one.label): one for one in first.errors}
    assert list(by_group)[:2] == [("c", LABELS[0]), ("c", LABELS[1])]
    control, changed = by_group["c", LABELS[0]], by_group["t", LABELS[0]]
    assert (control.num_animals, changed.num_animals) == (5, 5)
    assert changed.error - control.error > 0.15
    assert changed.p < 0.02
    assert math.isnan(control.p)


@pytest.mark.parametrize(("scored", "kind"), [([0, 1, 6, 7], "too_few_scored"), ([], "predictions_only")])
def test_nothing_is_found_where_labels_do_not_allow_a_test(scored: list[int], kind: str) -> None:
    values = np.concatenate([np.linspace(0.1, 0.2, 6), np.linspace(0.8, 0.9, 6)])
    rows = compare(*tables(values, scored=scored), cohort_of("c" * 6 + "t" * 6), ALL, seed=0).comparisons
    assert {row.estimate for row in rows} == {kind}
    assert not any(row.found for row in rows)
    assert all(math.isnan(row.p) and math.isnan(row.p_adjusted) and row.num_tests == 0 for row in rows)
    assert rows[0].difference == pytest.approx(0.7, abs=0.02)


def test_only_tests_that_were_made_count_in_the_adjustment() -> None:
    predicted, labels = tables([0.1, 0.15, 0.2, 0.25, 0.3, 0.75, 0.8, 0.85, 0.9, 0.95])
    for label in LABELS[1:]:
        none = pa.nulls(labels.num_rows, pa.int8())
        labels = labels.set_column(labels.schema.get_field_index(label), labels.schema.field(label), none)
    rows = compare(predicted, labels, cohort_of("c" * 5 + "t" * 5), ALL, seed=0).comparisons
    assert [row.num_tests for row in rows] == [1] * len(LABELS)
    assert rows[0].found
    assert rows[0].p_adjusted == rows[0].p == pytest.approx(2 / 252)
    three = compared([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], ["a", "a", "b", "b", "c", "c"])
    assert {row.num_tests for row in three} == {2 * len(LABELS)}


def test_a_difference_that_could_never_be_found_is_known() -> None:
    values = np.full((8, len(LABELS)), 0.5)
    values[:, 1:] = np.array([0.4, 0.5, 0.55, 0.6, 0.45, 0.5, 0.5, 0.6])[:, None]
    values[:, 0] = [0.1, 0.125, 0.1, 0.15, 0.85, 0.875, 0.9, 0.85]
    first = compared(values, "cccctttt")[0]
    assert first.p == first.least_p == pytest.approx(2 / 70)
    assert first.p_adjusted == first.least_p_adjusted == pytest.approx(6 * 2 / 70)  # .171
    assert not first.found
    assert compared(np.linspace(0.1, 0.8, 8), "ccccc" + "ttt")[0].least_p == pytest.approx(1 / 56)


def test_adjustment_leaves_out_what_was_not_tested() -> None:
    p = np.array([0.01, math.nan, 0.04, 0.03])
    assert adjust(p) == pytest.approx([0.03, math.nan, 0.04, 0.04], nan_ok=True)
    assert least_adjusted(p, np.full(4, 0.001)) == pytest.approx([0.003, math.nan, 0.003, 0.003], nan_ok=True)
    assert np.isnan(adjust(np.full(2, math.nan))).all()


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
    result = compare(*tables([0.1, 0.2, 0.3, 0.6, 0.7, 0.9], scored=[0, 1, 2, 3, 4]), cohort, ALL, seed=0)
    facts = object_json(result)
    again = read_comparison(manifest_of(facts))
    assert object_json(again) == facts  # results themselves differ: nan is not equal to nan
    assert again.comparisons[0].estimate == "too_few_scored"
    assert [(row.animal, row.group) for row in result.proportions] == [
        (row["animal"], row["group"]) for row in cohort.to_pylist()
    ]
    stored = json.loads(json.dumps(facts))
    assert sorted(stored) == ["comparisons", "errors", "labels", "left_out", "proportions"]
    assert set(stored["comparisons"][0]) == {field.name for field in dataclasses.fields(Comparison)}
    assert stored["proportions"][5]["shares"]["lying"] == pytest.approx(0.9)
    assert stored["proportions"][5]["scored"]["lying"] is None


def test_a_missing_share_is_null_in_the_manifest_and_nan_in_memory() -> None:
    shares = {**dict.fromkeys(LABELS, 0.5), "eating": math.nan}
    animal = AnimalShares(
        animal="a",
        group="c",
        num_videos=1,
        duration_s=4.0,
        shares=shares,
        scored_s=dict.fromkeys(LABELS, 0.0),
        shares_where_scored=dict.fromkeys(LABELS, math.nan),
        scored=dict.fromkeys(LABELS, math.nan),
    )
    result = GroupComparison(labels=LABELS, comparisons=(), errors=(), proportions=(animal,), left_out=())
    [row] = read_comparison(manifest_of(object_json(result))).proportions
    assert math.isnan(row.shares["eating"])
    assert {label: share for label, share in row.shares.items() if label != "eating"} == {
        label: 0.5 for label in LABELS if label != "eating"
    }


def test_a_manifest_of_another_version_is_refused() -> None:
    result = compare(*tables([0.1, 0.2, 0.3, 0.4]), cohort_of("cctt"), ALL, seed=0)
    facts = json.loads(json.dumps(object_json(result)))
    del facts["comparisons"][0]["p_adjusted"]
    with pytest.raises(ContractError, match=r"out/compare/_manifest.json: facts.comparisons\[0\]: .*p_adjusted"):
        read_comparison(manifest_of(facts))
    with pytest.raises(ContractError, match="another version"):
        read_comparison(manifest_of({}))
