"""Every option of the recipe at once: resuming, two workers and export have to work as without them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, Dinov2WithRegistersConfig, Dinov2WithRegistersModel

from sheep import schemas
from sheep.config import AdvancedFinetuneConfig, CropConfig, FinetuneConfig
from sheep.crop.codec import to_jpeg
from sheep.errors import ConfigError
from sheep.finetune.dataset import Arrays
from sheep.finetune.job import FinetuneJob
from sheep.finetune.trainer import train
from sheep.io.ledger import open_stage
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
    # Registers are trained too, and plain transformers loads what comes out.
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


def stored(folder: Path) -> str:
    """A crop stage of one video: two animals, five frames, 0.1 s apart.

    b's track jumps in frame 3 and is lost in frame 4; a may be another animal in frame 1.
    """
    stage = open_stage(str(folder), "crop", CropConfig(), {})
    attempt = stage.attempt("v.mp4", "x")
    crops, tracks = [], []
    for frame in range(5):
        for animal in "ab":
            key = {"video": "v.mp4", "animal": animal, "frame": frame, "time_s": frame / 10}
            # a brightens by 4 a frame; b by 20.
            level = 100 + frame * (4 if animal == "a" else 20)
            image = to_jpeg(np.full((48, 48, 3), level, np.uint8), 95)
            lost, jump = (animal, frame) == ("b", 4), (animal, frame) == ("b", 3)
            place = {"crop_x0": 0, "crop_y0": 0, "crop_side_px": 48, "held": lost}
            crops.append(
                {**key, "crop": image, "crop_mask": f"{animal}{frame}".encode(), "frame_image": image, **place}
            )
            risk = 0.6 if (animal, frame) == ("a", 1) else 0.4
            plain = {
                field.name: pa.scalar(0).cast(field.type).as_py() for field in schemas.TRACKS if field.type in NUMBERS
            }
            flags = {field.name: False for field in schemas.TRACKS if field.type == pa.bool_()}
            tracks.append({**plain, **flags, **key, "mask": b"", "lost": lost, "jump": jump, "identity_risk": risk})
    attempt.write("tracks", pa.Table.from_pylist(tracks, schema=schemas.TRACKS), schemas.TRACKS)
    attempt.write("crops", pa.Table.from_pylist(crops, schema=schemas.CROPS), schemas.CROPS)
    attempt.commit()
    return stage.finish({"v.mp4": "x"}).uri


NUMBERS = (pa.float32(), pa.float64(), pa.int32(), pa.int64())


def test_doubtful_and_repeated_images_are_left_out(tmp_path: Path) -> None:
    source = stored(tmp_path)

    def left(**settings: object) -> str:
        config = changed(FinetuneConfig(silhouette_weight=1.0), **settings)
        job = FinetuneJob(source=source, videos=("v.mp4",), config=config, seed=0, identity="", out="")
        found = job.images()
        # Masks are named after animal and frame; frames have none.
        return " ".join(mask.decode() for mask in found.masks) if found.masks else "".join(found.animals)

    assert left() == "a0 b0 a1 b1 a2 b2 a3 b3 a4"
    assert left(skip_unsure=True) == "a0 b0 b1 a2 b2 a3 a4"
    assert left(min_gap_s=0.2) == "a0 b0 a2 b2 a4"
    assert left(min_change=10) == "a0 b0 b1 b2 a3 b3"
    assert left(view="frame", skip_unsure=True, min_change=10) == "abbbab" + "b"
    with pytest.raises(ConfigError, match="min_change"):
        AdvancedFinetuneConfig(min_change=256)
