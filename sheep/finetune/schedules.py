"""Schedules over the steps: learning rates, weight decay, and the teacher's momentum and temperature."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from sheep.config import FinetuneConfig

_WARM_FRAC = 0.1
"""Share of the steps over which a rate warms up. Source: DINO and DINOv2, 10 of 100 epochs."""
_TEMPERATURE_WARM_FRAC = 0.3
"""Share of the steps over which the temperature warms up. Source: DINOv2's fast setting, 30 of 100 epochs."""
_UNDECAYED = ("cls_token", "mask_token", "position_embeddings", "register_tokens")


@dataclass(kw_only=True)
class _ParameterGroup:
    """One group of the optimiser; torch takes its fields as a dict."""

    weight_decay: float
    is_decayed: bool
    """False for vectors and tokens."""
    scale: float
    """Factor on the phase's learning rate, > 0."""
    is_head: bool
    lr: float = 0.0
    params: list[nn.Parameter] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


def cosine(step: int, num_steps: int, start: float, end: float) -> float:
    """Interpolate between two values on half a cosine.

    Args:
        step: from 0; before the first or beyond the last step, the nearer end holds.
        num_steps: number of steps; >= 1.
        start: value at step 0.
        end: value at step num_steps - 1.
    """
    progress = min(max(step / max(num_steps - 1, 1), 0.0), 1.0)
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def warm_cosine(step: int, num_steps: int, peak: float) -> float:
    """Rise linearly over the first tenth of the steps, then fall on a cosine towards 0.

    Args:
        step: from 0; 0 before the first.
        num_steps: number of steps; >= 1.
        peak: the largest value; > 0.
    """
    if step < 0:
        return 0.0
    warm = max(1, round(_WARM_FRAC * num_steps))
    if step < warm:
        return peak * (step + 1) / warm
    # The cosine ends one step beyond the last, so that the last step still has a rate above 0.
    return cosine(step - warm, num_steps - warm + 1, peak, 0.0)


def momentum(step: int, config: FinetuneConfig) -> float:
    """EMA momentum of the teacher: from the configured value on a cosine to 1.

    Args:
        step: from 0.
        config: `teacher_momentum` and length.

    Source: DINO, arXiv 2104.14294, section 3.1.
    """
    return cosine(step, config.steps, config.teacher_momentum, 1.0)


def teacher_temperature(step: int, config: FinetuneConfig) -> float:
    """Temperature of the teacher: linear from its start over the first 30 % of the steps, then constant.

    Args:
        step: from 0.
        config: temperatures and length.
    """
    start, end = config.advanced.teacher_temperature_start, config.advanced.teacher_temperature
    if start is None:
        return end
    return start + (end - start) * min(step / max(round(_TEMPERATURE_WARM_FRAC * config.steps), 1), 1.0)


def weight_decay(step: int, config: FinetuneConfig) -> float:
    """Weight decay of matrices: from its first value on a cosine to its last.

    Args:
        step: from 0.
        config: decay and length.
    """
    start, end = config.advanced.weight_decay, config.advanced.weight_decay_end
    return start if end is None else cosine(step, config.steps, start, end)


def apply(optimiser: torch.optim.Optimizer, step: int, config: FinetuneConfig) -> None:
    """Set the learning rate and weight decay of every parameter group.

    Args:
        optimiser: with the groups of `parameter_groups`.
        step: from 0.
        config: rates, decay and length.
    """
    backbone_rate, head_rate = rates(step, config)
    decay = weight_decay(step, config)
    for group in optimiser.param_groups:
        group["lr"] = (head_rate if group["is_head"] else backbone_rate) * group["scale"]
        group["weight_decay"] = decay if group["is_decayed"] else 0.0


def rates(step: int, config: FinetuneConfig) -> tuple[float, float]:
    """Learning rates of the last block and of the heads.

    Args:
        step: from 0.
        config: rates and length.

    Returns:
        The backbone's, which is 0 during `head_steps`, and the heads'.
    """
    backbone = warm_cosine(step - config.head_steps, config.steps - config.head_steps, config.learning_rate)
    return backbone, warm_cosine(step, config.steps, config.advanced.head_learning_rate)


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
        Groups with `params`, `names`, `weight_decay`, `is_decayed` (False for vectors and tokens), `lr`, `is_head`, and
        `scale`, the factor on the phase's rate: 1 for the last block and the norm after it, `layer_decay` times less
        for each block before, least for the embeddings.
    """
    groups: dict[tuple[bool, float, bool], _ParameterGroup] = {}

    def add(name: str, parameter: nn.Parameter, is_head: bool, scale: float) -> None:
        plain = parameter.ndim < 2 or name.split(".")[-1] in _UNDECAYED or name.endswith("weight_g")
        decay = 0.0 if plain else config.advanced.weight_decay
        empty = _ParameterGroup(weight_decay=decay, is_decayed=not plain, scale=scale, is_head=is_head)
        group = groups.setdefault((is_head, scale, not plain), empty)
        group.params.append(parameter)
        group.names.append(name)

    for name, parameter in backbone.named_parameters():
        add(f"backbone.{name}", parameter, False, config.advanced.layer_decay ** _blocks_after(name, num_blocks))
    for index, head in enumerate(heads):
        for name, parameter in head.named_parameters():
            # lightly freezes the norm of the last layer: the optimiser gets trainable parameters only.
            if parameter.requires_grad:
                add(f"head{index}.{name}", parameter, True, 1.0)
    return [dict(vars(group)) for group in groups.values()]


def _blocks_after(name: str, num_blocks: int) -> int:
    """Count the transformer blocks after a parameter of the backbone.

    Args:
        name: of the parameter, in transformers' naming.
        num_blocks: of the backbone.
    """
    if name.startswith("embeddings."):
        return num_blocks
    if name.startswith("encoder.layer."):
        return num_blocks - 1 - int(name.split(".")[2])
    return 0
