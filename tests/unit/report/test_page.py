"""The page and report.json: hand-computed cells, missing values, hostile names, and a page that needs nothing
else."""

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

from sheep.config import View, digest, to_json
from sheep.errors import ContractError
from sheep.evaluation.metrics import ScoreChange, ScoreInterval
from sheep.report import Ablation, ReportData, build, text_tables
from sheep.report.text import macro_table, selection_words, signed
from sheep.synthetic.behaviour import LABELS
from sheep.variants import Variant
from tests.unit.report.report_example import HOSTILE, UNDEFINED, example


@pytest.fixture(scope="module")
def data() -> ReportData:
    return example()


@pytest.fixture(scope="module")
def built(data: ReportData) -> tuple[str, dict[str, object]]:
    return build(data)


@pytest.fixture(scope="module")
def page(built: tuple[str, dict[str, object]]) -> str:
    return built[0]


@pytest.fixture(scope="module")
def small(data: ReportData) -> ReportData:
    """The same without most of its figures, for tests that look elsewhere."""
    return dataclasses.replace(
        data, ethograms=[], attention=[], finetunes=[], sheets={}, variants=data.variants[:1], comparisons=()
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


def test_model_selection_says_which_weights_are_used(data: ReportData, page: str) -> None:
    said = [selection_words(run) for run in data.finetunes]
    assert said[1] == ""
    assert said[0] == (
        "guided: Rolled back to step 100 of 195, the best on the validation animals: 0.600 against 0.500 at the start. "
        "Mean average precision on 128 frames of ewe 01, ewe <9>, each predicted by a linear probe fitted on the "
        "others: "
        "0.500 at the start, 0.600 in the weights that are used, 0.600 at the end. "
        "RankMe, the effective rank of the features, went from 40.0 to 37.0."
    )
    assert "ewe &lt;9&gt;" in page
    validation = data.finetunes[0].validation
    assert validation is not None
    unlabelled = dataclasses.replace(validation, selection=dataclasses.replace(validation.selection, has_labels=False))
    words = selection_words(dataclasses.replace(data.finetunes[0], validation=unlabelled))
    assert "average precision" not in words
    assert words.startswith("guided: Rolled back to step 100 of 195")


def ablation(percent_low: float, percent_high: float) -> Ablation:
    macro = ScoreChange(
        without=0.7748,
        with_=0.8152,
        difference=ScoreInterval(0.0404, 0, 1),
        percent=ScoreInterval(5.214, percent_low, percent_high),
    )
    lying = ScoreChange(without=math.nan, with_=0.5, difference=UNDEFINED, percent=UNDEFINED)
    return Ablation(title="SAM-2 guidance", without="frames", with_="crops", rows={"macro": macro, "lying": lying})


@pytest.mark.parametrize(("low", "starred"), [(1.1, "+5.2 *"), (-1.1, "+5.2")])
def test_ablation_is_starred_only_when_its_interval_leaves_out_zero(
    small: ReportData, low: float, starred: str
) -> None:
    page, _ = build(dataclasses.replace(small, ablations=[ablation(low, 9.4)]))
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
    lines = text_tables(dataclasses.replace(data, ablations=[ablation(1.1, 9.4)])).splitlines()
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
    scores = [one.scores for one in data.variants]
    tops = [max(float(np.nan_to_num(one.labels[label].value)) for one in scores) for label in LABELS]
    tops.append(max(one.macro.value for one in scores))
    assert sorted(best) == sorted(f"{top:.3f}" for top in tops)
    assert variants.count("not scored") == 1


def test_every_variant_has_its_row_in_order(page: str, built: tuple[str, dict[str, object]]) -> None:
    baselines = [("untrained", "crop"), ("pixels", "crop"), ("geometry", "track")]
    sources = [(name, view) for name in ("frozen", "unguided", "guided") for view in ("frame", "crop", "masked")]
    variants = built[1]["variants"]
    assert isinstance(variants, list)
    assert [(variant["encoder"], variant["view"], variant["temporal"]) for variant in variants] == [
        (encoder, view, temporal) for encoder, view in sources + baselines for temporal in (False, True)
    ]
    assert '<td>guided</td><td class="word">masked crop</td><td class="word">window</td>' in page


def test_one_table_holds_every_variant_and_baseline(page: str, data: ReportData) -> None:
    by = {one.variant: f"{one.scores.macro.value:.3f}" for one in data.variants}
    head, *rows = macro_table(data.variants)
    assert head == [
        "encoder",
        *(f"{v}, {t}" for v in ("frame", "crop", "masked", "track") for t in ("single", "window")),
    ]
    assert [row[0] for row in rows] == [
        *("frozen", "unguided", "guided"),
        *("untrained (baseline)", "pixels (baseline)", "geometry (baseline)"),
    ]
    views: tuple[View, ...] = ("frame", "crop", "masked")
    shown = [(view, temporal) for view in views for temporal in (False, True)]
    assert rows[2] == ["guided", *(by[Variant("guided", view, temporal)] for view, temporal in shown), "-", "-"]
    assert rows[5] == [
        "geometry (baseline)",
        *["-"] * 6,
        *(by[Variant("geometry", "track", temporal)] for temporal in (False, True)),
    ]
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
    )  # groups, variants, ethograms, fine-tuning, validation


