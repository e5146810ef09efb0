"""Which animals count as scored, and that new labels repeat the comparison."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from sheep.compare import stage
from sheep.compare.results import read_comparison
from sheep.config import StudyConfig
from sheep.schemas import labels_of
from tests import stages
from tests.unit.compare.test_groups import ALL, cohort_of, tables


def study(variant: str, *, has_labels: bool, finished: bool = True) -> Any:
    selection = {
        "has_labels": has_labels,
        "animals": ["a00", "a05"] if has_labels else [],
        "num_frames": 0,
        "weights_step": 9,
        "rolled_back": False,
        "stopped_early": False,
        "reason": "",
    }
    return SimpleNamespace(
        config=SimpleNamespace(predict=SimpleNamespace(variant=variant)),
        is_finished=lambda *names: finished and names == ("finetune", "guided"),
        manifest=lambda *_: SimpleNamespace(facts={"validation": selection}),
    )


@pytest.mark.parametrize(
    ("variant", "has_labels", "finished", "expected"),
    [
        ("guided-crop-window", True, True, ("a00", "a05")),
        ("guided-crop-window", False, True, ()),
        ("guided-crop-window", True, False, ()),
        ("frozen-crop-window", True, True, ()),
        ("pixels-crop-single", True, True, ()),
    ],
)
def test_animals_whose_labels_selected_the_predicting_backbone_count_as_unscored(
    variant: str, has_labels: bool, finished: bool, expected: tuple[str, ...]
) -> None:
    assert stage.selecting_animals(study(variant, has_labels=has_labels, finished=finished)) == expected


def test_new_labels_make_the_comparison_anew(tmp_path: Path) -> None:
    predicted, labels = tables([0.1, 0.2, 0.3, 0.6, 0.7, 0.9])
    predictions: Any = SimpleNamespace(content=lambda: "predictions", read=lambda _: predicted)

    def kinds(given: pa.Table) -> set[str]:
        made = stage.compare(predictions, given, cohort_of("cccttt"), ALL, str(tmp_path / "compare"), seed=0)
        return {row.estimate for row in read_comparison(made).comparisons}

    assert kinds(labels) == {"every_animal_scored"}
    none = pa.table(
        {
            name: pa.nulls(labels.num_rows, pa.int8()) if name in labels_of(labels) else labels.column(name)
            for name in labels.column_names
        }
    ).cast(labels.schema)
    assert kinds(none) == {"predictions_only"}
    assert kinds(labels) == {"every_animal_scored"}


@pytest.mark.usefixtures("still_tracker")
def test_the_stage_reads_labels_and_cohort_of_a_study(tiny_study: StudyConfig, tmp_path: Path) -> None:
    config = replace(
        tiny_study, out=str(tmp_path / "out"), predict=replace(tiny_study.predict, variant="pixels-crop-single")
    )
    stages.crop(config)
    stages.embed(config, [("pixels", "crop")])
    stages.search(config)
    stages.predict(config)
    result = read_comparison(stages.compare(config))
    scored = {row.animal for row in result.proportions if max(row.scored_s.values()) > 0}
    assert scored == {"sheep01", "sheep02", "sheep03", "sheep04"}
    assert {row.estimate for row in result.comparisons} == {"too_few_scored"}
    assert not any(row.found for row in result.comparisons)
    assert result.left_out == ()
