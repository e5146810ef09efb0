"""Fine-tuning on a CUDA device equals that on the CPU up to rounding."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sheep.config import AdvancedFinetuneConfig, FinetuneConfig, Precision
from sheep.finetune.dataset import Arrays
from sheep.finetune.trainer import train
from sheep.models import dinov2 as backbones

pytestmark = pytest.mark.gpu

CONFIG = FinetuneConfig(
    steps=6,
    head_steps=1,
    batch_size=8,
    global_px=32,
    local_px=16,
    num_local=2,
    num_prototypes=8,
    validate_every=0,
    learning_rate=1e-3,
    background="swap",
    device="cuda",
    advanced=AdvancedFinetuneConfig(drop_path=0.2, mask_inside=0.5),
)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("start")
    backbones.random(0, hidden_size=48, num_hidden_layers=2).save(folder)
    return str(folder)


@pytest.fixture(scope="module")
def images() -> Arrays:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 40, 4), dtype=np.uint8)
    pixels[..., 3] = 0
    pixels[:, 8:30, 8:30, 3] = 255
    return Arrays(pixels=pixels, animals=[f"a{i % 3}" for i in range(24)], videos=[f"v{i % 6}" for i in range(24)])


def with_precision(precision: Precision) -> FinetuneConfig:
    return replace(CONFIG, advanced=replace(CONFIG.advanced, precision=precision))


def curve(start: str, images: Arrays, config: FinetuneConfig, out: Path) -> list[float]:
    measures: list[dict[str, float]] = []
    train(images, start, config, 5, str(out), report=measures.append)
    return [one["loss"] for one in measures]


def test_a_gpu_trains_like_a_cpu(start: str, images: Arrays, tmp_path: Path) -> None:
    config = with_precision("float32")
    on_gpu = curve(start, images, config, tmp_path / "gpu")
    on_cpu = curve(start, images, replace(config, device="cpu"), tmp_path / "cpu")
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=2e-3)


def test_bfloat16_is_the_default_and_close_to_float32(start: str, images: Arrays, tmp_path: Path) -> None:
    half = curve(start, images, CONFIG, tmp_path / "half")
    assert half == curve(start, images, with_precision("bfloat16"), tmp_path / "named")
    whole = curve(start, images, with_precision("float32"), tmp_path / "whole")
    assert half != whole
    np.testing.assert_allclose(half, whole, rtol=0.05)
    weights = load_file(tmp_path / "half" / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float32}


def test_resumed_equals_uninterrupted(start: str, images: Arrays, tmp_path: Path) -> None:
    saved: list[str] = []
    whole = train(images, start, CONFIG, 7, str(tmp_path / "whole"), save=saved.append, save_every=3)
    folder = shutil.copytree(saved[0], tmp_path / "moved")
    rest = train(images, start, CONFIG, 7, str(tmp_path / "rest"), resume_dir=str(folder))
    assert rest.last.loss == pytest.approx(whole.last.loss, rel=1e-3)
