import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from sheep.config import FinetuneConfig
from sheep.errors import ConfigError, ContractError
from sheep.finetune import losses, networks, record, trainer
from sheep.finetune.dataset import Arrays
from sheep.finetune.trainer import TrainingResult, train
from sheep.models import dinov2 as backbones
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
    device="cpu",
    learning_rate=1e-3,
)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("start")
    backbones.random(0, hidden_size=24, num_hidden_layers=2).save(folder)
    return str(folder)


@pytest.fixture(scope="module")
def images() -> Arrays:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 36, 36, 3), dtype=np.uint8)
    return Arrays(pixels=pixels, animals=[f"a{i % 3}" for i in range(12)], videos=[f"v{i % 6}" for i in range(12)])


def test_heads_are_trained_first_then_the_backbone(start: str, images: Arrays, tmp_path: Path) -> None:
    train(images, start, changed(CONFIG, steps=1), 0, str(tmp_path / "heads"))
    before, heads = load_file(f"{start}/model.safetensors"), load_file(tmp_path / "heads" / "model.safetensors")
    assert all(torch.equal(before[name], heads[name]) for name in before)
    result = train(images, start, CONFIG, 0, str(tmp_path / "all"))
    after = load_file(tmp_path / "all" / "model.safetensors")
    assert sum(not torch.equal(before[name], after[name]) for name in before) > len(before) / 2
    training = record.from_json((tmp_path / "all" / "training.json").read_text(), "training.json")
    assert training.config["batch_size"] == 4
    assert len(training.curve) == training.steps == result.steps == 4
    assert (training.first, training.last) == (result.first, result.last)
    assert backbones.load(result.backbone_dir, device="cpu").dim == 24


def test_resumed_equals_uninterrupted(start: str, images: Arrays, tmp_path: Path) -> None:
    saved: list[str] = []
    whole = train(images, start, CONFIG, 7, str(tmp_path / "whole"), save=saved.append, save_every=2)
    assert [Path(folder).name for folder in saved] == ["step-000002", "step-000004"]
    reported: list[dict[str, float]] = []
    moved = shutil.copytree(start, tmp_path / "moved")  # the same weights at another place are the same weights
    rest = train(images, str(moved), CONFIG, 7, str(tmp_path / "rest"), resume_dir=saved[0], report=reported.append)
    assert [measures["step"] for measures in reported] == [3, 4]
    assert rest.last == whole.last
    assert rest.first == whole.first
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "rest"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    with pytest.raises(ConfigError, match=r"drop_path: 0\.0 there, 0\.5 now"):
        train(images, start, changed(CONFIG, drop_path=0.5), 7, str(tmp_path), resume_dir=saved[0])
    fewer = Arrays(pixels=images.pixels[:6], animals=images.animals[:6], videos=images.videos[:6])
    with pytest.raises(ConfigError, match="images: "):
        train(fewer, start, CONFIG, 7, str(tmp_path), resume_dir=saved[0])
    backbones.random(1, hidden_size=24, num_hidden_layers=2).save(tmp_path / "other")
    with pytest.raises(ConfigError, match="weights: "):
        train(images, str(tmp_path / "other"), CONFIG, 7, str(tmp_path), resume_dir=saved[0])
    with pytest.raises(ConfigError, match="finished checkpoint"):
        train(images, start, CONFIG, 7, str(tmp_path), resume_dir=str(tmp_path / "whole" / "checkpoints"))


