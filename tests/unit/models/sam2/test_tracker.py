"""The streaming tracker: its output for each frame, and what it refuses. More is in test_tracker_equal.py."""

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from sheep.errors import ConfigError, ContractError
from sheep.models.sam2.predictor import StreamingPredictor
from sheep.models.sam2.tracker import Encoded, Tracker
from sheep.schemas import Prompt
from tests.unit.models.sam2.sam2_example import NUM_FRAMES, Frames, box, outline, point, random_pocket, wandering

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model() -> StreamingPredictor:
    return random_pocket()


@pytest.fixture(scope="module")
def frames() -> Frames:
    return wandering()


def test_one_frame_is_prefetched(model: StreamingPredictor, frames: Frames) -> None:
    pulled = 0

    def endless() -> Iterator[tuple[int, NDArray[np.uint8]]]:
        nonlocal pulled
        while True:
            pulled += 1
            yield pulled - 1, frames[pulled % NUM_FRAMES]

    steps = Tracker(model).track(endless(), [point("a", 12, 15)])
    for tracked in (1, 2, 3):
        next(steps)
        deadline = time.monotonic() + 30
        while pulled < tracked + 1:  # the encoding thread takes the next one
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(0.02)
        assert pulled == tracked + 1


def test_an_error_of_the_decoder_is_passed_on(model: StreamingPredictor, frames: Frames) -> None:
    def broken() -> Iterator[tuple[int, NDArray[np.uint8]]]:
        yield 0, frames[0]
        raise OSError("gone")

    steps = Tracker(model).track(broken(), [point("a", 12, 15)])
    with pytest.raises(OSError, match="gone"):
        list(steps)


def test_a_later_prompt_starts_at_its_frame_and_numbers_are_those_of_the_video(
    model: StreamingPredictor, frames: Frames
) -> None:
    numbered = [(10 + 3 * t, image) for t, image in enumerate(frames[:14])]
    both = list(
        Tracker(model).track(numbered, [box("late", 5, 10, 20, 22, frame=25), point("early", 40, 30, frame=10)])
    )
    alone = list(Tracker(model).track(numbered[5:], [box("late", 5, 10, 20, 22, frame=25)]))
    assert [[m.animal for m in row] for row in both] == [["early"]] * 5 + [["late", "early"]] * 9
    assert [row[0].object_score for row in both[5:]] == [row[0].object_score for row in alone]
    assert [row[0].frame for row in both] == [number for number, _ in numbered]


def test_every_mask_has_sam2s_estimate_of_its_iou(model: StreamingPredictor, frames: Frames) -> None:
    tracking = Tracker(model).start([point("a", 12, 15), outline("b", 5, 10, 20, 22)])
    rows = [tracking.step(number, image) for number, image in enumerate(frames[:3])]
    assert rows[0][1].predicted_iou == 1.0  # a mask given as prompt is used unchanged
    estimates = [mask.predicted_iou for row in rows for mask in row]
    assert all(0 <= value <= 1 for value in estimates)
    assert len(set(estimates)) == len(estimates)
    assert rows[0][0].logits is None


def test_a_correction_takes_effect_from_its_frame(model: StreamingPredictor, frames: Frames) -> None:
    start, later = point("a", 12, 15), outline("a", 30, 5, 50, 20, frame=4)
    plain = [row[0] for row in Tracker(model).track(enumerate(frames[:7]), [start])]
    corrected = [row[0] for row in Tracker(model).track(enumerate(frames[:7]), [later, start])]
    assert [m.object_score for m in plain[:4]] == [m.object_score for m in corrected[:4]]
    given = np.zeros((40, 56), bool)
    given[5:20, 30:50] = True
    mask = corrected[4].mask
    assert (mask & given).sum() / (mask | given).sum() > 0.75  # through 48 x 48 logits
    assert all(a.object_score != b.object_score for a, b in zip(plain[4:], corrected[4:], strict=True))


def test_encoded_images_give_the_same_masks_as_images(model: StreamingPredictor, frames: Frames) -> None:
    tracker = Tracker(model)
    encoded = tracker.encode(frames[0])
    assert isinstance(encoded, Encoded)
    one, other = tracker.start([point("a", 12, 15)]), tracker.start([point("a", 12, 15)])
    assert one.step(0, encoded)[0].object_score == other.step(0, frames[0])[0].object_score


@pytest.mark.parametrize("size", [(1, 1), (7, 13), (300, 2)])
def test_any_size_of_image_gives_masks_of_that_size(model: StreamingPredictor, size: tuple[int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 255, (2, *size, 3)).astype(np.uint8)
    rows = list(Tracker(model).track(enumerate(images), [point("a", 0.5, 0.5)]))
    assert [row[0].mask.shape for row in rows] == [size, size]


EMPTY = replace(outline("a", 0, 0, 0, 0), xy=(0, 0, 0, 0))


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([], "got none"),
        ([point("a", 1, 1), point("a", 2, 2)], "more than one point"),
        ([point("a", 57, 1)], "inside 56 x 40 px"),
        ([box("a", 5, 5, 5, 9)], "x0 < x1"),
        ([EMPTY], "the mask is empty"),
        ([outline("a", 1, 1, 5, 5, size=(20, 56))], r"mask of \(20, 56\), expected one of \(40, 56\)"),
        ([replace(outline("a", 1, 1, 5, 5), size_px=(0, 0))], "run lengths"),
        ([point("a", 1, 1, frame=1)], "frame 1 is not among"),
        ([point("a", 1, 1), point("b", 1, 1, frame=9)], "frame 9 is not among"),
        ([point("a", 1, 1), box("a", 1, 1, 5, 5, frame=1)], "frame 1 is not among"),
    ],
    ids=str,
)
def test_prompts_that_cannot_be_tracked_are_refused(
    model: StreamingPredictor, frames: Frames, prompts: list[Prompt], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        list(Tracker(model).track([(0, frames[0]), (2, frames[1])], prompts))


def test_frames_out_of_order_or_of_another_size_or_type_are_refused(model: StreamingPredictor, frames: Frames) -> None:
    tracker, prompts = Tracker(model), [point("a", 1, 1)]
    with pytest.raises(ContractError, match=r"frame 0 of .* follows 0"):
        list(tracker.track([(0, frames[0]), (0, frames[1])], prompts))
    with pytest.raises(ContractError, match="one size"):
        list(tracker.track([(0, frames[0]), (1, frames[1][:20])], prompts))
    with pytest.raises(ContractError, match="expected uint8"):
        tracker.start(prompts).step(0, frames[0].astype(np.float32))
