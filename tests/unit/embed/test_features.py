import numpy as np
import pytest
import torch

from sheep.config import AdvancedEmbedConfig, EmbedConfig
from sheep.embed.features import embed, pool_tokens, width
from sheep.errors import ConfigError
from sheep.models import dinov2 as backbones
from sheep.models.dinov2 import Backbone, Tokens

CLS = EmbedConfig(advanced=AdvancedEmbedConfig(pool="cls"))


@pytest.fixture(scope="module")
def net() -> Backbone:
    return backbones.random(3)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (20, 40, 40, 3), dtype=np.uint8))


def test_batch_size_does_not_matter(net: Backbone, images: list[np.ndarray]) -> None:
    one, seven, many = (embed(images, net, EmbedConfig(batch_size=size)) for size in (1, 7, 64))
    assert one.shape == (20, width(net, "cls_grid")) == (20, 480)
    np.testing.assert_allclose(one, seven, atol=1e-5)
    np.testing.assert_allclose(one, many, atol=1e-5)


def test_vector_belongs_to_its_image(net: Backbone, images: list[np.ndarray]) -> None:
    config = EmbedConfig(batch_size=8)
    whole = embed(images, net, config)
    np.testing.assert_array_equal(embed(iter(images), net, config), whole)
    np.testing.assert_allclose(embed(images[::-1], net, config)[::-1], whole, atol=1e-5)
    assert np.abs(whole[0] - whole[1]).max() > 1e-3


def test_mixed_sizes_keep_their_order(net: Backbone, images: list[np.ndarray]) -> None:
    large = np.repeat(np.repeat(images[1], 2, axis=0), 2, axis=1)
    mixed = embed([images[0], large, images[2]], net, CLS)
    alone = [embed([image], net, CLS)[0] for image in (images[0], large, images[2])]
    np.testing.assert_allclose(mixed, alone, atol=1e-5)


def test_pooling_by_hand() -> None:
    patches = torch.arange(16.0).view(1, 16, 1)  # 0..15 on a 4 x 4 grid, row by row
    tokens = Tokens(torch.tensor([[-1.0]]), patches)
    assert pool_tokens(tokens, "cls").tolist() == [[-1.0]]
    assert pool_tokens(tokens, "cls_mean").tolist() == [[-1.0, 7.5]]
    assert pool_tokens(tokens, "cls_grid").tolist() == [[-1.0, 2.5, 4.5, 10.5, 12.5]]
    odd = Tokens(torch.zeros(1, 1), torch.arange(9.0).view(1, 9, 1))
    assert pool_tokens(odd, "cls_grid").tolist() == [[0.0, 2.0, 3.0, 5.0, 6.0]]
    with pytest.raises(ConfigError, match="2 x 2"):
        pool_tokens(Tokens(torch.zeros(1, 1), torch.zeros(1, 1, 1)), "cls_grid")


def test_edges_and_errors(net: Backbone, images: list[np.ndarray]) -> None:
    assert embed([], net, EmbedConfig(dtype="float16", advanced=CLS.advanced)).shape == (0, 96)
    assert embed(images[:1], net, EmbedConfig(dtype="float16")).dtype == np.float16
    with pytest.raises(ConfigError, match="multiple of the patch size"):
        embed(images, net, EmbedConfig(image_px=60))
    with pytest.raises(ConfigError, match="uint8"):
        embed([images[0].astype(np.float32)], net, EmbedConfig())
