"""DINOv2 networks: preprocessing, tokens, seeds, and what is refused when loading."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel, ViTConfig, ViTModel

from sheep.errors import ConfigError
from sheep.models import dinov2 as backbones
from sheep.models.dinov2 import Backbone


def make_registers(count: int) -> Backbone:
    """A tiny random network with register tokens."""
    config = Dinov2WithRegistersConfig(
        hidden_size=96,
        num_hidden_layers=2,
        num_attention_heads=3,
        patch_size=8,
        image_size=64,
        num_register_tokens=count,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Backbone(Dinov2WithRegistersModel(config), "registers")


def _images(count: int, side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def test_the_pocket_network_is_small_and_complete() -> None:
    net = backbones.load("pocket", device="cpu")
    assert (net.dim, net.patch_px, net.num_registers) == (96, 8, 0)
    assert {parameter.dtype for parameter in net.model.parameters()} == {torch.float32}
    assert sum(path.stat().st_size for path in backbones.POCKET.iterdir()) <= 4 * 2**20
    assert not net.model.training


def test_preprocess_normalises_by_imagenets_statistics() -> None:
    net = backbones.random(0)
    white = net.preprocess(np.full((1, 16, 16, 3), 255, np.uint8), 64)
    assert white.shape == (1, 3, 64, 64)
    expected = [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    torch.testing.assert_close(white[0, :, 5, 5], torch.tensor(expected))


def test_shrinking_is_antialiased() -> None:
    net = backbones.random(0)
    stripes = np.zeros((1, 64, 64, 3), np.uint8)
    stripes[:, :, ::2] = 255  # finer than the output can resolve: uniform grey, no pattern
    small = net.preprocess(stripes, 16)[0, 0]
    assert small.std() < 0.1


def test_tokens_for_other_sizes_and_with_registers() -> None:
    plain, registers = backbones.random(0), make_registers(4)
    for net in (plain, registers):
        with torch.inference_mode():
            tokens = net.forward(net.preprocess(_images(2, 96), 96))
        assert tokens.cls.shape == (2, 96)
        assert tokens.patches.shape == (2, 144, 96)
    with torch.inference_mode():
        pixels = registers.preprocess(_images(1, 64), 64)
        output = registers.model(pixels).last_hidden_state
        torch.testing.assert_close(registers.forward(pixels).patches, output[:, 5:])


def test_hidden_patches_contribute_no_pixels() -> None:
    net = backbones.random(0)
    pixels = net.preprocess(_images(1, 64), 64)
    other = pixels.clone()
    other[:, :, :8, :8] = 0  # the first patch
    hidden = torch.zeros(1, 64, dtype=torch.bool)
    hidden[0, 0] = True
    with torch.inference_mode():
        torch.testing.assert_close(net.forward(pixels, hidden).cls, net.forward(other, hidden).cls)
        assert (net.forward(pixels).cls - net.forward(other).cls).abs().max() > 1e-4


def test_save_and_load_keep_the_weights(tmp_path: Path) -> None:
    for name, net in {"plain": backbones.random(5), "registers": make_registers(2)}.items():
        net.save(tmp_path / name)
        again = backbones.load(str(tmp_path / name), device="cpu")
        pixels = net.preprocess(_images(1, 64), 64)
        with torch.inference_mode():
            torch.testing.assert_close(again.forward(pixels), net.forward(pixels), rtol=0, atol=0)
        assert again.num_registers == net.num_registers


def test_random_weights_depend_on_the_seed_and_leave_the_global_generator_unchanged() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    one, same, other = (backbones.random(seed).model.embeddings.cls_token for seed in (1, 1, 2))
    torch.testing.assert_close(torch.rand(3), expected)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_an_untrained_network_has_the_architecture_but_none_of_the_weights(tmp_path: Path) -> None:
    pocket, drawn = backbones.load("pocket", device="cpu").model.state_dict(), backbones.random(7).model.state_dict()
    found = backbones.untrained("pocket", 7, device="cpu").model.state_dict()
    assert {name: value.shape for name, value in found.items()} == {name: value.shape for name, value in pocket.items()}
    assert all(torch.equal(value, drawn[name]) for name, value in found.items())  # the same architecture and seed
    name = "embeddings.patch_embeddings.projection.weight"
    assert found[name].dtype == torch.float32
    assert not torch.equal(found[name], backbones.untrained("pocket", 8, device="cpu").model.state_dict()[name])
    make_registers(3).save(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    assert backbones.untrained(str(tmp_path), 7, device="cpu").num_registers == 3


def test_a_folder_that_cannot_be_loaded_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        backbones.load(str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match=r"no config\.json"):
        backbones.load(str(tmp_path))
    vit = ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32)
    ViTModel(vit).save_pretrained(tmp_path / "vit")
    with pytest.raises(ConfigError, match="architecture 'vit'"):
        backbones.load(str(tmp_path / "vit"))
    backbones.random(0).save(tmp_path / "part")
    path = tmp_path / "part" / "model.safetensors"
    tensors = load_file(path)
    del tensors["layernorm.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"layernorm\.weight"):
        backbones.load(str(tmp_path / "part"))
    path.write_bytes(b"no weights")
    with pytest.raises(ConfigError, match="Fetch the folder again"):
        backbones.load(str(tmp_path / "part"))


def test_unknown_id_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="neither as a local folder nor as a Hugging Face id"):
        backbones.load("nobody/no-such-network")


def test_invalid_sizes_and_types_are_refused() -> None:
    net = backbones.random(0)
    with pytest.raises(ConfigError, match="multiple of the patch size"):
        net.preprocess(_images(1, 64), 60)
    with pytest.raises(ConfigError, match="multiple of the patch size"):
        net.forward(torch.zeros(1, 3, 64, 60))
    with pytest.raises(ConfigError, match="uint8"):
        net.preprocess(_images(1, 64)[0], 64)


def test_the_device_is_chosen_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert backbones.device_of("auto") == backbones.device_of("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match="no CUDA device"):
        backbones.device_of("cuda")
    with pytest.raises(ConfigError, match="'gpu'"):
        backbones.device_of("gpu")
