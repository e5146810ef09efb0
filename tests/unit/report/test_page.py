"""The report: the answer in words, hand-computed cells, missing values, hostile names, and a page that needs nothing else."""

import base64
import dataclasses
import io
import json
import math
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from sheep.errors import ContractError
from sheep.report import Change, Ethogram, ReportData, build, text_tables
from sheep.report.pictures import _columns, lay_over, pick_heads
from sheep.report.text import answer, guard_words, interval, macro_table, p_value, percent, score, signed
from sheep.schemas import LABELS
from tests.unit.report.report_example import HOSTILE, compare, example


@pytest.fixture(scope="module")
def data() -> ReportData:
    return example()


@pytest.fixture(scope="module")
def built(data: ReportData) -> tuple[str, dict[str, Any]]:
    return build(data)


@pytest.fixture(scope="module")
def page(built: tuple[str, dict[str, Any]]) -> str:
    return built[0]


@pytest.fixture(scope="module")
def small(data: ReportData) -> ReportData:
    """The same without most of its figures, for tests that look elsewhere."""
    return dataclasses.replace(
        data, ethograms=[], attention=[], finetunes=[], sheets={}, variants=data.variants[:1], comparisons=[]
    )


def images(page: str) -> list[tuple[str, bytes]]:
    sources = re.findall(r'<img[^>]* src="([^"]*)"', page)
    assert all(re.match(r"data:image/(jpeg|svg\+xml);base64,", source) for source in sources)
    return [
        (source.split(";")[0][len("data:image/") :], base64.b64decode(source.split(",", 1)[1])) for source in sources
    ]


def row_of(page: str, section: str, first: str) -> list[str]:
    part = page[page.index(f'<section id="{section}">') :]
    match = re.search(rf"<tr[^>]*><td[^>]*>{first}</td>.*?</tr>", part)
    assert match
    return re.findall(r"<td[^>]*>(.*?)</td>", match.group())


def test_one_finding_is_one_sentence_with_all_it_takes(data: ReportData) -> None:
    row = {
        "label": "standing", "reference": "treated", "group": "control", "num_reference": 7, "num_group": 8,
        "mean_reference": 0.38, "mean_group": 0.512, "difference": 0.132, "low": 0.063, "high": 0.201,
        "p": 0.0004, "p_adjusted": 0.0024, "found": True, "test": "permutation test", "unit": "animal",
    }  # fmt: skip
    said = answer(dataclasses.replace(data, comparisons=[row]))
    assert said.headline == (
        "Animals of group control spent 13.2 percentage points more of their time standing than animals of group treated "
        "(51.2 % against 38.0 %; 95 % interval of the difference +6.3 to +20.1; adjusted p = 0.002; permutation test; "
        "unit of analysis: animal, n = 8 against 7)."
    )
    assert said.details == []


def test_several_findings_are_named_in_the_posters_order(data: ReportData) -> None:
    said = answer(dataclasses.replace(data, comparisons=list(reversed(data.comparisons))))
    assert said.headline == "The groups differ in 2 of 6 labels: lying, standing."
    assert ["more of their time lying" in said.details[0], "less of their time standing" in said.details[1]] == [
        True
    ] * 2


def test_nothing_found_is_not_called_equality(data: ReportData) -> None:
    said = answer(dataclasses.replace(data, comparisons=compare(list(map(dict, data.proportions)), ())))
    assert said.headline.startswith("No difference between the groups was found in any of 6 labels")
    assert "does not show that the groups behave the same" in said.reading


def test_groups_that_were_not_compared_or_not_tested(data: ReportData) -> None:
    assert answer(dataclasses.replace(data, comparisons=[])).headline == "No groups were compared."
    untested = [{**row, "p": math.nan, "p_adjusted": None, "found": False} for row in data.comparisons]
    assert "could be tested" in answer(dataclasses.replace(data, comparisons=untested)).headline


