"""The losses of a small training equal the golden losses, step by step.

A change of tests/golden/finetune_pocket_cpu.json needs its reason in the commit message: the recipe changed on purpose.
Renew the file with

    OMP_NUM_THREADS=1 python -m tests.unit.finetune.test_golden
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sheep.config import FinetuneConfig
from sheep.finetune import record
from sheep.finetune.dataset import Arrays
from sheep.finetune.trainer import train

GOLDEN = Path(__file__).parents[2] / "golden" / "finetune_pocket_cpu.json"
CONFIG = FinetuneConfig(
    steps=30, head_steps=10, batch_size=8, global_px=48, local_px=24, num_local=2, num_prototypes=64,
    learning_rate=5e-4, silhouette_weight=0.5, validate_every=10, device="cpu",
)  # fmt: skip
TERMS = ("loss", "loss_dino", "loss_ibot", "loss_koleo", "loss_silhouette", "teacher_entropy", "target_std")
TOLERANCE = 2e-4
"""Relative, for every measure of every step. Two threads, or no oneDNN, change them by at most 1.3e-6; one percent more
learning rate, KoLeo weight or temperature by at least 7e-3."""


def images() -> Arrays:
    """Return images of four animals: bright blocks of different colours, upright or flat, on noise.

    The fourth channel is the mask of the block.
    """
    rng = np.random.default_rng(20)
    pixels = rng.integers(60, 130, (32, 64, 64, 4), dtype=np.uint8)
    pixels[..., 3] = 0
    for number, image in enumerate(pixels):
        high, wide = (30, 16) if number % 3 else (14, 32)
        y, x = rng.integers(2, 62 - high), rng.integers(2, 62 - wide)
        image[y : y + high, x : x + wide, :3] = (250 - 30 * (number % 4), 220, 120 + 30 * (number % 4))
        image[y : y + high, x : x + wide, 3] = 255
    animals = [f"animal{number % 4}" for number in range(32)]
    return Arrays(pixels=pixels, animals=animals, videos=[f"video{number % 8}" for number in range(32)])


def curves(folder: Path) -> dict[str, list[float]]:
    """Train on one thread and return the measures of each step."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train(images(), "pocket", CONFIG, 0, str(folder))
    finally:
        torch.set_num_threads(threads)
    training = record.from_json((folder / "training.json").read_text(), "training.json")
    assert training.validation is not None
    measures = {name: [getattr(step, name) for step in training.curve] for name in TERMS}
    return measures | {"rank_me": [row.rank_me for row in training.validation.history]}


def test_losses_equal_the_golden_ones(tmp_path: Path) -> None:
    golden, measures = json.loads(GOLDEN.read_text())["curves"], curves(tmp_path)
    assert golden.keys() == measures.keys()
    assert len(golden["loss"]) == 30
    for name in golden:
        np.testing.assert_allclose(measures[name], golden[name], rtol=TOLERANCE, atol=1e-5, err_msg=name)


def test_the_golden_losses_are_those_of_a_training() -> None:
    golden = json.loads(GOLDEN.read_text())["curves"]
    assert golden["loss_silhouette"][-1] < 0.9 * golden["loss_silhouette"][0]
    assert golden["rank_me"][0] == pytest.approx(golden["rank_me"][1], rel=1e-6)  # only heads so far
    assert golden["rank_me"][-1] != pytest.approx(golden["rank_me"][1], rel=1e-6)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        rounded = {name: [float(f"{value:.7g}") for value in values] for name, values in curves(Path(scratch)).items()}
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps({"torch": torch.__version__, "curves": rounded}, indent=1) + "\n")
