"""What the report says of backbones whose fine-tuning was discarded."""

from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from sheep.finetune.record import Selection
from sheep.report import collect
from tests.unit.report.report_example import example


def test_a_backbone_that_was_rolled_back_to_its_start_is_named() -> None:
    selection = Selection(
        has_labels=False,
        animals=(),
        num_frames=0,
        weights_step=0,
        rolled_back=True,
        stopped_early=False,
        reason="Rolled back to step 0 of 9: every later teacher had collapsed.",
    )
    stages: Any = {
        "unguided": SimpleNamespace(facts={"validation": asdict(replace(selection, weights_step=9))}),
        "guided": SimpleNamespace(facts={"validation": asdict(selection)}),
        "open": SimpleNamespace(facts={"validation": {}}),
    }
    assert collect._rolled_back(stages) == [
        "The guided backbone holds the starting weights, so its variants repeat the frozen ones. "
        "Rolled back to step 0 of 9: every later teacher had collapsed."
    ]


def test_predictions_alone_are_warned_of_and_only_where_they_are_compared() -> None:
    rows = example().comparisons
    assert collect._uncorrected(rows) == []
    alone = [replace(row, estimate="predictions_only") for row in rows]
    assert collect._uncorrected(alone) == [collect.UNCORRECTED]
    [line] = collect._uncorrected([*rows[1:], alone[0]])
    assert line == f"{collect.UNCORRECTED} This applies to: head down."


def test_groups_that_some_folds_lack_are_warned_of() -> None:
    cohort = pa.table({"animal": [f"a{number}" for number in range(8)], "group": ["c"] * 4 + ["t"] * 4})
    study: Any = SimpleNamespace(
        config=SimpleNamespace(search=SimpleNamespace(num_folds=4)),
        inputs=SimpleNamespace(cohort=cohort),
        roles=SimpleNamespace(scored=("a0", "a1", "a2", "a3", "a4", "a5")),
    )
    [line] = collect._thin_groups(study)
    assert line.startswith("Group t has 2 labelled animals for 4 folds")
