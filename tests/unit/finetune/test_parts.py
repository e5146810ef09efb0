import io
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

from sheep.config import FinetuneConfig
from sheep.errors import ConfigError, ContractError
from sheep.finetune.augment import NUM_NOISE, draw_noise, make_views
from sheep.finetune.dataset import Arrays, Images, Sampler
from sheep.finetune.networks import Network, draw_branch_scale, make_pair, update_teacher
from sheep.finetune.patch_masks import count_hidden, draw_masks
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


def test_rates_rise_and_fall_and_the_backbone_s_waits_for_the_heads() -> None:
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


def test_a_branch_is_dropped_for_its_image_only() -> None:
    net = Network(backbones.random(0), 16, seed=0)
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    plain = net.tokens(pixels).cls
    scale = torch.ones(2, net.num_branches)
    torch.testing.assert_close(net.tokens(pixels, branch_scale=scale).cls, plain)
    scale[1] = 0  # only embeddings and the last norm are left
    left = net.tokens(pixels, branch_scale=scale)
    torch.testing.assert_close(left.cls[0], plain[0])
    embedded = net.backbone.layernorm(net.backbone.embeddings(pixels[1:]))
    torch.testing.assert_close(left.cls[1], embedded[0, 0])
    torch.testing.assert_close(net.tokens(pixels).cls, plain)  # the next call drops nothing
    one = torch.ones(2, net.num_branches)
    one[:, 3] = 0  # the second block's MLP
    layer = net.backbone.encoder.layer[1]
    before = layer.layer_scale2.lambda1.data.clone()
    layer.layer_scale2.lambda1.data.zero_()
    torch.testing.assert_close(net.tokens(pixels).cls, (without := net.tokens(pixels, branch_scale=one).cls))
    layer.layer_scale2.lambda1.data.copy_(before)
    torch.testing.assert_close(net.tokens(pixels, branch_scale=one).cls, without)


def test_branches_are_dropped_at_their_rate_and_means_stay() -> None:
    scale = draw_branch_scale(0, 200, 4, 24, 0.3)
    assert scale.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert (scale == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert torch.equal(scale, draw_branch_scale(0, 200, 4, 24, 0.3))
    assert (draw_branch_scale(0, 3, 2, 4, 0.0) == 1).all()


@pytest.mark.parametrize("num_registers", [0, 3])
def test_selected_tokens_are_those_of_the_whole(num_registers: int, tmp_path: Path) -> None:
    """Values and gradients, with hidden patches, dropped branches and registers."""
    fields = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "patch_size": 8, "image_size": 64}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if num_registers:
            config = Dinov2WithRegistersConfig(**fields, num_register_tokens=num_registers, initializer_range=0.1)
            Dinov2WithRegistersModel(config).save_pretrained(tmp_path)
        else:
            Dinov2Model(Dinov2Config(**fields, initializer_range=0.1)).save_pretrained(tmp_path)
    net, _ = make_pair(str(tmp_path), 16, 0, "cpu")
    generator = torch.Generator().manual_seed(1)
    pixels = torch.rand(4, 3, 32, 32, generator=generator)
    hidden = torch.rand(4, 16, generator=generator) < 0.3
    hidden[2] = False
    scale = draw_branch_scale(2, 4, 1, net.num_branches, 0.4)[:, 0]
    whole = net.tokens(pixels, hidden, scale)
    wanted = [whole.cls, whole.patches[hidden]]
    weights = [torch.rand(value.shape, generator=generator) for value in wanted]
    found = net.selected_tokens(pixels, hidden, scale, hidden)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    parameters = [value for value in net.backbone.parameters() if value.requires_grad]

    def gradients(values: Sequence[torch.Tensor]) -> tuple[torch.Tensor | None, ...]:
        total = sum((value * weight).sum() for value, weight in zip(values, weights, strict=True))
        return torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True)

    for one, other in zip(gradients(list(found)), gradients(wanted), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)
    alone = net.selected_tokens(pixels)
    torch.testing.assert_close(alone.cls, net.tokens(pixels).cls, atol=1e-5, rtol=1e-4)
    assert alone.patches.shape == (0, 24)


