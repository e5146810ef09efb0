"""The whole state of a training as a folder: safetensors for tensors, JSON for the rest; nothing is pickled."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sheep.errors import ConfigError, ContractError
from sheep.finetune.networks import Network

TENSORS = "state.safetensors"
FACTS = "state.json"


def write(
    folder: Path,
    student: Network,
    teacher: Network,
    optimiser: torch.optim.Optimizer,
    best: dict[str, Tensor],
    facts: dict[str, Any],
) -> None:
    """Write a checkpoint.

    Args:
        folder: made if absent.
        student: backbone and heads.
        teacher: backbone and heads.
        optimiser: AdamW with named groups (schedules.parameter_groups).
        best: backbone of the teacher that would be saved now; empty without guard.
        facts: plain JSON values: `identity` (what must be equal to resume), `step` and the curves so far.

    Raises:
        ConfigError: the disk refuses it.
    """
    tensors = {f"student.{name}": value for name, value in student.state_dict().items()}
    tensors |= {f"teacher.{name}": value for name, value in teacher.state_dict().items()}
    for name, parameter in _named(optimiser):
        tensors |= {f"optimiser.{name}.{key}": value for key, value in optimiser.state[parameter].items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(plain, folder / TENSORS)
        # The JSON comes last: a folder without it is unfinished.
        (folder / FACTS).write_text(json.dumps(facts, indent=1, sort_keys=True))
    except (OSError, SafetensorError) as error:
        size = sum(value.nbytes for value in plain.values()) / 2**20
        raise ConfigError(
            f"checkpoint {folder}: the disk refuses it ({error}), expected room for {size:.0f} MiB and leave to write. Free some, or point TMPDIR "
            "to a larger disk; the run goes on from its last checkpoint."
        ) from error


def read(
    folder: Path, student: Network, teacher: Network, optimiser: torch.optim.Optimizer, identity: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Load a checkpoint into networks and optimiser of the same configuration.

    Returns:
        The facts that were written, and the backbone of the best teacher.

    Raises:
        ConfigError: no checkpoint there, or one of another configuration, backbone, seed or images.
        ContractError: tensors are missing, left over or of another shape.
    """
    facts = read_facts(folder)
    theirs = facts["identity"]
    changed = sorted(key for key in theirs.keys() | identity.keys() if theirs.get(key) != identity.get(key))
    if changed:
        pairs = ", ".join(f"{key}: {theirs.get(key)!r} there, {identity.get(key)!r} now" for key in changed)
        raise ConfigError(
            f"resume from {folder}: it was written by another run ({pairs}). Start in a new folder, or resume with the old values."
        )
    try:
        tensors = load_file(folder / TENSORS)
        student.load_state_dict(_within(tensors, "student."), strict=True)
        teacher.load_state_dict(_within(tensors, "teacher."), strict=True)
    except (RuntimeError, OSError, SafetensorError) as error:
        raise ContractError(f"resume from {folder}: {error}. The checkpoint is damaged: use an earlier one.") from error
    moments = _within(tensors, "optimiser.")
    for name, parameter in _named(optimiser):
        found = _within(moments, f"{name}.")
        # Parameters that never had a gradient (the backbone while the heads come first) have no moments yet.
        if found:
            place = parameter.device
            optimiser.state[parameter] = {
                key: value if key == "step" else value.to(place) for key, value in found.items()
            }
    return facts, _within(tensors, "best.")


def read_facts(folder: Path) -> dict[str, Any]:
    """Read the JSON part only.

    Raises:
        ConfigError: no finished checkpoint there.
    """
    path = folder / FACTS
    if not path.is_file():
        raise ConfigError(
            f"resume from {folder}: no {FACTS} there, expected a finished checkpoint. Give the step's own folder."
        )
    facts: dict[str, Any] = json.loads(path.read_text())
    return facts


def teacher_backbone(folder: Path) -> dict[str, Tensor]:
    """State of the teacher's backbone in a checkpoint, for a transformers model."""
    return _within(load_file(folder / TENSORS), "teacher.backbone.")


def digest(tensors: dict[str, Tensor]) -> str:
    """Digest names and contents of tensors; the first 16 hexadecimal digits of SHA-256."""
    state = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        state.update(name.encode() + b"\0")
        state.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return state.hexdigest()[:16]


def _within(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _named(optimiser: torch.optim.Optimizer) -> list[tuple[str, Tensor]]:
    return [pair for group in optimiser.param_groups for pair in zip(group["names"], group["params"], strict=True)]
