"""Student and teacher: selected tokens, stochastic depth, precision, positions and the moving average."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import Dinov2Config, Dinov2Model, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

from sheep.finetune.networks import Network, draw_branch_scale, make_pair, update_teacher
from sheep.models import dinov2 as backbones


def test_a_branch_is_dropped_for_single_images() -> None:
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


def test_branches_are_dropped_at_their_rate_and_the_mean_is_preserved() -> None:
    scale = draw_branch_scale(0, 200, 4, 24, 0.3)
    assert scale.unique().tolist() == pytest.approx([0, 1 / 0.7])
    assert (scale == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert torch.equal(scale, draw_branch_scale(0, 200, 4, 24, 0.3))
    assert (draw_branch_scale(0, 3, 2, 4, 0.0) == 1).all()


@pytest.mark.parametrize("num_registers", [0, 3])
def test_selected_tokens_equal_those_of_the_full_output(num_registers: int, tmp_path: Path) -> None:
    """Compares values and gradients, with hidden patches, dropped branches and registers."""
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
        total = torch.stack([(value * weight).sum() for value, weight in zip(values, weights, strict=True)]).sum()
        return torch.autograd.grad(total, parameters, retain_graph=True, allow_unused=True)

    for mine, expected in zip(gradients(list(found)), gradients(wanted), strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-4, rtol=1e-3)
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
    assert not torch.equal(cosines.bfloat16().float(), cosines)  # not rounded to bfloat16 at the output
    auto, _ = make_pair(str(tmp_path), 16, 0, "cpu")
    assert torch.equal(auto.tokens(pixels).cls, one)


def test_other_crop_sizes_interpolate_positions() -> None:
    """The trained size uses the positions as they are; another size a bicubic resampling of their grid."""
    net = Network(backbones.random(0), 16, seed=0)
    embeddings = net.backbone.embeddings
    with torch.no_grad():
        grid = torch.arange(8.0).view(1, 8, 1).expand(8, 8, 96).reshape(1, 64, 96)  # increases to the right
        embeddings.position_embeddings[:, 1:] = grid
        embeddings.patch_embeddings.projection.weight.zero_()
        embeddings.patch_embeddings.projection.bias.zero_()
        same = embeddings(torch.zeros(1, 3, 64, 64))[0, 1:, 0].view(8, 8)
        half = embeddings(torch.zeros(1, 3, 32, 32))[0, 1:, 0].view(4, 4)
    torch.testing.assert_close(same, grid[0, :, 0].view(8, 8))
    torch.testing.assert_close(half[0, 1:3], torch.tensor([2.5, 4.5]))  # a cubic reproduces a linear function
    assert half[0].diff().gt(0).all()


def test_the_teacher_is_a_moving_average_of_the_student() -> None:
    student, teacher = Network(backbones.random(1), 4, seed=1), Network(backbones.random(2), 4, seed=2)
    before = teacher.backbone.layernorm.weight.clone(), teacher.dino_head.last_layer.weight_v.clone()
    with torch.no_grad():
        student.backbone.layernorm.weight.fill_(3.0)
    update_teacher(teacher.requires_grad_(False), student, 0.75)
    torch.testing.assert_close(teacher.backbone.layernorm.weight, 0.75 * before[0] + 0.25 * 3)
    expected = 0.75 * before[1] + 0.25 * student.dino_head.last_layer.weight_v
    torch.testing.assert_close(teacher.dino_head.last_layer.weight_v, expected)
