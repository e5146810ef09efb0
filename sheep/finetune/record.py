"""The content of training.json: a training's steps, its validations and which weights were selected.

Every field is defined here alone: the trainer fills these classes, `to_json` writes them, and readers get the same
classes. Does not import torch, so that a driver and the report read a training without loading a network.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sheep.errors import ConfigError

TRAINING = "training.json"
"""File name, beside the weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """Measures of one optimiser step; means over the global batch, equal on every worker."""

    step: int
    """Steps taken, this one included; >= 1."""
    loss: float
    """Weighted sum of the terms [nats]; nan or inf in a step that was skipped, as any other measure may be."""
    loss_dino: float
    loss_ibot: float
    """0 where no patch is masked."""
    loss_koleo: float
    loss_silhouette: float | None = None
    """None where the term is off."""
    teacher_entropy: float
    """Mean entropy of the DINO targets [nats]; 0 to log(num_prototypes)."""
    target_std: float
    """Standard deviation of the targets over images, mean over prototypes; 0 where every image gets the same target."""
    feature_std: float
    """Spread of the teacher's unit class tokens: 1 where they cover all directions evenly, 0 where all are equal."""
    grad_norm: float
    """Norm of all gradients before clipping."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Validation:
    """Measures of one teacher on a fixed set of training images and, with validation animals, on their labels."""

    step: int
    """Steps taken before it; 0 is the starting backbone."""
    rank_me: float
    """Effective rank of the class tokens; 1 to min(N, D)."""
    teacher_entropy: float
    """As in `Step`."""
    target_std: float
    """As in `Step`."""
    score: float | None = None
    """Macro average precision on the validation animals, 0 to 1; None without them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selection:
    """Which teacher was saved and why."""

    has_labels: bool
    """Whether labels of validation animals selected it; without, only a collapse was detected."""
    animals: tuple[str, ...]
    """The validation animals, sorted."""
    num_frames: int
    """Their labelled frames."""
    weights_step: int
    """Step whose teacher was saved; 0 is the starting backbone, bit for bit."""
    rolled_back: bool
    """Whether a later teacher was discarded."""
    stopped_early: bool
    """Whether training ended before its last step."""
    reason: str
    """The same in a sentence or two, for logs and the report."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidationRecord:
    """The validations of one training and what they led to."""

    selection: Selection
    history: tuple[Validation, ...]
    """In the order of steps, the start first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """The content of training.json."""

    config: Mapping[str, object]
    """The FinetuneConfig as JSON values."""
    identity: Mapping[str, object]
    """The values that must be equal to resume from a checkpoint."""
    steps: int
    """Steps taken; fewer than configured after early stopping."""
    workers: int
    """Data-parallel workers at the end."""
    seconds: float
    """Wall time since the training began or was last resumed."""
    first: Step
    last: Step
    curve: tuple[Step, ...]
    """About 200 evenly spaced steps; the first and last are among them."""
    validation: ValidationRecord | None
    """None where validation was disabled."""


def measured(record: Step | Validation) -> dict[str, float]:
    """Turn a record into its measures by name, those that were not taken left out."""
    return {name: value for name, value in dataclasses.asdict(record).items() if value is not None}


def to_json(training: Training) -> str:
    """Serialise as JSON with sorted keys; nan and infinity stay as Python's json writes them."""
    values = dataclasses.asdict(training)
    for name in ("first", "last"):
        values[name] = measured(getattr(training, name))
    values["curve"] = [measured(step) for step in training.curve]
    if training.validation is not None:
        values["validation"]["history"] = [measured(row) for row in training.validation.history]
    return json.dumps(values, indent=1, sort_keys=True)


def from_json(text: str | bytes, name: str) -> Training:
    """Read what `to_json` wrote.

    Args:
        text: the file's content.
        name: of the file, for messages.

    Raises:
        ConfigError: it is not JSON, or holds other fields, e.g. those of another version of this package.
    """
    try:
        values = json.loads(text)
        shown = values["validation"]
        return Training(
            **{
                **values,
                "first": Step(**values["first"]),
                "last": Step(**values["last"]),
                "curve": tuple(Step(**step) for step in values["curve"]),
                "validation": None
                if shown is None
                else ValidationRecord(
                    selection=selection_from(shown["selection"]),
                    history=validations_from(shown["history"]),
                ),
            }
        )
    except (ValueError, TypeError, KeyError) as error:
        expected = ", ".join(field.name for field in dataclasses.fields(Training))
        raise ConfigError(
            f"{name}: cannot be read as the record of a training ({error}), expected {expected}. "
            "It is damaged or of another version: delete its stage's folder and run fine-tuning again."
        ) from error


def selection_from(values: Mapping[str, object]) -> Selection:
    """Read a selection as `dataclasses.asdict` and JSON leave it.

    Raises:
        TypeError: other fields.
    """
    animals = values["animals"]
    return Selection(**{**values, "animals": tuple(animals)})  # type: ignore[arg-type]  # fields are checked by name


def validations_from(values: Sequence[Mapping[str, float]]) -> tuple[Validation, ...]:
    """Read a history of validations.

    Raises:
        TypeError: other fields.
    """
    return tuple(Validation(**row) for row in values)  # type: ignore[arg-type]  # steps are whole numbers