def test_bfloat16_is_close_and_returns_float32(tmp_path: Path) -> None:
    backbones.random(0).save(tmp_path)
    whole, _ = make_pair(str(tmp_path), 16, 0, "cpu", "float32")
    half, _ = make_pair(str(tmp_path), 16, 0, "cpu", "bfloat16")
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    one, other = whole.tokens(pixels).cls, half.tokens(pixels).cls
    assert one.dtype == other.dtype == torch.float32
    error = (one - other).norm() / one.norm()
    assert 0 < error < 0.05
    cosines = half.dino_head(other)
    assert cosines.dtype == torch.float32
    assert half.dino_head.last_layer.weight_v.dtype == torch.float32
    torch.testing.assert_close(cosines, whole.dino_head(one), atol=0.05, rtol=0)
    assert not torch.equal(cosines.bfloat16().float(), cosines)  # not rounded to bfloat16 on the way out
    auto, _ = make_pair(str(tmp_path), 16, 0, "cpu")
    assert torch.equal(auto.tokens(pixels).cls, one)


def test_other_crop_sizes_interpolate_positions() -> None:
    """The trained size uses the positions as they are; another size a bicubic resampling of their grid."""
    net = Network(backbones.random(0), 16, seed=0)
    embeddings = net.backbone.embeddings
    with torch.no_grad():
        grid = torch.arange(8.0).view(1, 8, 1).expand(8, 8, 96).reshape(1, 64, 96)  # rises to the right
        embeddings.position_embeddings[:, 1:] = grid
        embeddings.patch_embeddings.projection.weight.zero_()
        embeddings.patch_embeddings.projection.bias.zero_()
        same = embeddings(torch.zeros(1, 3, 64, 64))[0, 1:, 0].view(8, 8)
        half = embeddings(torch.zeros(1, 3, 32, 32))[0, 1:, 0].view(4, 4)
    torch.testing.assert_close(same, grid[0, :, 0].view(8, 8))
    torch.testing.assert_close(half[0, 1:3], torch.tensor([2.5, 4.5]))  # a cubic reproduces a line
    assert half[0].diff().gt(0).all()


def test_teacher_moves_by_its_share() -> None:
    student, teacher = Network(backbones.random(1), 4, seed=1), Network(backbones.random(2), 4, seed=2)
    before = teacher.backbone.layernorm.weight.clone(), teacher.dino_head.last_layer.weight_v.clone()
    with torch.no_grad():
        student.backbone.layernorm.weight.fill_(3.0)
    update_teacher(teacher.requires_grad_(False), student, 0.75)
    torch.testing.assert_close(teacher.backbone.layernorm.weight, 0.75 * before[0] + 0.25 * 3)
    expected = 0.75 * before[1] + 0.25 * student.dino_head.last_layer.weight_v
    torch.testing.assert_close(teacher.dino_head.last_layer.weight_v, expected)


def test_masks_hide_the_share_in_one_view_of_two() -> None:
    masks = draw_masks(0, 50, 8, 0.3)
    assert masks.shape == (2, 50, 64)
    counts = masks.sum(dim=2)
    assert set(counts.flatten().tolist()) == {0, 19}
    assert (counts.sum(dim=0) == 19).all()
    assert 10 < int((counts[0] > 0).sum()) < 40
    # In blocks: far more hidden neighbours than scattered patches would have (0.3).
    grids = masks.sum(dim=0).bool().view(50, 8, 8)
    beside = (grids[:, :, 1:] & grids[:, :, :-1]).sum() / grids[:, :, 1:].sum()
    assert beside > 0.6
    assert not draw_masks(0, 5, 8, 0.0).any()
    assert count_hidden(4, 0.01) == 1
    assert torch.equal(masks, draw_masks(0, 50, 8, 0.3))


