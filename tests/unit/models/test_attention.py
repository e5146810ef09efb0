"""Attention maps, compared with a separate computation, and their share inside a mask."""

import numpy as np
import pytest
import torch

from sheep.errors import ContractError
from sheep.models import dinov2 as backbones
from sheep.models.attention import attention_maps, focus
from sheep.models.dinov2 import Backbone
from tests.unit.models.test_dinov2 import make_registers


def _by_hand(net: Backbone, images: np.ndarray, image_px: int) -> np.ndarray:
    """Compute the softmax of q.k in the last block from its input, without its attention code."""
    kept = []
    layer = net.model.encoder.layer[-1]
    hook = layer.attention.register_forward_pre_hook(
        lambda module, args, kwargs: kept.append(args[0]), with_kwargs=True
    )
    with torch.inference_mode():
        net.forward(net.preprocess(images, image_px))
        hook.remove()
        module = layer.attention
        shape = (len(images), -1, net.num_heads, net.dim // net.num_heads)
        q, k = (projection(kept[0]).view(shape).transpose(1, 2) for projection in (module.q_proj, module.k_proj))
        scores = q[:, :, :1] @ k.transpose(-1, -2) / (net.dim // net.num_heads) ** 0.5
        return scores.softmax(dim=-1)[:, :, 0].numpy()


@pytest.mark.parametrize("registers", [0, 4])
def test_attention_equals_the_softmax_of_q_and_k(registers: int) -> None:
    net = make_registers(registers) if registers else backbones.random(1)
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), dtype=np.uint8)
    before = net.model.config._attn_implementation
    maps = attention_maps(net, images, 48)
    row = _by_hand(net, images, 48)
    assert maps.shape == (2, 3, 6, 6)
    np.testing.assert_allclose(maps.reshape(2, 3, 36), row[:, :, 1 + registers :], atol=1e-6)
    assert (maps.sum(axis=(2, 3)) <= 1).all()
    assert net.model.config._attn_implementation == before


def test_focus_is_the_share_of_attention_inside_the_mask() -> None:
    maps = np.zeros((2, 1, 2, 2), np.float32)
    maps[:, 0] = [[0.1, 0.2], [0.3, 0.2]]
    masks = np.zeros((2, 4, 4), bool)
    masks[0, :2, :] = True  # the upper two patches
    np.testing.assert_allclose(focus(maps, masks)[0], [0.3 / 0.8], rtol=1e-6)
    assert np.isnan(focus(maps, masks)[1]).all()
    half = np.zeros((1, 4, 4), bool)
    half[0, 0, :2] = True  # half of the first patch
    np.testing.assert_allclose(focus(maps[:1], half), [[0.05 / 0.8]], rtol=1e-6)
    with pytest.raises(ContractError, match="masks"):
        focus(maps, masks[:1])