def test_the_guard_says_whose_weights_are_used(data: ReportData, page: str) -> None:
    said = [guard_words(run) for run in data.finetunes]
    assert said[1] == ""
    assert said[0] == (
        "guided: Rolled back to step 100 of 195, the best on the guard animals: 0.600 against 0.500 at the start. Mean average precision on 128 "
        "frames of ewe 01, ewe <9>, each told by a linear probe fitted on the others: 0.500 at the start, 0.600 in the weights that are used, "
        "0.600 at the end. RankMe, the number of directions the features use, went from 40.0 to 37.0."
    )
    assert "ewe &lt;9&gt;" in page
    unlabelled = {"name": "a", "guard": {**data.finetunes[0]["guard"], "labelled": False}}
    assert "average precision" not in guard_words(unlabelled)


def test_values_in_words() -> None:
    assert (score(0.7748), score(math.nan), score(None)) == ("0.775", "not scored", "not scored")
    assert (signed(5.21), signed(-0.3), signed(-0.04), signed(math.nan)) == ("+5.2", "-0.3", "0.0", "not scored")
    assert (percent(0.0), percent(None)) == ("0.0 %", "not scored")
    assert (interval(-0.2, 0.1, scale=100), interval(math.nan, 0.1)) == ("-20.0 to +10.0", "no interval")
    assert (p_value(0.0002), p_value(0.0125), p_value(None)) == ("< 0.001", "= 0.013", "not tested")


def change(percent_low: float, percent_high: float) -> Change:
    limits = {"value": 5.214, "low": percent_low, "high": percent_high}
    macro = {"without": 0.7748, "with": 0.8152, "percent": limits, "difference": {"value": 0.0404, "low": 0, "high": 1}}
    nothing = {"value": math.nan, "low": math.nan, "high": math.nan}
    lying = {"without": math.nan, "with": 0.5, "percent": nothing, "difference": nothing}
    return Change(
        title="SAM-2 guidance", without="frames", with_="crops", rows={"macro": macro, "lying": lying}, note=""
    )


@pytest.mark.parametrize(("low", "starred"), [(1.1, "+5.2 *"), (-1.1, "+5.2")])
def test_change_is_starred_only_when_its_interval_leaves_out_zero(small: ReportData, low: float, starred: str) -> None:
    page, _ = build(dataclasses.replace(small, changes=[change(low, 9.4)]))
    expected = ["mean (macro)", "0.775", "0.815", starred, f"{signed(low)} to +9.4", "+0.040"]
    assert row_of(page, "changes", r"mean \(macro\)") == expected
    assert row_of(page, "changes", "lying") == [
        "lying",
        "not scored",
        "0.500",
        "not scored",
        "no interval",
        "not scored",
    ]


def test_text_tables_are_aligned_and_keep_the_order(data: ReportData) -> None:
    lines = text_tables(dataclasses.replace(data, changes=[change(1.1, 9.4)])).splitlines()
    assert lines[:4] == [
        "SAM-2 guidance",
        "  without: frames",
        "  with:    crops",
        "  average precision; 4 folds by animal, nested choice",
    ]
    assert [line.split()[0] for line in lines[4:7]] == ["label", "lying", "macro"]
    assert len({len(line) for line in lines[4:7]}) == 1
    assert lines[6].split() == ["macro", "0.775", "0.815", "+5.2", "+1.1", "to", "+9.4"]


def test_best_of_each_column_is_marked_and_missing_is_said(page: str, data: ReportData) -> None:
    variants = page[page.index('<section id="variants">') : page.index('<section id="ethograms">')]
    best = re.findall(r"<td class=best>([\d.]+)</td>", variants)
    tops = [max(float(np.nan_to_num(a.scores["labels"][label]["value"])) for a in data.variants) for label in LABELS]
    tops.append(max(a.scores["macro"]["value"] for a in data.variants))
    assert sorted(best) == sorted(f"{top:.3f}" for top in tops)
    assert variants.count("not scored") == 1


def test_every_variant_has_its_row_in_order(page: str, built: tuple[str, dict[str, Any]]) -> None:
    baselines = [("untrained", "crop"), ("pixels", "crop"), ("geometry", "track")]
    sources = [(name, view) for name in ("frozen", "unguided", "guided") for view in ("frame", "crop", "masked")]
    assert [(variant["encoder"], variant["view"], variant["temporal"]) for variant in built[1]["variants"]] == [
        (encoder, view, temporal) for encoder, view in sources + baselines for temporal in (False, True)
    ]
    assert '<td>guided</td><td class="word">masked crop</td><td class="word">window</td>' in page


