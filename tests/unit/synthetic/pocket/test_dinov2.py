import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sheep.models import dinov2 as backbones
from sheep.synthetic.pocket.dinov2 import PocketDinov2Config, draw_crops, draw_images, evaluate, table, train

CONFIG = PocketDinov2Config(num_scenes=3, frames_per_scene=2, steps=2, batch_size=4, num_prototypes=8, export_every=1)


def test_images_follow_the_seed_and_name_their_scene() -> None:
    images = draw_images(CONFIG)
    assert images.pixels.shape[1:] == (96, 96, 4)
    assert images.digest() == draw_images(CONFIG).digest()
    assert set(images.animals) == {"scene 0", "scene 1", "scene 2"}
    assert all(kind.startswith(scene) for scene, kind in zip(images.animals, images.videos, strict=True))
    assert {kind.split()[-1] for kind in images.videos} == {"focal", "other"}


def test_evaluation_scenes_are_not_training_scenes() -> None:
    crops, labels, groups = draw_crops(CONFIG.seed, 2, 3)
    assert labels.shape == (len(crops), 6)
    assert set(groups.tolist()) == {0, 1}
    other, _, _ = draw_crops(CONFIG.seed, 2, 3, "another namespace")
    assert any(not np.array_equal(one, two) for one, two in zip(crops, other, strict=False))


def test_what_is_exported_can_be_loaded_and_has_moved(tmp_path: Path) -> None:
    weights = train(CONFIG, str(tmp_path))
    net = backbones.load(str(weights), device="cpu")
    start = backbones.load(str(tmp_path / "start"), device="cpu")
    assert net.model.embeddings.cls_token.dtype == torch.float32
    assert not torch.equal(net.model.encoder.layer[0].mlp.fc1.weight, start.model.encoder.layer[0].mlp.fc1.weight)
    assert json.loads((weights / "training.json").read_text())["step"] == 2
    assert (weights / "model.safetensors").stat().st_size < 2 * 2**20


def test_shipped_weights_name_their_training() -> None:
    facts = json.loads((backbones.POCKET / "training.json").read_text())
    assert facts["identity"]["num_images"] > 1000
    if facts["last"]["feature_std"] < 0.5:
        pytest.fail("the shipped backbone gives every image much the same vector")


def test_shipped_weights_beat_pixels_and_untrained_ones() -> None:
    """Few scenes, so the bounds are half of what the card states; without them no variant of the demo would say
    anything."""
    found = evaluate("pocket", seed=11, num_scenes=32, frames_per_scene=12)
    macro = {name: scores["macro"] for name, scores in found.items()}
    untrained = [value for name, value in macro.items() if name.startswith("random")]
    assert len(untrained) == 3
    assert macro["pocket"] > macro["pixels"] + 0.025
    assert macro["pocket"] > max(untrained) + 0.05
    assert min(untrained) > found["pocket"]["prior"]  # the probe itself works on any of them
    assert f"pocket      {macro['pocket']:.3f}  {macro['pocket']:.3f}" in table([found])
