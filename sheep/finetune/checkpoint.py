"""The complete state of a training as a folder: safetensors for tensors, JSON for the rest; nothing is pickled."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sheep.errors import ConfigError, ContractError
from sheep.finetune.networks import Network
from sheep.finetune.record import Step, Validation, measured, validations_from

TENSORS = "state.safetensors"
STATE = "state.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingState:
    """The part of a checkpoint that is not tensors."""

    identity: Mapping[str, object]
    """What must be equal to resume: settings, architecture, seed, weights and images, as JSON values."""
    step: int
    """Steps taken."""
    bad_steps: int
    """Consecutive skipped steps at the end."""
    curve: tuple[Step, ...]
    """Every step so far."""
    history: tuple[Validation, ...]
    """Every validation so far."""


def write(
    folder: Path,
    student: Network,
    teacher: Network,
    optimiser: torch.optim.Optimizer,
    best: dict[str, Tensor],
    state: TrainingState,
) -> None:
    """Write a checkpoint.

    Args:
        folder: created if absent.
        student: backbone and heads.
        teacher: backbone and heads.
        optimiser: AdamW with named groups (schedules.parameter_groups).
        best: backbone of the selected teacher; empty without validation.
        state: everything else.

    Raises:
        ConfigError: the disk is full or refuses to write.
    """
    tensors = {f"student.{name}": value for name, value in student.state_dict().items()}
    tensors |= {f"teacher.{name}": value for name, value in teacher.state_dict().items()}
    for name, parameter in _named(optimiser):
        tensors |= {f"optimiser.{name}.{key}": value for key, value in optimiser.state[parameter].items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    values = dataclasses.asdict(state)
    for name in ("curve", "history"):
        values[name] = [measured(row) for row in getattr(state, name)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(plain, folder / TENSORS)
        # The JSON comes last: a folder without it is unfinished.
        (folder / STATE).write_text(json.dumps(values, indent=1, sort_keys=True))
    except (OSError, SafetensorError) as error:
        size = sum(value.nbytes for value in plain.values()) / 2**20
        raise ConfigError(
            f"checkpoint {folder}: cannot be written ({error}), expected {size:.0f} MiB of free space and "
            "write permission. Free some space, or point TMPDIR to a larger disk; the training resumes from "
            "its last checkpoint."
        ) from error


def read(
    folder: Path,
    student: Network,
    teacher: Network,
    optimiser: torch.optim.Optimizer,
    identity: Mapping[str, object],
) -> tuple[TrainingState, dict[str, Tensor]]:
    """Load a checkpoint into networks and optimiser of the same configuration.

    Args:
        folder: of the checkpoint.
        student: changed in place.
        teacher: changed in place.
        optimiser: its moments are replaced.
        identity: of the present training, compared with the checkpoint's.

    Returns:
        Its state without tensors, and the backbone of the selected teacher.

    Raises:
        ConfigError: the folder holds no checkpoint, or one of another configuration, backbone, seed or images.
        ContractError: tensors are missing, left over or of another shape.
    """
    state = read_state(folder)
    theirs = state.identity
    changed = sorted(key for key in theirs.keys() | identity.keys() if theirs.get(key) != identity.get(key))
    if changed:
        pairs = ", ".join(f"{key}: {theirs.get(key)!r} there, {identity.get(key)!r} now" for key in changed)
        raise ConfigError(
            f"resume from {folder}: the checkpoint is of another training ({pairs}). "
            "Start in a new folder, or resume with the old values."
        )
    try:
        tensors = load_file(folder / TENSORS)
        student.load_state_dict(_within(tensors, "student."), strict=True)
        teacher.load_state_dict(_within(tensors, "teacher."), strict=True)
    except (RuntimeError, OSError, SafetensorError) as error:
        raise ContractError(f"resume from {folder}: {error}. The checkpoint is damaged: use an earlier one.") from error
    moments = _within(tensors, "optimiser.")
    for name, parameter in _named(optimiser):
        own = _within(moments, f"{name}.")
        # A parameter without a gradient so far (the backbone during head_steps) has no moments yet.
        if own:
            place = parameter.device
            # AdamW keeps its step count on the CPU.
            optimiser.state[parameter] = {
                key: value if key == "step" else value.to(place) for key, value in own.items()
            }
    return state, _within(tensors, "best.")


def read_state(folder: Path) -> TrainingState:
    """Read the JSON part only.

    Raises:
        ConfigError: the folder holds no finished checkpoint, or one of another version of this package.
    """
    path = folder / STATE
    if not path.is_file():
        raise ConfigError(
            f"resume from {folder}: no {STATE} there, expected a finished checkpoint. Give the step's own folder."
        )
    try:
        values = json.loads(path.read_text())
        rows = {
            "curve": tuple(Step(**step) for step in values["curve"]),
            "history": validations_from(values["history"]),
        }
        return TrainingState(**{**values, **rows})
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"resume from {folder}: {STATE} cannot be read ({error}), expected a checkpoint of this version. "
            "Delete it, or use an earlier one."
        ) from error


def teacher_backbone(folder: Path) -> dict[str, Tensor]:
    """State of the teacher's backbone in a checkpoint, for a transformers model."""
    return _within(load_file(folder / TENSORS), "teacher.backbone.")


def digest(tensors: dict[str, Tensor]) -> str:
    """Digest names and contents of tensors; the first 16 hexadecimal digits of SHA-256."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(name.encode() + b"\0")
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()[:16]


def _within(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _named(optimiser: torch.optim.Optimizer) -> list[tuple[str, Tensor]]:
    return [pair for group in optimiser.param_groups for pair in zip(group["names"], group["params"], strict=True)]
