"""The losses of a pocket run are the ones that were kept, step by step.

A change of tests/golden/finetune_pocket_cpu.json needs a reason in the commit's message: the recipe changed on purpose. Write it anew with

    OMP_NUM_THREADS=1 python -m tests.unit.finetune.test_golden
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sheep.config import FinetuneConfig
from sheep.finetune.dataset import Arrays
from sheep.finetune.trainer import fit

GOLDEN = Path(__file__).parents[2] / "golden" / "finetune_pocket_cpu.json"
CONFIG = FinetuneConfig(
    steps=30, head_steps=10, batch_size=8, global_px=48, local_px=24, num_local=2, num_prototypes=64,
    learning_rate=5e-4, silhouette_weight=0.5, guard_every=10, device="cpu",
)  # fmt: skip
TERMS = ("loss", "loss_dino", "loss_ibot", "loss_koleo", "loss_silhouette", "teacher_entropy", "target_std")
TOLERANCE = 2e-4
"""Relative, of every measure in every step. Two threads or no oneDNN changed them by 1.3e-6 at most; one hundredth more of learning rate, KoLeo's
weight or temperature by 7e-3 and more."""


def images() -> Arrays:
    """Four animals, each a bright block of its own colour, standing or lying somewhere on green noise; the block's mask beside it."""
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
    """What a run measures on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        fit(images(), "pocket", CONFIG, 0, str(folder))
    finally:
        torch.set_num_threads(threads)
    facts = json.loads((folder / "training.json").read_text())
    found = {name: [step[name] for step in facts["curve"]] for name in TERMS}
    return found | {name: [row[name] for row in facts["guard"]["history"]] for name in ("rank_me",)}


def test_losses_are_the_ones_that_were_kept(tmp_path: Path) -> None:
    kept, found = json.loads(GOLDEN.read_text())["curves"], curves(tmp_path)
    assert kept.keys() == found.keys()
    assert len(kept["loss"]) == 30
    for name in kept:
        np.testing.assert_allclose(found[name], kept[name], rtol=TOLERANCE, atol=1e-5, err_msg=name)


def test_the_kept_losses_are_a_training(tmp_path: Path) -> None:
    kept = json.loads(GOLDEN.read_text())["curves"]
    assert kept["loss_silhouette"][-1] < 0.9 * kept["loss_silhouette"][0]
    assert kept["rank_me"][0] == pytest.approx(kept["rank_me"][1], rel=1e-6)  # only heads so far
    assert kept["rank_me"][-1] != pytest.approx(kept["rank_me"][1], rel=1e-6)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        rounded = {name: [float(f"{value:.7g}") for value in values] for name, values in curves(Path(scratch)).items()}
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps({"torch": torch.__version__, "curves": rounded}, indent=1) + "\n")
