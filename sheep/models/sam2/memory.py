"""A tracker's memory banks <-> bytes: safetensors with a JSON header, no pickle.

SAM-2's memory bank (arXiv 2408.00714, section 4, "Memory bank") holds the outputs of recent and of prompted frames. Of
those, a later frame reads the spatial memory and the object pointer, so only these two are written.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import safetensors
import torch
from safetensors.torch import load, save

from sheep.errors import ContractError

FrameOutputs = dict[str, Any]
"""sam2's outputs of one frame, by its own names."""
Bank = dict[str, dict[int, FrameOutputs]]
"""sam2's `output_dict_per_obj` of one animal: kind of frame -> frame -> outputs."""
_FORM = 1
_KINDS = ("cond_frame_outputs", "non_cond_frame_outputs")
_PARTS = ("maskmem_features", "obj_ptr")


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """Identity of a saved state: its video position, prompts and network."""

    index: int
    """Index of the newest frame among the tracked ones; -1 before the first."""
    last_frame: int
    """Number of the newest frame in the video."""
    shape: tuple[int, ...]
    """(H, W, 3) of the frames."""
    prompts: str
    """Digest of the prompts up to that frame."""
    precision: str
    network: tuple[int | str, ...]
    """Sizes of the network, and a digest of weights that its memories depend on."""


def pack(banks: Mapping[str, Bank], facts: Facts) -> bytes:
    """Write the memory banks of some animals, after pruning.

    Args:
        banks: animal -> its memory bank.
        facts: the identity of the state.

    Returns:
        The same bytes for the same state.
    """
    tensors = {}
    for number, bank in enumerate(banks.values()):
        for kind, frame, part, value in _entries(bank):
            tensors[f"{number}/{kind}/{frame}/{part}"] = value.contiguous().cpu()
    header = {"form": _FORM, "animals": list(banks), "facts": asdict(facts)}
    # All metadata under a single key, since safetensors writes several keys in random order.
    return save(tensors, {"sheep": json.dumps(header, sort_keys=True)})


def unpack(data: bytes, device: torch.device) -> tuple[dict[str, Bank], Facts]:
    """Read what `pack` wrote.

    Args:
        data: as `pack` returned it.
        device: where the tensors are put.

    Returns:
        Banks by animal, tensors of the dtype they had; and the facts.

    Raises:
        ContractError: data is not a saved state, or is truncated.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["sheep"])
        tensors = load(data)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ContractError(
            f"tracking state of {len(data)} bytes: not readable ({error}), expected what Tracking.save returned. "
            "Track the video from its start."
        ) from error
    if header.get("form") != _FORM:
        raise ContractError(
            f"tracking state: form {header.get('form')}, expected {_FORM}. Track the video from its start."
        )
    banks: dict[str, Bank] = {animal: {kind: {} for kind in _KINDS} for animal in header["animals"]}
    # In order of frames, since sam2 reads prompted frames in the order of the dict.
    for name in sorted(tensors, key=lambda name: int(name.split("/")[2])):
        number, kind, frame, part = name.split("/")
        empty = {**dict.fromkeys(_PARTS), "pred_masks": None}
        entry = banks[header["animals"][int(number)]][kind].setdefault(int(frame), empty)
        entry[part] = tensors[name].to(device)
    facts = header["facts"]
    return banks, Facts(**{**facts, "shape": tuple(facts["shape"]), "network": tuple(facts["network"])})


def _entries(bank: Bank) -> list[tuple[str, int, str, torch.Tensor]]:
    return [
        (kind, frame, part, out[part])
        for kind in _KINDS
        for frame, out in bank[kind].items()
        for part in _PARTS
        if out[part] is not None
    ]
