"""Every option of the recipe at once: resuming, two workers and export have to work as without them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

from sheep.config import AdvancedFinetuneConfig, FinetuneConfig
from sheep.finetune.dataset import Arrays
from sheep.finetune.trainer import train
from tests.unit.finetune.exchange import train_as_two
from tests.unit.finetune.settings import changed

CONFIG = FinetuneConfig(
    steps=4,
    head_steps=1,
    batch_size=4,
    global_px=32,
    local_px=16,
    num_local=1,
    num_prototypes=8,
    validate_every=0,
    device="cpu",
    learning_rate=1e-3,
    background="swap",
    silhouette_weight=1.0,
    advanced=AdvancedFinetuneConfig(
        weight_decay_end=0.4,
        teacher_temperature_start=0.04,
        last_layer_steps=2,
        drop_path=0.4,
        mask_inside=0.8,
    ),
)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network with registers, its branches strong enough for a dropped one to matter."""
    folder = tmp_path_factory.mktemp("start")
    config = Dinov2WithRegistersConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        patch_size=8,
        image_size=64,
        num_register_tokens=3,
        initializer_range=0.1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Dinov2WithRegistersModel(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def images() -> Arrays:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 36, 36, 4), dtype=np.uint8)
    pixels[..., 3] = 0
    pixels[:, 8:28, 8:28, 3] = 255
    return Arrays(pixels=pixels, animals=[f"a{i % 3}" for i in range(12)], videos=[f"v{i % 6}" for i in range(12)])


def test_resumed_equals_unbroken_with_everything_on(start: str, images: Arrays, tmp_path: Path) -> None:
    saved: list[str] = []
    whole = train(images, start, CONFIG, 7, str(tmp_path / "whole"), save=saved.append, save_every=2)
    rest = train(images, start, CONFIG, 7, str(tmp_path / "rest"), resume_dir=saved[0])
    assert rest.last == whole.last
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "rest"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    # Registers are trained too, and transformers loads the result.
    before = load_file(f"{start}/model.safetensors")["embeddings.register_tokens"]
    assert not torch.equal(before, one["embeddings.register_tokens"])
    assert AutoModel.from_pretrained(tmp_path / "whole").config.num_register_tokens == 3


def test_options_change_the_first_loss(start: str, images: Arrays, tmp_path: Path) -> None:
    def loss(config: FinetuneConfig) -> float:
        return train(images, start, config, 7, str(tmp_path / "out")).first.loss

    options = {"teacher_temperature_start": 0.04, "drop_path": 0.4, "mask_inside": 0.8, "background": "swap"}
    plain = replace(CONFIG, steps=1, background="keep", advanced=AdvancedFinetuneConfig())
    losses = [loss(plain), *(loss(changed(plain, **{name: value})) for name, value in options.items())]
    assert len(set(losses)) == 1 + len(options)


def test_last_layers_are_frozen_at_first(start: str, images: Arrays, tmp_path: Path) -> None:
    saved: list[str] = []
    train(images, start, CONFIG, 0, str(tmp_path), save=saved.append, save_every=1)
    name = "student.dino_head.last_layer.weight_v"
    layers = [load_file(Path(folder) / "state.safetensors")[name] for folder in saved]
    assert torch.equal(layers[0], layers[1])
    assert not torch.equal(layers[1], layers[2])


def test_two_workers_train_what_one_does_with_everything_on(
    start: str, images: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = changed(CONFIG, koleo_weight=1.0)
    curve: list[dict[str, float]] = []
    train(images, start, config, 3, str(tmp_path / "one"), report=curve.append)
    curves: list[list[dict[str, float]]] = [[], []]

    def worker(rank: int, **place: Any) -> None:
        train(images, start, config, 3, str(tmp_path / "two"), rank=rank, report=curves[rank].append, **place)

    assert train_as_two(monkeypatch, worker) == [None, None]
    for name in ("loss", "loss_dino", "loss_ibot", "loss_silhouette", "grad_norm"):
        one, two = ([measures[name] for measures in which] for which in (curve, curves[0]))
        np.testing.assert_allclose(two, one, rtol=1e-4, err_msg=name)
    one_net, two_net = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name in one_net:
        torch.testing.assert_close(two_net[name], one_net[name], atol=1e-4, rtol=1e-3)
