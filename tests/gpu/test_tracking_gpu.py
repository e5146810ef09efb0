"""The tracker on a CUDA device: equal to sam2's own predictor there, and close to it with bfloat16 or compilation."""

import numpy as np
import pytest

from sheep.models.sam2 import tracker as sam2_tracker
from sheep.models.sam2.tracker import Mask
from sheep.schemas import Prompt
from sheep.synthetic.scene import SceneConfig, draw_scene, render
from tests.unit.models.sam2.sam2_example import Frames, box, follow, same, track_officially, wandering

pytestmark = pytest.mark.gpu


def test_equals_the_official_predictor_on_the_same_device() -> None:
    """The same kernels run in the same order. A GPU on which sam2 itself is not deterministic fails this test."""
    tracker = sam2_tracker.load("pocket", device="cuda")
    prompts = [box("a", 5, 10, 20, 22), box("a", 8, 12, 24, 24, frame=9)]
    expected = track_officially(tracker.model, wandering(), prompts)
    assert same(expected=expected, got=follow(tracker, wandering(), prompts))


def test_a_restored_state_continues_on_the_device() -> None:
    tracker, frames, prompts = sam2_tracker.load("pocket", device="cuda"), wandering(), [box("a", 5, 10, 20, 22)]
    unbroken = follow(tracker, frames, prompts)
    tracking = tracker.start(prompts)
    for number in range(9):
        tracking.step(number, frames[number])
    restored = tracker.restore(tracking.save(), prompts)
    rest = [restored.step(number, frames[number])[0] for number in range(9, len(frames))]
    assert [mask.object_score for mask in rest] == [mask.object_score for mask in unbroken[9:]]


@pytest.mark.parametrize(("precision", "compiled"), [("bfloat16", False), ("float32", True)])
def test_precision_and_compilation_change_the_masks_little(
    precision: sam2_tracker.TrackerPrecision, compiled: bool
) -> None:
    frames, prompt = meadow()
    exact = follow(sam2_tracker.load("pocket", device="cuda"), frames, [prompt])
    other = follow(sam2_tracker.load("pocket", device="cuda", precision=precision, compiled=compiled), frames, [prompt])
    assert np.median(overlaps(exact, other)) > 0.9


def test_cpu_and_gpu_agree_up_to_rounding() -> None:
    frames, prompt = meadow()
    one, other = (follow(sam2_tracker.load("pocket", device=device), frames, [prompt]) for device in ("cpu", "cuda"))
    assert np.median(overlaps(one, other)) > 0.95


def meadow() -> tuple[Frames, Prompt]:
    drawn = list(render(draw_scene(SceneConfig(num_frames=20), np.random.default_rng(0))))
    rows, columns = np.nonzero(drawn[0].ids == 1)
    sides = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    return [frame.image for frame in drawn], box("a", *(float(side) for side in sides))


def overlaps(one: list[Mask], other: list[Mask]) -> list[float]:
    pairs = [(a.mask, b.mask) for a, b in zip(one, other, strict=True)]
    return [float((a & b).sum() / (a | b).sum()) if (a | b).any() else 1.0 for a, b in pairs]