def test_views_crop_and_flip_as_their_noise_says() -> None:
    ramp = torch.linspace(0, 1, 32).view(1, 1, 1, 32).expand(1, 3, 32, 32)  # brighter to the right
    middle = torch.full((1, NUM_NOISE), 0.5)  # no jitter
    middle[0, 4] = 0.1  # no flip
    torch.testing.assert_close(make_views(ramp, middle, 32, (1.0, 1.0)), ramp, atol=1e-5, rtol=0)
    flipped = middle.clone()
    flipped[0, 4] = 0.9
    torch.testing.assert_close(make_views(ramp, flipped, 32, (1.0, 1.0)), ramp.flip(-1), atol=1e-5, rtol=0)
    left = middle.clone()
    left[0, 2] = 0.0  # a quarter of the area, its left edge at the image's
    view = make_views(ramp, left, 16, (0.25, 0.25))
    torch.testing.assert_close(view, ramp[:, :, 8:24, :16], atol=1e-5, rtol=0)


def test_a_view_depends_on_its_own_noise_only() -> None:
    images = torch.rand(4, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    noise = draw_noise(3, 4, 2)
    together = make_views(images, noise[:, 1], 24, (0.3, 1.0))
    alone = torch.cat([make_views(images[i : i + 1], noise[i : i + 1, 1], 24, (0.3, 1.0)) for i in range(4)])
    torch.testing.assert_close(together, alone)
    assert together.min() >= 0
    assert together.max() <= 1


def test_sampling_is_fair_over_animals_then_videos() -> None:
    # Animal a: 1 video of 1 image. Animal b: a video of 10 and one of 90.
    sampler = Sampler(["a"] + ["b"] * 100, ["v"] + ["w"] * 10 + ["x"] * 90, seed=0)
    rows = np.concatenate([sampler.draw(step, 64) for step in range(100)])
    assert np.mean(rows == 0) == pytest.approx(0.5, abs=0.03)
    assert np.mean((rows > 0) & (rows <= 10)) == pytest.approx(0.25, abs=0.03)
    assert (sampler.draw(3, 64) == sampler.draw(3, 64)).all()
    assert (sampler.draw(3, 64) != sampler.draw(4, 64)).any()
    with pytest.raises(ConfigError, match="no images"):
        Sampler([], [], seed=0)


def test_jpegs_are_decoded_to_one_side(monkeypatch: pytest.MonkeyPatch) -> None:
    def jpeg(level: int, side: int) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", (side, side), (level, level, level)).save(buffer, "JPEG", quality=95)
        return buffer.getvalue()

    images = Images(jpegs=[jpeg(40, 32), jpeg(200, 48)], animals=["a", "b"], videos=["v", "w"])
    pixels = images.decoded(24).take(np.array([1, 0, 1]))
    assert pixels.shape == (3, 24, 24, 3)
    assert pixels.float().mean(dim=(1, 2, 3)).tolist() == pytest.approx([200, 40, 200], abs=2)
    monkeypatch.setattr("sheep.finetune.dataset.MEMORY_BYTES", 10)
    assert torch.equal(images.decoded(24).take(np.array([1, 0, 1])), pixels)
    assert images.decoded(96).take(np.array([0])).shape == (1, 32, 32, 3)
    with pytest.raises(ContractError, match="no image"):
        Images(jpegs=[b"x"], animals=["a"], videos=["v"]).decoded(24)
    with pytest.raises(ContractError, match="as many"):
        Images(jpegs=[b"x"], animals=[], videos=["v"])


def test_arrays_are_shrunk_and_have_their_own_digests() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 20, 20, 3), dtype=np.uint8)
    one = Arrays(pixels=pixels, animals=["a"] * 3, videos=["v"] * 3)
    assert one.decoded(10).take(np.array([2])).shape == (1, 10, 10, 3)
    assert torch.equal(one.decoded(20).take(np.array([2]))[0], torch.from_numpy(pixels[2]))
    assert one.digest() != Arrays(pixels=255 - pixels, animals=["a"] * 3, videos=["v"] * 3).digest()
