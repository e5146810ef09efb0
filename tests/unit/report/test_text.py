"""The answer in words, and how values are written."""

import dataclasses
import math

import pytest

from sheep.compare.estimates import EstimateKind
from sheep.compare.results import Comparison
from sheep.report import ReportData
from sheep.report.text import answer, interval, p_value, percent, score, signed
from tests.unit.report.report_example import compare, example


@pytest.fixture(scope="module")
def data() -> ReportData:
    return example()


def test_one_finding_is_one_sentence_with_all_it_takes(data: ReportData) -> None:
    row = Comparison(
        label="standing",
        reference="treated",
        group="control",
        num_reference=7,
        num_group=8,
        num_scored_reference=5,
        num_scored_group=6,
        estimate="some_animals_scored",
        reason="5 of 7 animals of treated and 6 of 8 animals of control have scored frames, so each group is corrected",
        mean_reference=0.38,
        mean_group=0.512,
        difference=0.132,
        low=0.063,
        high=0.201,
        confidence=0.95,
        uncorrected_difference=0.101,
        uncorrected_low=0.05,
        uncorrected_high=0.15,
        slope=1.2,
        p=0.0004,
        p_adjusted=0.0024,
        num_tests=12,
        least_p=0.0001,
        least_p_adjusted=0.0006,
        found=True,
        test="permutation test",
        unit="animal",
    )
    words = answer(dataclasses.replace(data, comparisons=(row,)))
    assert words.headline == (
        "Animals of group control spent an estimated 13.2 percentage points more of their time standing than animals "
        "of group treated (51.2 % against 38.0 %; 95 % interval of the difference +6.3 to +20.1; uncorrected +10.1; "
        "adjusted p = 0.002; permutation test; unit of analysis: animal, n = 8 (6 scored) against 7 (5 scored))."
    )
    assert words.details == []
    assert words.reading == (
        "Shares of time are estimated, one value per animal. 5 of 7 animals of treated and 6 of 8 animals of control "
        "have scored frames, so each group is corrected. Adjusted p accounts for 12 tests."
    )


def test_several_findings_are_named_in_the_posters_order(data: ReportData) -> None:
    words = answer(dataclasses.replace(data, comparisons=data.comparisons[::-1]))
    assert words.headline == "The groups differ in 2 of 6 labels: lying, standing."
    assert ["more of their time lying" in words.details[0], "less of their time standing" in words.details[1]] == [
        True
    ] * 2


def test_nothing_found_is_not_called_equality(data: ReportData) -> None:
    words = answer(dataclasses.replace(data, comparisons=compare(data.proportions, ())))
    assert words.headline.startswith("No difference between the groups was found in any of 6 labels")
    assert "does not show that the groups behave the same" in words.reading


def test_groups_that_were_not_compared_or_not_tested(data: ReportData) -> None:
    assert answer(dataclasses.replace(data, comparisons=())).headline == "No groups were compared."
    untested = tuple(dataclasses.replace(row, p=math.nan, p_adjusted=math.nan, found=False) for row in data.comparisons)
    assert "could be tested" in answer(dataclasses.replace(data, comparisons=untested)).headline


def untested(data: ReportData, kind: EstimateKind, reason: str) -> ReportData:
    rows = [
        dataclasses.replace(
            row,
            estimate=kind,
            reason=reason,
            p=math.nan,
            p_adjusted=math.nan,
            least_p_adjusted=math.nan,
            found=False,
            num_tests=0,
        )
        for row in data.comparisons
    ]
    return dataclasses.replace(data, comparisons=tuple(rows))


@pytest.mark.parametrize("kind", ["too_few_scored", "predictions_only"])
def test_what_is_not_tested_is_never_called_found(data: ReportData, kind: EstimateKind) -> None:
    words = answer(untested(data, kind, "exploratory: no labels in group treated to check the classifier against"))
    assert words.headline == "No difference between the groups could be tested."
    assert len(words.details) == 6
    assert all(("Exploratory" in line) == (kind == "predictions_only") for line in words.details)
    everything = " ".join([words.headline, *words.details, words.reading])
    assert "found" not in everything
    assert "tests" not in everything
    assert "Exploratory: no labels in group treated" in words.reading


def test_labels_with_other_estimates_are_named_apart(data: ReportData) -> None:
    few = dataclasses.replace(data.comparisons[0], reason="too few scored animals", p_adjusted=math.nan, found=False)
    words = answer(dataclasses.replace(data, comparisons=(few, *data.comparisons[1:])))
    assert f"{few.label.replace('_', ' ').capitalize()}: too few scored animals." in words.reading
    assert words.headline.startswith("The groups differ in 2 of 5 labels")


def test_a_difference_that_could_never_be_found_is_told(data: ReportData) -> None:
    rows = [dataclasses.replace(row, least_p_adjusted=0.171, found=False) for row in data.comparisons]
    assert "could never be found in: head down, " in answer(dataclasses.replace(data, comparisons=tuple(rows))).reading
    assert (
        "cannot fall below 0.171; 0.05 is needed" in answer(dataclasses.replace(data, comparisons=tuple(rows))).reading
    )
    assert "never" not in answer(data).reading


def test_values_in_words() -> None:
    assert (score(0.7748), score(math.nan), score(None)) == ("0.775", "not scored", "not scored")
    assert (signed(5.21), signed(-0.3), signed(-0.04), signed(math.nan)) == ("+5.2", "-0.3", "0.0", "not scored")
    assert (percent(0.0), percent(None)) == ("0.0 %", "not scored")
    assert (interval(-0.2, 0.1, scale=100), interval(math.nan, 0.1)) == ("-20.0 to +10.0", "no interval")
    assert (p_value(0.0002), p_value(0.0125), p_value(None)) == ("< 0.001", "= 0.013", "not tested")
