"""The streaming tracker equals sam2's own predictor bitwise on CPU; its states stay small and can be resumed."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sheep.errors import ContractError
from sheep.models.sam2 import tracker as sam2_tracker
from sheep.models.sam2.predictor import StreamingPredictor
from sheep.models.sam2.tracker import Mask, Tracker
from sheep.schemas import Prompt
from tests.unit.models.sam2.sam2_example import (
    NUM_FRAMES,
    Frames,
    box,
    follow,
    outline,
    point,
    random_hiera,
    random_pocket,
    same,
    track_officially,
    wandering,
)

CORRECTED = [
    point("a", 12, 15),
    box("a", 8, 12, 22, 24, frame=5),
    *(point("a", 15 + t, 16, frame=t) for t in (6, 7, 8, 9)),  # more prompted frames in a row than are attended to
    outline("a", 10, 12, 25, 24, frame=15),
]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def pocket() -> StreamingPredictor:
    return random_pocket()


@pytest.fixture(scope="module")
def frames() -> Frames:
    return wandering()


@pytest.mark.parametrize(
    "prompts",
    [
        [point("a", 12, 15)],
        [outline("a", 5, 10, 20, 22)],
        [outline("a", 5, 10, 20, 22), point("a", 12, 15)],
        CORRECTED,
        [box("a", 5, 10, 20, 22), point("b", 40, 30), point("a", 14, 16, frame=9), box("c", 8, 12, 22, 24, frame=9)],
    ],
    ids=["point", "mask", "mask and point", "corrections", "three animals"],
)
def test_equals_the_official_predictor_bitwise(
    pocket: StreamingPredictor, frames: Frames, prompts: list[Prompt]
) -> None:
    expected = track_officially(pocket, frames, prompts)
    scores = [one.object_score for one in expected]
    assert len(prompts) > 1 or min(scores) < 0 < max(scores)  # so that the comparison includes absence
    assert len(set(scores)) > len(scores) / 2
    assert sum(one.logits.std() > 0 for one in expected) > len(expected) / 4
    assert any(one.mask.any() and not one.mask.all() for one in expected)
    assert same(follow(Tracker(pocket), frames, prompts), expected)


def test_equals_it_with_the_options_of_the_released_models(tmp_path: Path, frames: Frames) -> None:
    """Seven memories, 16 pointers, one of three candidate masks, and corrections."""
    net = random_hiera(tmp_path)
    prompts = [CORRECTED[0], CORRECTED[1], CORRECTED[-1]]
    assert net.num_maskmem == 7
    assert net.multimask_output_in_sam
    expected = track_officially(net, frames, prompts)
    assert same(follow(Tracker(net), frames, prompts), expected)
    assert len({one.object_score for one in expected}) == NUM_FRAMES


@pytest.fixture(scope="module")
def exact(pocket: StreamingPredictor, frames: Frames) -> list[Mask]:
    return follow(Tracker(pocket), frames, CORRECTED)


@pytest.mark.parametrize("lost", ["memory", "pointer", "all but one memory", "prompt"])
def test_one_memory_fewer_changes_the_masks(
    pocket: StreamingPredictor, frames: Frames, exact: list[Mask], lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prune = type(pocket).prune

    def drop_more(self: StreamingPredictor, state: dict[str, Any], index: int) -> None:
        prune(self, state, index)
        outputs = state["output_dict_per_obj"][0]
        kept, prompted = outputs["non_cond_frame_outputs"], outputs["cond_frame_outputs"]
        if lost == "all but one memory":
            for t in [t for t in kept if t < index]:
                kept[t]["maskmem_features"] = None
                del kept[t]
        elif lost == "prompt" and len(prompted) > self.max_cond_frames_in_attn:
            del prompted[min(prompted)]
        else:
            kept.pop(index + 1 - (self.num_maskmem - 1 if lost == "memory" else self.max_obj_ptrs_in_encoder - 1), None)

    monkeypatch.setattr(type(pocket), "prune", drop_more)
    short = follow(Tracker(pocket), frames, CORRECTED)
    assert [mask.object_score for mask in exact] != [mask.object_score for mask in short]


def test_prefetching_changes_nothing(pocket: StreamingPredictor, frames: Frames, exact: list[Mask]) -> None:
    whole = [mask for row in Tracker(pocket).track(enumerate(frames), CORRECTED) for mask in row]
    assert [mask.object_score for mask in whole] == [mask.object_score for mask in exact]
    assert all(np.array_equal(a.mask, b.mask) for a, b in zip(whole, exact, strict=True))


@pytest.mark.parametrize("at", [1, 9, 16])
def test_a_restored_state_continues_bitwise(
    pocket: StreamingPredictor, frames: Frames, exact: list[Mask], at: int
) -> None:
    first = Tracker(pocket).start([prompt for prompt in CORRECTED if prompt.frame < at])  # later ones were added later
    for number in range(at):
        first.step(number, frames[number])
    second = Tracker(pocket).restore(first.save(), CORRECTED, logits=True)
    assert second.last_frame == at - 1
    rest = [mask for number in range(at, NUM_FRAMES) for mask in second.step(number, frames[number])]
    for got, expected in zip(rest, exact[at:], strict=True):
        assert (got.object_score, got.predicted_iou) == (expected.object_score, expected.predicted_iou)
        assert got.logits is not None
        assert expected.logits is not None
        assert np.array_equal(got.logits, expected.logits)


def test_animals_stay_independent_across_a_restore(pocket: StreamingPredictor, frames: Frames) -> None:
    prompts = [point("late", 40, 30, frame=3), point("early", 12, 15), point("latest", 20, 20, frame=7)]
    first = Tracker(pocket).start(prompts)
    for number in range(5):
        first.step(number, frames[number])
    second = Tracker(pocket).restore(first.save(), prompts)
    rest = [second.step(number, frames[number]) for number in range(5, 9)]
    assert [[mask.animal for mask in row] for row in rest] == [["late", "early"]] * 2 + [
        ["late", "early", "latest"]
    ] * 2
    alone = follow(Tracker(pocket), frames[:9], prompts[1:2])
    assert [row[1].object_score for row in rest] == [mask.object_score for mask in alone[5:]]


CONTINUE = """
import sys, torch, numpy as np
from sheep.models.sam2 import tracker as masks
from tests.unit.models.sam2.sam2_example import point, wandering
torch.set_num_threads(1)
tracking = masks.load("pocket", device="cpu").restore(sys.stdin.buffer.read(), [point("a", 12, 15)], logits=True)
rows = [tracking.step(t, image)[0].logits for t, image in enumerate(wandering()) if t >= 12]
sys.stdout.buffer.write(np.stack(rows).tobytes())
"""


def test_a_state_continues_in_another_process(frames: Frames) -> None:
    tracker = sam2_tracker.load("pocket", device="cpu")
    tracking = tracker.start([point("a", 12, 15)])
    for number in range(12):
        tracking.step(number, frames[number])
    command = [sys.executable, "-c", CONTINUE]
    root = Path(sam2_tracker.__file__).parents[3]
    done = subprocess.run(command, input=tracking.save(), capture_output=True, cwd=root, timeout=120, check=True)
    expected = [mask.logits for mask in follow(tracker, frames, [point("a", 12, 15)])[12:]]
    assert done.stdout == np.stack([logits for logits in expected if logits is not None]).tobytes()


def test_the_state_does_not_grow_with_frames_and_corrections(pocket: StreamingPredictor) -> None:
    images = wandering(64)
    prompts = [point("a", 12, 15, frame=t) for t in range(0, 64, 4)]
    tracking, sizes = Tracker(pocket).start(prompts), {}
    for number, image in enumerate(images):
        tracking.step(number, image)
        sizes[number + 1] = len(tracking.save())
    assert sizes[64] == pytest.approx(sizes[32], rel=0.01)


def test_the_same_state_gives_the_same_bytes(pocket: StreamingPredictor, frames: Frames) -> None:
    tracking = Tracker(pocket).start([point("a", 12, 15), point("b", 40, 30)])
    tracking.step(0, frames[0])
    data = tracking.save()
    assert data == tracking.save()
    again = Tracker(pocket).restore(data, [point("a", 12, 15), point("b", 40, 30)])
    assert again.save() == data


def test_a_state_of_other_prompts_network_or_precision_is_refused(pocket: StreamingPredictor, frames: Frames) -> None:
    tracking = Tracker(pocket).start([point("a", 12, 15), point("a", 14, 16, frame=2)])
    for number in range(3):
        tracking.step(number, frames[number])
    data = tracking.save()
    with pytest.raises(ContractError, match="other prompts"):
        Tracker(pocket).restore(data, [point("a", 12, 15), point("a", 14, 17, frame=2)])
    with pytest.raises(ContractError, match="other prompts"):
        Tracker(pocket).restore(data, [point("a", 12, 15)])
    with pytest.raises(ContractError, match="other network"):
        sam2_tracker.load("pocket", device="cpu").restore(data, [point("a", 12, 15), point("a", 14, 16, frame=2)])
    with pytest.raises(ContractError, match="other precision"):
        Tracker(pocket, precision="bfloat16").restore(data, [point("a", 12, 15), point("a", 14, 16, frame=2)])
    for damaged in (b"", data[: len(data) // 2], b"\x80\x04pickle"):
        with pytest.raises(ContractError, match="not readable"):
            Tracker(pocket).restore(damaged, [point("a", 12, 15)])
