"""Which variants are compared, that they are compared on the same frames, and what the report says they do not show."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from sheep.config import StudyConfig
from sheep.evaluation import metrics
from sheep.evaluation.metrics import ScoreChange, ScoreChanges, ScoreInterval
from sheep.report import Ablation
from sheep.report.ablations import FIXED_INPUT, PLANS, OutOfFold, ablations, cautions, unbeaten_baselines
from sheep.schemas import label_frames, predictions
from sheep.search.predictions import probabilities_of, tabulate
from sheep.search.stage import bootstrap
from sheep.synthetic.behaviour import LABELS
from sheep.variants import Variant, variant_named, variants_of
from tests.settings import changed

NAN = math.nan
SCORES = {
    "frozen-crop-single": 0.5,
    "guided-crop-single": 0.7,
    "untrained-crop-single": 0.4,
    "pixels-crop-single": 0.6,
    "geometry-track-single": NAN,
    "frozen-masked-single": 0.1,  # the baselines are not shown this
    "pixels-crop-window": 0.9,  # no backbone beside it
}
WITHOUT, WITH = Variant("frozen", "crop", False), Variant("guided", "crop", False)


def named(scores: Mapping[str, float]) -> dict[Variant, float]:
    return {variant: scores[variant.name] for variant in variants_of(True) if variant.name in scores}


def macro_change(without: float, with_: float, low: float, percent_low: float = NAN) -> ScoreChange:
    """A change whose intervals have these lower ends."""
    return ScoreChange(
        without=without,
        with_=with_,
        difference=ScoreInterval(with_ - without, low, low + 0.2),
        percent=ScoreInterval(100 * (with_ - without) / without, percent_low, percent_low + 20),
    )


class Compared(OutOfFold):
    """Predictions of variants with given macro scores, every difference with the same lower end."""

    def __init__(self, macro: Mapping[Variant, float], low: float) -> None:
        self.macro, self.low = macro, low
        self.pairs: list[tuple[Variant, Variant]] = []

    def compare(self, without: Variant, with_: Variant) -> ScoreChanges:
        self.pairs.append((without, with_))
        macro = macro_change(self.macro[without], self.macro[with_], self.low)
        return ScoreChanges(labels=dict.fromkeys(LABELS, macro), macro=macro)


def unbeaten(scores: Mapping[str, float], low: float, confidence: float = 0.95) -> list[str]:
    """The warnings, where variants have these scores and every difference this lower end."""
    return unbeaten_baselines(Compared(named(scores), low), named(scores), confidence)


def test_a_backbone_that_loses_to_the_best_baseline_is_named() -> None:
    first, second = unbeaten(SCORES, -0.05)
    assert first.startswith(
        "frozen, shown crops, single frame: a mean of 0.500 does not beat the best baseline, pixels (bare pixels), "
        "with 0.600 (difference -0.100, 95 % interval -0.050 to +0.150)."
    )
    assert "guided, shown crops, single frame: a mean of 0.700 is not shown to beat the best baseline, pixels" in second


def test_a_backbone_that_beats_it_is_not() -> None:
    assert unbeaten(SCORES, 0.01) == []
    assert unbeaten({"guided-crop-single": 0.5}, -0.1) == []  # without baselines there is nothing to compare with


def test_a_lower_end_of_zero_does_not_show_a_difference() -> None:
    assert len(unbeaten(SCORES, 0.0)) == 2


def test_without_an_interval_nothing_is_shown() -> None:
    lines = unbeaten(SCORES, NAN, confidence=0.9)
    assert len(lines) == 2
    assert all("90 % interval none)" in line for line in lines)


def test_a_backbone_or_baseline_without_a_score_is_not_compared() -> None:
    assert unbeaten({**SCORES, "frozen-crop-single": NAN, "guided-crop-single": NAN}, -0.05) == []
    assert unbeaten({"guided-crop-single": 0.5, "pixels-crop-single": NAN}, -0.05) == []


def test_backbones_with_a_window_are_compared_with_baselines_that_have_one() -> None:
    [line] = unbeaten({"guided-crop-window": 0.8, "pixels-crop-window": 0.7, "untrained-crop-single": 0.9}, -0.05)
    assert line.startswith(
        "guided, shown crops, window: a mean of 0.800 is not shown to beat the best baseline, pixels"
    )


def test_pairs_of_which_both_variants_were_searched_are_compared() -> None:
    macro = dict.fromkeys(variants_of(False), 0.5)
    every = Compared(macro, 0.0)
    made = ablations(every, list(macro))
    assert [one.title for one in made] == [plan.title for plan in PLANS]
    assert every.pairs == [(plan.without, plan.with_) for plan in PLANS]
    assert made[0].without == "fine-tuned on whole frames, shown whole frames, without temporal window"
    assert list(made[0].rows) == [*LABELS, "macro"]
    assert made[0].note == PLANS[0].note
    assert [one.title for one in ablations(every, [WITHOUT, WITH])] == [
        "Fine-tuning on crops against none, input held fixed"
    ]


def test_planned_variants_exist_and_most_differ_in_one_thing() -> None:
    for plan in PLANS:
        assert variant_named(plan.without.name) == plan.without
        assert variant_named(plan.with_.name) == plan.with_
        names = ("encoder_name", "view", "temporal")
        differing = [name for name in names if getattr(plan.without, name) != getattr(plan.with_, name)]
        assert len(differing) == (2 if plan is PLANS[0] else 1)  # the poster's first table changes two


@pytest.mark.parametrize(("percent_low", "is_shown"), [(-1.0, False), (0.0, False), (NAN, False), (0.1, True)])
def test_that_guidance_alone_is_not_shown_to_help_is_a_caution(percent_low: float, is_shown: bool) -> None:
    change = macro_change(0.5, 0.6, 0.0, percent_low)
    made = [
        Ablation(title=title, without="", with_="", rows={"macro": change}) for title in (PLANS[0].title, FIXED_INPUT)
    ]
    lines = cautions(made, is_transductive=False)
    assert len(lines) == (0 if is_shown else 1)
    assert all("changes two things at once" in line for line in lines)
    assert cautions(made[:1], is_transductive=False) == []  # only the pair with the input held fixed counts


def test_scoring_animals_that_fine_tuning_saw_is_a_caution() -> None:
    [line] = cautions([], is_transductive=True)
    assert "(transductive)" in line


class Search:
    """Stands in for the search's manifest: out-of-fold predictions by variant, and which were read."""

    def __init__(self, tables: Mapping[str, pa.Table]) -> None:
        self.tables = tables
        self.read_keys: list[str] = []

    def read(self, table: str, *, keys: list[str]) -> pa.Table:
        assert table == "oof"
        [key] = keys
        self.read_keys.append(key)
        return self.tables[key]


