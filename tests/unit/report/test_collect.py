"""What the report says of backbones whose fine-tuning was discarded."""

from dataclasses import asdict, replace
from types import SimpleNamespace
from typing import Any

from sheep.finetune.record import Selection
from sheep.report import collect


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