def test_names_from_files_are_text_never_markup(page: str) -> None:
    assert "<b>3</b>" not in page
    assert "<i>b" not in page
    assert page.count("pen&lt;b&gt;3&lt;/b&gt;/&#34;day&amp;1&#34; $x_1$.mp4") >= 3
    assert "pen9/&lt;script&gt;.mp4" in page


def test_group_names_may_look_like_formulas(data: ReportData, small: ReportData) -> None:
    comparisons = tuple(dataclasses.replace(row, group="$\\frac{1$") for row in data.comparisons)
    proportions = tuple(
        dataclasses.replace(row, group="$\\frac{1$") if row.group == "treated" else row for row in data.proportions
    )
    page, _ = build(dataclasses.replace(small, comparisons=comparisons, proportions=proportions))
    assert "$\\frac{1$" in page


def test_same_data_gives_the_same_page(page: str) -> None:
    assert build(example())[0] == page


@pytest.fixture(scope="module")
def numbers(built: tuple[str, dict[str, object]]) -> dict[str, Any]:
    """report.json as its readers get it; nan and infinity would be refused."""
    values: dict[str, Any] = json.loads(json.dumps(built[1], allow_nan=False))
    return values


def test_numbers_are_json_with_null_for_missing(numbers: dict[str, Any]) -> None:
    first = numbers["variants"][0]
    assert (first["encoder"], first["view"], first["temporal"]) == ("frozen", "frame", False)
    assert first["scores"]["labels"]["lying"] == {"value": None, "low": None, "high": None}
    assert numbers["proportions"][3]["shares"]["eating"] is None
    assert numbers["proportions"][3]["scored"]["lying"] is None
    assert numbers["classifier_errors"][0] == {
        "label": LABELS[0],
        "group": "control",
        "num_animals": 6,
        "error": -0.072,
        "p": None,
    }
    assert numbers["left_out"] == [{"kind": "animal", "name": "ewe <16>", "reason": "no predicted frame"}]
    assert numbers["answer"]["headline"].startswith("The groups differ in 2")
    assert numbers["ethograms"][0] == {"video": HOSTILE, "animal": "ewe 00", "num_frames": 320, "annotated": True}


