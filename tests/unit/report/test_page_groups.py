"""The group comparison on the page: corrected beside uncorrected, the classifier's errors, and what was left out."""

import dataclasses
import math
import re

import pytest

from sheep.report import ReportData, build
from tests.unit.report.report_example import example
from tests.unit.report.test_page import row_of


@pytest.fixture(scope="module")
def bare() -> ReportData:
    """The study without most of its figures."""
    data = example()
    return dataclasses.replace(data, ethograms=[], attention=[], finetunes=[], sheets={}, variants=data.variants[:1])


def test_corrected_and_uncorrected_differences_stand_side_by_side_with_the_classifiers_errors(bare: ReportData) -> None:
    page, _ = build(bare)
    cells = row_of(page, "groups", "standing")
    assert [cells[2].split(" (")[1], cells[4].split(" (")[1]] == ["8, 6 scored)", "8, 6 scored)"]
    corrected, uncorrected = float(cells[5]), float(cells[7])
    assert uncorrected == pytest.approx(1.2 * corrected, abs=0.2)
    assert cells[-1] == "yes"
    part = page[page.index("How the classifier errs in each group") :]
    errors = re.findall(r"<td[^>]*>(.*?)</td>", part[: part.index("</table>")])
    assert errors[:10] == [
        "head down",
        "control",
        "6",
        "-7.2",
        "not tested",
        "head down",
        "treated",
        "6",
        "+9.0",
        "0.004",
    ]
    assert "Left out of the comparison: animal ewe &lt;16&gt; (no predicted frame)." in page


def test_what_was_not_tested_is_not_called_found_or_not(bare: ReportData) -> None:
    rows = tuple(
        dataclasses.replace(
            row, estimate="predictions_only", p=math.nan, p_adjusted=math.nan, found=False, least_p_adjusted=math.nan
        )
        for row in bare.comparisons
    )
    page, _ = build(dataclasses.replace(bare, comparisons=rows))
    assert row_of(page, "groups", "standing")[-1] == "not tested"
