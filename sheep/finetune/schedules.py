"""What changes over the steps: learning rates, per layer and phase, and the teacher's momentum."""

import math
from collections.abc import Iterable
from typing import Any

from torch import nn

from sheep.config import FinetuneConfig

_WARM_FRAC = 0.1
_UNDECAYED = ("cls_token", "mask_token", "position_embeddings", "register_tokens")


def cosine(step: int, num_steps: int, start: float, end: float) -> float:
    """Go from start (step 0) to end (the last step) on half a cosine; outside, the nearer end."""
    progress = min(max(step / max(num_steps - 1, 1), 0.0), 1.0)
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def warm_cosine(step: int, num_steps: int, peak: float) -> float:
    """Rise linearly over the first tenth of the steps, then fall on a cosine to 0; 0 before the first step."""
    if step < 0:
        return 0.0
    warm = max(1, round(_WARM_FRAC * num_steps))
    if step < warm:
        return peak * (step + 1) / warm
    # One beyond the last, so that the last step still moves.
    return cosine(step - warm, num_steps - warm + 1, peak, 0.0)


def momentum(step: int, config: FinetuneConfig) -> float:
    """EMA momentum of the teacher: from the configured value to 1 at the last step."""
    return cosine(step, config.steps, config.teacher_momentum, 1.0)


def rates(step: int, config: FinetuneConfig) -> tuple[float, float]:
    """Return the learning rates (of the last block, of the heads) at a step."""
    backbone = warm_cosine(step - config.head_steps, config.steps - config.head_steps, config.learning_rate)
    return backbone, warm_cosine(step, config.steps, config.head_learning_rate)


def parameter_groups(
    backbone: nn.Module, heads: Iterable[nn.Module], num_blocks: int, config: FinetuneConfig
) -> list[dict[str, Any]]:
    """Sort every trainable parameter into exactly one optimiser group.

    Args:
        backbone: a transformers DINOv2 model.
        heads: the new heads.
        num_blocks: transformer blocks of the backbone.
        config: layer and weight decay.

    Returns:
        Groups with `params`, `names`, `weight_decay` (0 for vectors and tokens), `lr`, and `scale`: the factor on the phase's
        rate. The last block and the norm after it have 1, each block before it `layer_decay` times less, embeddings the least.
        `is_head` tells the phases apart.
    """
    groups: dict[tuple[bool, float, float], dict[str, Any]] = {}

    def place(name: str, parameter: nn.Parameter, is_head: bool, scale: float) -> None:
        plain = parameter.ndim < 2 or name.split(".")[-1] in _UNDECAYED or name.endswith("weight_g")
        decay = 0.0 if plain else config.weight_decay
        empty: dict[str, Any] = {
            "params": [],
            "names": [],
            "weight_decay": decay,
            "scale": scale,
            "is_head": is_head,
            "lr": 0.0,
        }
        group = groups.setdefault((is_head, scale, decay), empty)
        group["params"].append(parameter)
        group["names"].append(name)

    for name, parameter in backbone.named_parameters():
        place(f"backbone.{name}", parameter, False, config.layer_decay ** _blocks_after(name, num_blocks))
    for index, head in enumerate(heads):
        for name, parameter in head.named_parameters():
            # lightly fixes the norm of the last layer; what does not train has no place in the optimiser.
            if parameter.requires_grad:
                place(f"head{index}.{name}", parameter, True, 1.0)
    return list(groups.values())


def _blocks_after(name: str, num_blocks: int) -> int:
    if name.startswith("embeddings."):
        return num_blocks
    if name.startswith("encoder.layer."):
        return num_blocks - 1 - int(name.split(".")[2])
    return 0
