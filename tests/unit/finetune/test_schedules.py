"""Learning rates, weight decay, momentum and temperature over the steps."""

from itertools import pairwise

import pytest
import torch

from sheep.config import FinetuneConfig
from sheep.finetune.networks import Network
from sheep.finetune.schedules import (
    apply,
    cosine,
    momentum,
    parameter_groups,
    rates,
    teacher_temperature,
    warm_cosine,
    weight_decay,
)
from sheep.models import dinov2 as backbones
from tests.unit.finetune.settings import changed


def test_cosine_ends_and_middle() -> None:
    assert cosine(0, 11, 2.0, 1.0) == 2.0
    assert cosine(5, 11, 2.0, 1.0) == pytest.approx(1.5)
    assert cosine(10, 11, 2.0, 1.0) == cosine(99, 11, 2.0, 1.0) == pytest.approx(1.0)


def test_learning_rates_rise_and_fall_and_the_backbone_starts_after_the_heads() -> None:
    config = FinetuneConfig(steps=100, head_steps=40, learning_rate=1.0, teacher_momentum=0.9)
    config = changed(config, head_learning_rate=2.0)
    backbone, heads = zip(*(rates(step, config) for step in range(100)), strict=True)
    assert set(backbone[:40]) == {0.0}
    assert max(backbone) == 1.0
    assert max(heads) == 2.0
    assert 0 < backbone[-1] < 0.01
    assert all(before > after for before, after in pairwise(heads[10:]))
    assert warm_cosine(0, 100, 1.0) == pytest.approx(0.1)
    assert momentum(0, config) == 0.9
    assert momentum(99, config) == 1.0


def test_every_parameter_is_in_one_group() -> None:
    config = changed(FinetuneConfig(), layer_decay=0.5, weight_decay=0.1)
    net = Network(backbones.random(0), 16, seed=0)
    groups = parameter_groups(net.backbone, net.heads, net.num_blocks, config)
    placed = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(placed) == sorted(id(parameter) for parameter in net.parameters() if parameter.requires_grad)
    scale = {name: group["scale"] for group in groups for name in group["names"]}
    decay = {name: group["weight_decay"] for group in groups for name in group["names"]}
    assert scale["backbone.layernorm.weight"] == scale["backbone.encoder.layer.3.mlp.fc1.weight"] == 1
    assert scale["backbone.encoder.layer.0.mlp.fc1.weight"] == 0.5**3
    assert scale["backbone.embeddings.cls_token"] == 0.5**4
    assert decay["backbone.encoder.layer.0.mlp.fc1.weight"] == 0.1
    assert decay["backbone.embeddings.cls_token"] == decay["backbone.encoder.layer.0.mlp.fc1.bias"] == 0


def test_decay_and_temperature_follow_their_schedules() -> None:
    config = changed(
        FinetuneConfig(steps=101, head_steps=0),
        weight_decay=0.04,
        weight_decay_end=0.4,
        teacher_temperature=0.07,
        teacher_temperature_start=0.04,
    )
    assert [weight_decay(step, config) for step in (0, 50, 100)] == pytest.approx([0.04, 0.22, 0.4])
    assert [teacher_temperature(step, config) for step in (0, 15, 30, 100)] == pytest.approx([0.04, 0.055, 0.07, 0.07])
    same = changed(FinetuneConfig(steps=101), teacher_temperature=0.07)
    assert {teacher_temperature(step, same) for step in range(101)} == {0.07}
    net = Network(backbones.random(0), 16, seed=0)
    groups = parameter_groups(net.backbone, net.heads, net.num_blocks, config)
    optimiser = torch.optim.AdamW(groups)
    apply(optimiser, 100, config)
    decays = {name: group["weight_decay"] for group in optimiser.param_groups for name in group["names"]}
    assert decays["backbone.encoder.layer.0.mlp.fc1.weight"] == pytest.approx(0.4)
    assert decays["backbone.encoder.layer.0.mlp.fc1.bias"] == decays["backbone.embeddings.cls_token"] == 0