def test_one_table_holds_every_variant_and_baseline(page: str, data: ReportData) -> None:
    by = {
        (variant.encoder, variant.view, variant.temporal): f"{variant.scores['macro']['value']:.3f}"
        for variant in data.variants
    }
    head, *rows = macro_table(data.variants)
    assert head == [
        "encoder",
        *(f"{v}, {t}" for v in ("frame", "crop", "masked", "track") for t in ("single", "window")),
    ]
    assert [row[0] for row in rows] == [
        *("frozen", "unguided", "guided"),
        *("untrained (baseline)", "pixels (baseline)", "geometry (baseline)"),
    ]
    shown = [(view, temporal) for view in ("frame", "crop", "masked") for temporal in (False, True)]
    assert rows[2] == ["guided", *(by["guided", *key] for key in shown), "-", "-"]
    assert rows[5] == ["geometry (baseline)", *["-"] * 6, by["geometry", "track", False], by["geometry", "track", True]]
    assert "<tr>" + "".join(f"<td>{cell}</td>" for cell in rows[4]) + "</tr>" in page
    lines = text_tables(data).splitlines()
    start = lines.index("Every variant: average precision, mean of the labels")
    assert lines[start + 6].split() == ["pixels", "(baseline)", *rows[4][1:]]
    assert lines[start + 9 : start + 11] == ["Before you rely on this", f"  {data.warnings[0]}"]


def test_the_final_probe_is_not_called_a_fold(page: str) -> None:
    row = ["guided; crop; window", "final", "0.6", "0.1", "64"]
    assert "".join(f"<td>{cell}</td>" for cell in row) in page


def test_page_needs_nothing_else_and_is_light(page: str) -> None:
    assert not re.search(r"(src|href|action|url)\s*[=(]\s*[\"']?\s*(https?:)?//", page)
    assert "<script" not in page
    assert "<link" not in page
    assert "@import" not in page
    assert len(page.encode()) < 6_000_000


def test_every_image_decodes(page: str, data: ReportData) -> None:
    kinds = []
    for kind, content in images(page):
        kinds.append(kind)
        if kind == "jpeg":
            Image.open(io.BytesIO(content)).load()
        else:
            assert ElementTree.fromstring(content).tag.endswith("svg")
    assert kinds.count("jpeg") == len(data.sheets) + 1  # and the attention figure
    assert (
        kinds.count("svg+xml") == 2 + 1 + len(data.ethograms) + 2 + 2
    )  # groups, variants, ethograms, fine-tuning, guard


def test_names_from_files_are_text_never_markup(page: str) -> None:
    assert "<b>3</b>" not in page
    assert "<i>b" not in page
    assert page.count("pen&lt;b&gt;3&lt;/b&gt;/&#34;day&amp;1&#34; $x_1$.mp4") >= 3
    assert "pen9/&lt;script&gt;.mp4" in page


def test_group_names_may_look_like_formulas(data: ReportData, small: ReportData) -> None:
    comparisons = [{**row, "group": "$\\frac{1$"} for row in data.comparisons]
    proportions = [
        {**row, "group": "$\\frac{1$" if row["group"] == "treated" else "control"} for row in data.proportions
    ]
    page, _ = build(dataclasses.replace(small, comparisons=comparisons, proportions=proportions))
    assert "$\\frac{1$" in page


def test_same_data_gives_the_same_page(page: str) -> None:
    assert build(example())[0] == page


def test_numbers_are_json_with_null_for_missing(built: tuple[str, dict[str, Any]]) -> None:
    numbers = json.loads(json.dumps(built[1], allow_nan=False))
    first = numbers["variants"][0]
    assert (first["encoder"], first["view"], first["temporal"]) == ("frozen", "frame", False)
    assert first["scores"]["labels"]["lying"]["value"] is None
    assert numbers["proportions"][3]["eating"] is None
    assert numbers["answer"]["headline"].startswith("The groups differ in 2")
    assert numbers["ethograms"][0] == {"video": HOSTILE, "animal": "ewe 00", "num_frames": 320, "annotated": True}


