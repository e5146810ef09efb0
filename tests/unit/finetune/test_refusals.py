"""Bad input to fine-tuning is refused with its place, its value, the expected value and advice."""

import functools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sheep.config import FinetuneConfig
from sheep.errors import ConfigError, ContractError
from sheep.finetune import checkpoint
from sheep.finetune.data_loader import DataLoader
from sheep.finetune.dataset import Arrays
from sheep.finetune.trainer import TrainingResult, train
from sheep.models import dinov2 as backbones
from tests.unit.finetune.exchange import train_as_two
from tests.unit.finetune.settings import changed

CONFIG = FinetuneConfig(
    steps=2, head_steps=0, batch_size=4, global_px=32, local_px=16, num_local=1, num_prototypes=8, device="cpu",
    validate_every=0,
)  # fmt: skip


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("start")
    backbones.random(0, hidden_size=24, num_hidden_layers=2).save(folder)
    return str(folder)


def arrays(count: int = 6, side: int = 36) -> Arrays:
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return Arrays(pixels=pixels, animals=[f"a{i % 3}" for i in range(count)], videos=[f"v{i}" for i in range(count)])


@pytest.fixture(scope="module")
def saved(start: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    folders: list[str] = []
    train(arrays(), start, CONFIG, 0, str(tmp_path_factory.mktemp("run")), save=folders.append, save_every=1)
    return folders[0]


def resume(start: str, saved: str, folder: Path, config: FinetuneConfig = CONFIG) -> TrainingResult:
    return train(arrays(), start, config, 0, str(folder), resume_dir=saved)


def test_crops_smaller_than_a_patch(start: str, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match="stored images are 6 px wide, expected at least a patch of the backbone, 8 px"
    ):
        train(arrays(side=6), start, CONFIG, 0, str(tmp_path))
    assert train(arrays(side=8), start, replace(CONFIG, steps=1), 0, str(tmp_path)).steps == 1


def test_more_workers_than_images(start: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="3 images for 4 workers"):
        train(arrays(3), start, CONFIG, 0, str(tmp_path), world=4)
    with pytest.raises(
        ConfigError, match=r"finetune\.min_workers: got 2, expected numbers that divide batch_size \(4\), but \[3\]"
    ):
        replace(CONFIG, workers=4, min_workers=2)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.full((2, 8, 8, 3), np.nan, np.float32), "float32, expected .* uint8; floats may hold nan"),
        (np.zeros((2, 8, 9, 3), np.uint8), r"\(2, 8, 9, 3\) uint8, expected"),
        (np.zeros((3, 8, 8, 3), np.uint8), r"\(3, 2, 2\) images, animals and videos"),
    ],
)
def test_arrays_that_are_not_images(pixels: np.ndarray, words: str) -> None:
    with pytest.raises(ContractError, match=words):
        Arrays(pixels=pixels, animals=["a", "b"], videos=["v", "w"])


@pytest.mark.parametrize("other", [{"num_hidden_layers": 3}, {"patch_size": 4}])
def test_a_checkpoint_of_another_network(other: dict[str, Any], start: str, saved: str, tmp_path: Path) -> None:
    backbones.random(0, **({"hidden_size": 24, "num_hidden_layers": 2} | other)).save(tmp_path / "other")
    theirs = "dinov2, 2 blocks of 24, patches of 8 px"
    with pytest.raises(
        ConfigError, match=f"architecture: '{theirs}' there, 'dinov2, . blocks of 24, patches of . px' now"
    ):
        resume(str(tmp_path / "other"), saved, tmp_path)


def test_a_folder_of_another_configuration(start: str, saved: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"koleo_weight: 0\.1 there, 0\.5 now\). Start in a new folder"):
        resume(start, saved, tmp_path, changed(CONFIG, koleo_weight=0.5))
    # The number of workers may change.
    assert resume(start, saved, tmp_path, replace(CONFIG, workers=2, min_workers=1)).steps == 2


def test_a_damaged_checkpoint(start: str, saved: str, tmp_path: Path) -> None:
    folder = shutil.copytree(saved, tmp_path / "half")
    whole = (folder / checkpoint.TENSORS).read_bytes()
    (folder / checkpoint.TENSORS).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ContractError, match="The checkpoint is damaged: use an earlier one"):
        resume(start, str(folder), tmp_path)
    (folder / checkpoint.STATE).write_text('{"step": 1}')
    with pytest.raises(ConfigError, match=r"state\.json cannot be read .*, expected a checkpoint of this version"):
        resume(start, str(folder), tmp_path)
    (folder / checkpoint.STATE).unlink()
    with pytest.raises(ConfigError, match="expected a finished checkpoint"):
        resume(start, str(folder), tmp_path)


def test_a_disk_that_cannot_store_the_checkpoint(start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*values: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(ConfigError, match=r"cannot be written \(.*No space left.*\), expected \d+ MiB of free space"):
        train(arrays(), start, CONFIG, 0, str(tmp_path), save=lambda folder: None, save_every=1)
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "checkpoints")
    (tmp_path / "checkpoints").write_text("a file where a folder should be")
    with pytest.raises(ConfigError, match="cannot be written"):
        train(arrays(), start, CONFIG, 0, str(tmp_path), save=lambda folder: None, save_every=1)


def test_the_rank_whose_values_are_not_finite_is_named(
    start: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The views of rank 1 are nan. Targets are balanced over all workers, so both losses become nan."""
    batch_of = DataLoader.batch

    def spoiled(self: DataLoader, step: int, mine: slice, place: torch.device) -> object:
        batch = batch_of(self, step, mine, place)
        return replace(batch, global_views=batch.global_views * (float("nan") if mine.start else 1))

    monkeypatch.setattr(DataLoader, "batch", spoiled)
    config = replace(CONFIG, steps=5)
    first, second = train_as_two(monkeypatch, functools.partial(train, arrays(), start, config, 0, str(tmp_path)))
    assert isinstance(first, ContractError)
    assert isinstance(second, ContractError)
    assert str(first) == str(second)
    assert "3 steps in a row, the last at step 2 (first on rank 1 of 2)" in str(first)


def test_output_can_be_read_without_this_package(saved: str) -> None:
    """The files hold tensors and JSON, no pickles."""
    assert sorted(path.name for path in Path(saved).iterdir()) == [checkpoint.STATE, checkpoint.TENSORS]
    assert json.loads((Path(saved) / checkpoint.STATE).read_text())["step"] == 1


def test_a_starting_backbone_that_is_not_finite(start: str, tmp_path: Path) -> None:
    broken = backbones.load(start)
    with torch.no_grad():
        broken.model.layernorm.weight.fill_(float("nan"))
    broken.save(tmp_path / "broken")
    with pytest.raises(ContractError, match=r"starting backbone gives .*nan.*, expected finite numbers"):
        train(arrays(), str(tmp_path / "broken"), replace(CONFIG, validate_every=1), 0, str(tmp_path))