def test_two_workers_train_as_one(start: str, images: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = changed(CONFIG, steps=6, koleo_weight=1.0, workers=2)
    curves: dict[str, list[dict[str, float]]] = {"one": [], "0": [], "1": []}
    train(images, start, config, 3, str(tmp_path / "one"), report=curves["one"].append)

    def worker(rank: int, **place: Any) -> None:
        train(images, start, config, 3, str(tmp_path / "two"), rank=rank, report=curves[str(rank)].append, **place)

    assert train_as_two(monkeypatch, worker) == [None, None]
    assert curves["0"] == curves["1"]
    for name in ("loss", "loss_dino", "loss_ibot", "loss_koleo", "grad_norm", "teacher_entropy"):
        one, two = ([measures[name] for measures in curves[which]] for which in ("one", "0"))
        np.testing.assert_allclose(two, one, atol=1e-4, err_msg=name)
    one_net, two_net = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name in one_net:
        torch.testing.assert_close(two_net[name], one_net[name], atol=1e-4, rtol=1e-3)


def test_three_losses_in_a_row_that_are_not_finite_end_the_training(
    start: str, images: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = iter([True, True, False, True])  # two in a row are skipped, and a good step resets the count

    def spoiled(student: Tensor, targets: Tensor) -> Tensor:
        return dino_loss(student, targets) * (float("nan") if next(bad, True) else 1)

    dino_loss = losses.dino_loss
    monkeypatch.setattr("sheep.finetune.objective.dino_loss", spoiled)
    reported: list[dict[str, float]] = []
    with pytest.raises(ContractError, match=r"3 steps in a row, the last at step 5 \(first on rank 0 of 1\)"):
        train(images, start, changed(CONFIG, steps=9), 0, str(tmp_path), report=reported.append)
    assert [np.isfinite(measures["loss"]) for measures in reported] == [False, False, True, False, False]


def test_settings_that_cannot_work_are_refused_first(
    start: str, images: Arrays, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def run(config: FinetuneConfig, source: Arrays = images, **more: Any) -> TrainingResult:
        return train(source, start, config, 0, str(tmp_path), **more)

    empty = Arrays(pixels=images.pixels[:0], animals=[], videos=[])
    with pytest.raises(ConfigError, match="no images"):
        run(CONFIG, empty)
    with pytest.raises(ConfigError, match="patch size"):
        run(changed(CONFIG, local_px=4))
    with pytest.raises(ConfigError, match="3 workers"):
        run(CONFIG, world=3)
    alone = Arrays(pixels=images.pixels[:2], animals=["a", "a"], videos=["v", "v"])
    with caplog.at_level(logging.WARNING):
        result = run(changed(CONFIG, steps=1, num_local=0, mask_frac=0.0), alone)  # fewer images than a batch
    assert "one_animal" in caplog.text
    assert result.last.loss_ibot == 0


def test_a_backbone_without_a_mask_token_is_refused(
    start: str, images: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unmasked(*values: Any) -> Any:
        pair = networks.make_pair(*values)
        for network in pair:
            network.backbone.embeddings.mask_token = None
        return pair

    monkeypatch.setattr("sheep.finetune.trainer.make_pair", unmasked)
    with pytest.raises(
        ConfigError, match=r"has no mask token, expected one with finetune\.advanced\.mask_frac above 0"
    ):
        train(images, start, CONFIG, 0, str(tmp_path))
    config = changed(CONFIG, mask_frac=0.0, steps=1, validate_every=0)
    assert train(images, start, config, 0, str(tmp_path)).last.loss_ibot == 0


def test_training_json_keeps_a_sample_of_a_long_curve(start: str, images: Arrays, tmp_path: Path) -> None:
    result = train(images, start, replace(CONFIG, steps=2), 0, str(tmp_path))
    steps = [replace(result.first, step=number) for number in range(1, 1002)]
    kept = trainer._subsample(steps, count=10)
    assert (kept[0].step, kept[-1].step) == (1, 1001)
    assert 10 <= len(kept) <= 12
    assert trainer._subsample(steps[:3], count=10) == tuple(steps[:3])


def test_reports_include_validations(start: str, images: Arrays, tmp_path: Path) -> None:
    reported: list[dict[str, float]] = []
    train(images, start, replace(CONFIG, validate_every=2), 0, str(tmp_path), report=reported.append)
    assert ["validation_rank_me" in measures for measures in reported] == [True, True, False, True]  # 1: heads trained
    assert all("validation_score" not in measures for measures in reported)