def test_empty_study_still_makes_a_page(data: ReportData) -> None:
    names = {field.name for field in dataclasses.fields(data)} - {"title", "study", "sheets"}
    empty: dict[str, Any] = {name: [] for name in names}
    page, _ = build(dataclasses.replace(data, **empty, sheets={}))
    for said in (
        "No groups were compared.",
        "No video failed.",
        "No variant was scored.",
        "No attention map was drawn.",
    ):
        assert said in page


def test_what_is_left_out_is_said(data: ReportData, small: ReportData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sheep.report.page.MAX_SHEET_BYTES", 1)
    monkeypatch.setattr("sheep.report.page.MAX_ETHOGRAMS", 1)
    page, _ = build(dataclasses.replace(small, sheets=data.sheets, ethograms=data.ethograms))
    assert f"{len(data.sheets) - 1} more sheets are not shown here." in page
    assert "1 more are not shown here." in page


def ethogram(time_s: list[float], truth: list[float]) -> Ethogram:
    values = np.repeat(np.array(truth)[:, None], len(LABELS), axis=1)
    return Ethogram(video="v", animal="a", time_s=np.array(time_s), truth=values, probability=np.nan_to_num(values))


def test_ethogram_shows_unscored_frames_and_gaps_as_missing() -> None:
    grid, truth, probability = _columns(ethogram([0, 1, 2, 3, 20, 21], [0, 1, math.nan, 1, 1, 0]))
    assert truth is not None
    middle = (grid[:-1] + grid[1:]) / 2

    def at(values: np.ndarray, second: float) -> float:
        return float(values[0, np.argmin(abs(middle - second))])

    assert [at(truth, 0.5), at(truth, 1.5), at(truth, 3.5), at(truth, 20.5), at(truth, 21.5)] == [0, 1, 1, 1, 0]
    assert math.isnan(at(truth, 2.5))
    assert at(probability, 2.5) == 0
    assert math.isnan(at(truth, 12.0))
    assert math.isnan(at(probability, 12.0))


def test_ethogram_averages_long_videos() -> None:
    _, truth, _ = _columns(ethogram([i / 100 for i in range(20000)], [float(i % 2) for i in range(20000)]))
    assert truth is not None
    assert truth.shape == (6, 1000)
    assert abs(truth - 0.5).max() < 0.03  # 20 or 21 frames in a column


def test_ethogram_of_a_single_frame() -> None:
    _, truth, _ = _columns(ethogram([4.0], [1.0]))
    assert truth is not None
    assert (truth == 1).all()


def test_attention_heads_are_spread_and_lit_where_they_look() -> None:
    assert [pick_heads(n) for n in (0, 1, 2, 3, 6, 12)] == [[], [0], [0, 1], [0, 1, 2], [0, 2, 5], [0, 6, 11]]
    weights = np.zeros((4, 4), dtype=np.float32)
    weights[0, 3] = 7.0
    drawn = lay_over(np.full((32, 32, 3), 100, dtype=np.uint8), weights).astype(int).sum(axis=-1)
    assert drawn[2, 29] == drawn.max()
    assert drawn[2, 29] > drawn[29, 2] + 100
    assert (
        len(np.unique(lay_over(np.full((8, 8, 3), 100, dtype=np.uint8), np.zeros((2, 2), dtype=np.float32))[0, 0])) <= 3
    )


@pytest.mark.parametrize(
    ("field", "broken", "match"),
    [
        (
            "comparisons",
            lambda d: [{**d.comparisons[0], "difference": 0.9, "mean_group": 0.1, "mean_reference": 0.5}],
            "sign",
        ),
        ("comparisons", lambda d: [{"label": "lying"}], "lacks"),
        ("ethograms", lambda d: [dataclasses.replace(d.ethograms[0], probability=np.zeros((3, 6)))], "probability"),
        (
            "attention",
            lambda d: [dataclasses.replace(d.attention[0], maps={"other": np.zeros((1, 2, 2), np.float32)})],
            "other",
        ),
    ],
)
def test_broken_promises_are_refused(data: ReportData, field: str, broken: Any, match: str) -> None:
    with pytest.raises(ContractError, match=match):
        build(dataclasses.replace(data, **{field: broken(data)}))


def test_template_lies_beside_the_code() -> None:
    import sheep.report

    assert (Path(sheep.report.__file__).parent / "page.html.j2").is_file()