@dataclass(frozen=True)
class Predicted:
    """Six animals with 20 labelled frames each, predicted by two variants, the second better."""

    labels: pa.Table
    """In another order than the predictions, among frames that are not predicted."""
    targets: NDArray[np.float64]
    without: NDArray[np.float64]
    with_: NDArray[np.float64]
    animals: list[str]
    search: Search


def predicted() -> Predicted:
    rng = np.random.default_rng(0)
    animals = [f"a{row // 20}" for row in range(120)]
    keys = pa.table(
        {
            "video": [f"v{row // 20}" for row in range(120)],
            "animal": animals,
            "frame": pa.array([row % 20 for row in range(120)], predictions(LABELS).field("frame").type),
            "time_s": [row % 20 / 10 for row in range(120)],
        }
    )
    targets = (rng.random((120, len(LABELS))) < 0.4).astype(float)
    targets[::7, 1] = np.nan
    known = np.nan_to_num(targets)
    tables = [
        tabulate(keys, 1 / (1 + np.exp(-weight * known - rng.normal(size=known.shape))), LABELS) for weight in (0.5, 2)
    ]
    rows = [
        {
            **row,
            **{label: None if math.isnan(value) else int(value) for label, value in zip(LABELS, values, strict=True)},
        }
        for row, values in zip(keys.to_pylist(), targets, strict=True)
    ]
    stored = [*rows, *({**row, "video": "other"} for row in rows[:30])]
    return Predicted(
        labels=pa.Table.from_pylist([stored[place] for place in rng.permutation(150)], schema=label_frames(LABELS)),
        targets=targets,
        without=probabilities_of(tables[0]),
        with_=probabilities_of(tables[1]),
        animals=animals,
        search=Search(dict(zip((WITHOUT.name, WITH.name), tables, strict=True))),
    )


def test_variants_are_compared_on_the_labels_of_the_same_frames_and_read_once() -> None:
    study, given = predicted(), StudyConfig(name="a", seed=3)
    config = replace(given, search=changed(given.search, confidence=0.9, num_resamples=100))
    search: Any = study.search
    predictions = OutOfFold(search, study.labels, config)
    assert study.search.read_keys == []
    found = predictions.compare(WITHOUT, WITH)
    resampling = bootstrap(config.search, config.seed)
    assert (resampling.confidence, resampling.num_resamples) == (0.9, 100)
    # exactly equal: the same rows in the same order, and the same resampled animals
    given_rows = study.targets, study.without, study.with_, study.animals
    assert found == metrics.change(*given_rows, resampling, labels=LABELS)
    assert found.macro.difference.low > 0
    back = predictions.compare(WITH, WITHOUT)
    assert back.macro.difference.value == -found.macro.difference.value
    assert study.search.read_keys == [WITHOUT.name, WITH.name]
