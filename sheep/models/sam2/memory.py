"""A tracker's memory bank <-> bytes: safetensors with a JSON header, no pickle.

SAM-2 keeps, per animal, outputs by frame: of those, a later frame reads the encoded memory and the object pointer.
"""

import json
from collections.abc import Mapping
from typing import Any

import safetensors
import torch
from safetensors.torch import load, save

from sheep.errors import ContractError

Outputs = dict[str, dict[int, dict[str, Any]]]
"""sam2's `output_dict_per_obj` of one animal: kind of frame -> frame -> name -> tensor."""
_FORM = 1
_KINDS = ("cond_frame_outputs", "non_cond_frame_outputs")
_PARTS = ("maskmem_features", "obj_ptr")


def pack(banks: Mapping[str, Outputs], facts: Mapping[str, Any]) -> bytes:
    """Write the memories of some animals, after pruning.

    Args:
        banks: animal -> what sam2 holds of it.
        facts: anything that JSON can hold.

    Returns:
        The same bytes for the same state.
    """
    tensors = {}
    for number, bank in enumerate(banks.values()):
        for kind, frame, part, value in _entries(bank):
            tensors[f"{number}/{kind}/{frame}/{part}"] = value.contiguous().cpu()
    header = {"form": _FORM, "animals": list(banks), "facts": dict(facts)}
    return save(tensors, {"sheep": json.dumps(header, sort_keys=True)})  # one key: safetensors would shuffle several


def unpack(data: bytes, device: torch.device) -> tuple[dict[str, Outputs], dict[str, Any]]:
    """Read what `pack` wrote.

    Returns:
        banks and facts, tensors on the device, of the dtype they had.

    Raises:
        ContractError: data is something else, or cut short.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["sheep"])
        tensors = load(data)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ContractError(
            f"tracking state of {len(data)} bytes: not readable ({error}), expected what Tracking.save gave. Start "
            "the video anew."
        ) from error
    if header.get("form") != _FORM:
        raise ContractError(f"tracking state: form {header.get('form')}, expected {_FORM}. Start the video anew.")
    banks: dict[str, Outputs] = {animal: {kind: {} for kind in _KINDS} for animal in header["animals"]}
    for name in sorted(tensors, key=lambda name: int(name.split("/")[2])):  # sam2 reads prompted frames in their order
        number, kind, frame, part = name.split("/")
        empty = {**dict.fromkeys(_PARTS), "pred_masks": None}
        entry = banks[header["animals"][int(number)]][kind].setdefault(int(frame), empty)
        entry[part] = tensors[name].to(device)
    return banks, header["facts"]


def _entries(bank: Outputs) -> list[tuple[str, int, str, torch.Tensor]]:
    return [
        (kind, frame, part, out[part])
        for kind in _KINDS
        for frame, out in bank[kind].items()
        for part in _PARTS
        if out[part] is not None
    ]
