"""The pocket SAM-2: training resumes, prompts match their targets, the shipped weights use prompts and memory."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from sheep.errors import ConfigError
from sheep.synthetic.pocket.sam2 import PocketSam2Config, StageConfig, train
from sheep.synthetic.pocket.sam2_data import Scenes, replace_frames, sample_clip, sample_prompts
from sheep.synthetic.pocket.sam2_score import by_colour, evaluate, table
from sheep.synthetic.scene import SceneConfig

TINY = PocketSam2Config(
    num_scenes=2,
    scene=SceneConfig(height_px=64, width_px=64, num_frames=4, num_others=(1, 2)),
    stages=(
        StageConfig(num_frames=1, batch_size=2, num_steps=3, image_px=64),
        StageConfig(num_frames=2, batch_size=1, num_steps=2, image_px=96),
    ),
    num_eval_videos=1,
    num_eval_frames=2,
)


def test_a_resumed_training_writes_the_bytes_of_an_uninterrupted_one(tmp_path: Path) -> None:
    first = dataclasses.replace(TINY, stages=TINY.stages[:1])
    train(TINY, str(tmp_path / "whole"))
    train(first, str(tmp_path / "parts"))
    train(TINY, str(tmp_path / "parts"), resume=True)
    whole, parts = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts


def test_resume_without_an_earlier_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no resume\.pt, expected one from an earlier run"):
        train(TINY, str(tmp_path), resume=True)


def test_augmentation_keeps_image_and_ids_aligned() -> None:
    """Colours change, but ids come from the same window as the image."""
    ids = np.zeros((1, 2, 64, 64), np.uint8)
    ids[..., 16:48, 16:48] = 1
    images = np.where(ids[..., None] == 1, np.uint8(200), np.uint8(40)).repeat(3, -1)
    scenes = Scenes(images=images, ids=ids)
    for seed in range(12):
        pixels, plane = sample_clip(scenes, 2, 64, np.random.default_rng(seed))
        inside, outside = (pixels[0].mean(0)[plane[0] == value] for value in (1, 0))
        if len(inside) and len(outside):  # both stay flat colours, except for the resized edges
            assert inside.median() == pytest.approx(float(inside.mean()), abs=0.3)
            assert outside.median() == pytest.approx(float(outside.mean()), abs=0.3)


def test_of_several_clips_the_one_in_which_animals_touch_is_used() -> None:
    """Ten scenes of two squares that touch in the last only: 12 draws hit it in 1 - .9 ** 12 = 72 %, one in 10 %."""
    ids = np.zeros((10, 2, 64, 64), np.uint8)
    ids[:, :, 16:48, 8:24], ids[:, :, 16:48, 40:56] = 1, 2
    ids[-1, :, 16:48, 24:40] = 2
    scenes = Scenes(images=ids[..., None].repeat(3, -1) * np.uint8(60), ids=ids)

    def touching(seed: int, num_tries: int) -> bool:
        _, planes = sample_clip(scenes, 2, 64, np.random.default_rng(seed), num_tries=num_tries)
        left, right = planes[:, :, :-1].int(), planes[:, :, 1:].int()
        return bool((left * right == 2).any())

    assert sum(touching(seed, 1) for seed in range(60)) < 15
    assert sum(touching(seed, 12) for seed in range(60)) > 30


def test_prompts_of_one_image_are_for_different_animals() -> None:
    ids = torch.zeros(64, 64, dtype=torch.uint8)
    ids[:20, :20], ids[40:60, 40:60] = 1, 2
    for seed in range(5):
        prompts = sample_prompts(ids, ["box", "two"], np.random.default_rng(seed))
        assert sorted(prompts.targets.tolist()) == [1, 2]
        x, y = prompts.coords[1, 0].round().long().clamp(0, 63).tolist()  # the click of `two` is on its animal
        assert ids[y, x] == prompts.targets[1]
    nothing = sample_prompts(torch.zeros(64, 64, dtype=torch.uint8), ["box"], np.random.default_rng(0))
    assert nothing.targets.tolist() == [0]


def test_replaced_frames_have_no_target_and_are_never_the_first() -> None:
    clip, other = ((torch.full((6, 3, 8, 8), value), torch.ones(6, 8, 8, dtype=torch.uint8)) for value in (0.0, 1.0))
    for seed in range(8):
        images, ids = replace_frames(clip, other, np.random.default_rng(seed))
        replaced = images[:, 0, 0, 0] == 1
        assert not replaced[0]
        assert replaced.any()
        assert torch.equal(ids[:, 0, 0] == 0, replaced)
    assert not clip[0].any(), "the clip itself is not changed"


def test_tracking_by_colour_stays_on_the_prompted_animal() -> None:
    """Two equal squares: colour segments both, and the overlap with the frame before selects the prompted one."""
    images = np.full((3, 40, 40, 3), 50, np.uint8)
    for frame in range(3):
        images[frame, 5:15, 5 + frame : 15 + frame] = 220
        images[frame, 25:35, 20:30] = 220
    first = np.zeros((40, 40), bool)
    first[5:15, 5:15] = True
    masks = by_colour(list(images), first)
    for frame in range(3):
        expected = np.zeros((40, 40), bool)
        expected[5:15, 5 + frame : 15 + frame] = True
        assert np.array_equal(masks[frame], expected)


@pytest.fixture(scope="module")
def shipped() -> dict[str, float]:
    # Long enough that a copy of the first mask no longer fits: within 24 frames most animals do not move.
    return evaluate("pocket", num_videos=8, num_frames=45, seed=11, thorough=True)


def test_shipped_weights_use_their_prompt(shipped: dict[str, float]) -> None:
    """An earlier network returned the same mask for the animal's box and for a click on the grass."""
    assert shipped["box_frame0"] > shipped["ellipse_frame0"] + 0.1
    assert shipped["box"] > 0.6
    assert shipped["point"] > 0.5
    assert shipped["other"] > 0.6
    assert shipped["ground"] < 0.2
    assert shipped["switched"] < 0.1


def test_shipped_weights_use_their_memory(shipped: dict[str, float]) -> None:
    assert shipped["box"] > shipped["no_memory"] + 0.2
    assert shipped["box_late"] > shipped["copy_late"] + 0.15
    assert shipped["back"] > 0.6


def test_the_table_has_every_measure(shipped: dict[str, float]) -> None:
    text = table(shipped)
    for name in ("box", "point", "other", "ground", "no_memory", "back", "copy", "colour", "switched", "gone_right"):
        assert f"{shipped[name]:.3f}" in text, name