def test_numbers_keep_the_keys_that_readers_rely_on(numbers: dict[str, Any], data: ReportData) -> None:
    assert sorted(numbers) == [
        *("agreement", "answer", "attention", "changes", "classifier_errors", "comparisons", "errors", "ethograms"),
        *("facts", "finetunes", "left_out", "proportions", "sheets", "study", "title", "variants", "warnings"),
    ]
    assert numbers["study"] == {
        "name": "meadow",
        "seed": 7,
        "digest": digest(data.config),
        "config": to_json(data.config),
    }
    assert numbers["facts"][1] == ["animals", "16 (8 control, 8 treated)"]
    assert sorted(numbers["comparisons"][0]) == [
        *("confidence", "difference", "estimate", "found", "group", "high", "label", "least_p", "least_p_adjusted"),
        *("low", "mean_group", "mean_reference", "num_group", "num_reference", "num_scored_group"),
        *("num_scored_reference", "num_tests", "p", "p_adjusted", "reason", "reference", "slope", "test"),
        *("uncorrected_difference", "uncorrected_high", "uncorrected_low", "unit"),
    ]
    assert sorted(numbers["proportions"][0]) == [
        *("animal", "duration_s", "group", "num_videos", "scored", "scored_s", "shares", "shares_where_scored"),
    ]
    change = numbers["changes"][0]
    assert (sorted(change), list(change["rows"])) == (
        ["note", "rows", "title", "with", "without"],
        [*LABELS, "macro"],
    )
    assert sorted(change["rows"]["macro"]) == ["difference", "percent", "with", "without"]
    assert sorted(change["rows"]["macro"]["percent"]) == ["high", "low", "value"]
    assert sorted(numbers["variants"][0]) == ["chosen", "encoder", "scores", "temporal", "view"]
    assert sorted(numbers["variants"][0]["scores"]) == [
        *("base_rates", "labels", "macro", "metric", "num_animals", "num_frames", "split"),
    ]
    chosen = {"fold": -1, "half_width_s": 0.0, "inverse_l2": 0.1, "num_components": 64}
    assert numbers["variants"][0]["chosen"][-1] == chosen
    assert numbers["errors"][0]["video"] == "pen9/<script>.mp4"
    assert sorted(numbers["errors"][0]) == ["error", "stage", "video"]


def test_numbers_of_fine_tuning_hold_selection_and_history_side_by_side(numbers: dict[str, Any]) -> None:
    guided, unguided = numbers["finetunes"]
    assert (sorted(guided), sorted(unguided)) == (["curve", "name", "validation"], ["curve", "name"])
    assert guided["curve"][0]["loss"] is None
    assert guided["curve"][1]["loss"] > 0
    # no silhouette term was on, so the measure was not taken
    assert sorted(guided["curve"][0]) == [
        *("feature_std", "grad_norm", "loss", "loss_dino", "loss_ibot", "loss_koleo", "step", "target_std"),
        "teacher_entropy",
    ]
    validation = guided["validation"]
    history = validation.pop("history")
    assert validation.pop("reason").startswith("Rolled back to step 100 of 195")
    assert validation == {
        "has_labels": True,
        "animals": ["ewe 01", "ewe <9>"],
        "num_frames": 128,
        "weights_step": 100,
        "rolled_back": True,
        "stopped_early": False,
    }
    assert [row["step"] for row in history] == [0, 50, 100, 150]
    assert history[2] == {"step": 100, "rank_me": 38.0, "teacher_entropy": 3.4, "target_std": 0.01, "score": 0.6}


def test_empty_study_still_makes_a_page(data: ReportData) -> None:
    empty = dataclasses.replace(
        data,
        facts=[],
        variants=[],
        ablations=[],
        comparisons=(),
        proportions=(),
        classifier_errors=(),
        left_out=(),
        agreement=(),
        ethograms=[],
        sheets={},
        attention=[],
        finetunes=[],
        errors=[],
        warnings=[],
    )
    page, numbers = build(empty)
    lists = {name: value for name, value in numbers.items() if name not in ("title", "answer", "study")}
    assert all(value == [] for value in lists.values())
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


@pytest.mark.parametrize(
    ("field", "broken", "match"),
    [
        (
            "comparisons",
            lambda d: (dataclasses.replace(d.comparisons[0], difference=0.9, mean_group=0.1, mean_reference=0.5),),
            "sign",
        ),
        ("comparisons", lambda d: (dataclasses.replace(d.comparisons[0], label="flying"),), "a comparison of 'flying'"),
        ("ethograms", lambda d: [dataclasses.replace(d.ethograms[0], annotation=np.zeros((320, 5)))], "annotation"),
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


def test_agreement_of_observers_is_shown_where_there_is_a_second_one(
    data: ReportData, page: str, small: ReportData
) -> None:
    assert row_of(page, "agreement", "lying") == ["lying", "2", "400", "0.810", "0.700"]
    assert row_of(page, "agreement", "moving")[3:] == ["not scored", "not scored"]
    without, numbers = build(dataclasses.replace(small, agreement=()))
    assert "observers agree" not in without
    assert numbers["agreement"] == []
