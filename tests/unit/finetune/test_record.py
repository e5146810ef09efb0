"""The record of a training survives JSON, and a file of another structure is refused."""

import dataclasses
import json
import math
from typing import Any

import pytest

from sheep.errors import ConfigError
from sheep.finetune import record
from sheep.finetune.record import Selection, Step, Training, Validation, ValidationRecord, measured


def step(number: int, **values: float) -> Step:
    plain: dict[str, Any] = {
        field.name: 0.5 for field in dataclasses.fields(Step) if field.default is dataclasses.MISSING
    }
    return Step(**{**plain, "step": number, **values})


SELECTION = Selection(
    has_labels=True,
    animals=("a", "b"),
    num_frames=7,
    weights_step=2,
    rolled_back=True,
    stopped_early=False,
    reason="x.",
)
HISTORY = (
    Validation(step=0, rank_me=9.5, teacher_entropy=1.0, target_std=0.1, score=0.4),
    Validation(step=2, rank_me=9.0, teacher_entropy=1.1, target_std=0.1, score=0.6),
)
TRAINING = Training(
    config={"steps": 3, "advanced": {"koleo_weight": 0.1}},
    identity={"seed": 0},
    steps=3,
    workers=2,
    seconds=1.5,
    first=step(1),
    last=step(3, loss_silhouette=0.25),
    curve=(step(1), step(3, loss_silhouette=0.25)),
    validation=ValidationRecord(selection=SELECTION, history=HISTORY),
)


@pytest.mark.parametrize("training", [TRAINING, dataclasses.replace(TRAINING, validation=None)])
def test_a_training_survives_json(training: Training) -> None:
    assert record.from_json(record.to_json(training), "x") == training


def test_measures_that_were_not_taken_are_omitted() -> None:
    assert "loss_silhouette" not in measured(step(1))
    assert measured(HISTORY[0])["score"] == 0.4
    assert "score" not in measured(dataclasses.replace(HISTORY[0], score=None))
    written = json.loads(record.to_json(TRAINING))
    assert "loss_silhouette" not in written["first"]
    assert written["last"]["loss_silhouette"] == 0.25
    assert written["validation"]["selection"]["weights_step"] == 2


def test_a_skipped_step_keeps_its_nan() -> None:
    skipped = dataclasses.replace(TRAINING, last=step(3, loss=math.nan))
    assert math.isnan(record.from_json(record.to_json(skipped), "x").last.loss)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda values: values.pop("identity"),
        lambda values: values.update(guard=None),
        lambda values: values["curve"][0].update(temperature=1.0),
        lambda values: values["validation"]["selection"].pop("reason"),
        lambda values: values["validation"].pop("history"),
    ],
)
def test_a_record_of_another_version_is_refused_with_advice(spoil: Any) -> None:
    values = json.loads(record.to_json(TRAINING))
    spoil(values)
    with pytest.raises(
        ConfigError, match=r"out/training\.json: cannot be read .* expected config, .* delete its stage's"
    ):
        record.from_json(json.dumps(values), "out/training.json")
    with pytest.raises(ConfigError, match="cannot be read"):
        record.from_json("{", "out/training.json")
