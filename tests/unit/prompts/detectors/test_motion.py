"""Detection by motion: blocks that move over a static background, and what must not be detected as an animal."""

import numpy as np
import pytest
from numpy.typing import NDArray

from sheep.prompts.detectors import Detection, SampledFrame, motion, sample
from sheep.prompts.detectors.frames import best_frame, shrink
from tests.unit.prompts.detectors.boxes import iou_of

HEIGHT, WIDTH = 96, 128
Images = NDArray[np.uint8]


def background(seed: int = 0, width: int = WIDTH) -> NDArray[np.floating]:
    """Return a background of patches of low contrast, so that it has edges too."""
    rng = np.random.default_rng(seed)
    return np.kron(rng.uniform(80, 110, (12, width // 8, 3)), np.ones((8, 8, 1)))


def video(*paths: list[tuple[int, int]], seed: int = 0) -> list[SampledFrame]:
    """Return frames with one white block of 24 x 16 px per path, whose top left corner is at (x, y) in each frame."""
    rng = np.random.default_rng(seed)
    frames = []
    for index in range(len(paths[0]) if paths else 12):
        image = background()
        for path in paths:
            x, y = path[index]
            image[y : y + 16, x : x + 24] = 220
        noisy = np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)
        frames.append(SampledFrame(10 * index, noisy))
    return frames


def walk(y: int, start: int = 2, step: int = 8, count: int = 12) -> list[tuple[int, int]]:
    return [(start + step * number, y) for number in range(count)]


def iou(detection: Detection, x: int, y: int) -> float:
    return iou_of(detection.box, (x, y, x + 24, y + 16))


def test_a_walking_animal_is_boxed() -> None:
    path = walk(40)
    (detection,) = motion.find(video(path), 1)
    assert iou(detection, *path[detection.frame // 10]) > 0.8
    assert detection.score > 0.8
    assert detection.reason == ""


def test_two_walking_animals_are_separated_on_one_frame() -> None:
    paths = walk(10), walk(70, start=100, step=-8)
    detections = sorted(motion.find(video(*paths), 2), key=lambda one: one.box[1])
    assert len(detections) == 2
    assert detections[0].frame == detections[1].frame
    assert [iou(one, *path[one.frame // 10]) > 0.7 for one, path in zip(detections, paths, strict=True)] == [True, True]
    assert min(one.score for one in detections) > 0.7


def test_one_of_two_walking_animals_gets_a_low_score() -> None:
    (detection,) = motion.find(video(walk(10), walk(70, start=100, step=-8)), 1)
    assert detection.score < 0.5
    assert detection.reason == "other animals are as clear: prompt the one to track"


def test_nothing_is_detected_where_nothing_moves() -> None:
    assert motion.find(video(), 1) == []
    assert motion.find(video([(50, 40)] * 12), 1) == []


def test_a_place_that_an_animal_left_is_not_detected() -> None:
    """The animal rests for most of the video, so it is part of the background, from which its later absence differs."""
    path = [(20, 40)] * 8 + [(90, 60)] * 4
    (detection,) = motion.find(video(path), 1)
    assert detection.frame >= 80
    assert iou(detection, 90, 60) > 0.8


def test_a_moving_camera_scores_low() -> None:
    wide = np.clip(background(width=256) * 1.2 + np.random.default_rng(1).normal(0, 25, (96, 256, 1)), 0, 255)
    frames = [SampledFrame(index, wide[:, 9 * index : 9 * index + WIDTH].astype(np.uint8)) for index in range(12)]
    detections = motion.find(frames, 1)
    assert detections == [] or (detections[0].score < 0.2 and detections[0].reason == "the camera moves")


def test_changing_light_is_not_motion() -> None:
    frames = [
        SampledFrame(index, np.clip(frame.image * (1 + 0.08 * np.sin(index)), 0, 255).astype(np.uint8))
        for index, frame in enumerate(video())
    ]
    assert motion.find(frames, 1) == []


def test_boxes_are_in_pixels_of_the_original_frame() -> None:
    path = walk(40)
    large = [SampledFrame(frame.index, np.kron(frame.image, np.ones((5, 5, 1), np.uint8))) for frame in video(path)]
    (detection,) = motion.find(large, 1)
    x, y = path[detection.frame // 10]
    assert iou_of(detection.box, (5 * x, 5 * y, 5 * (x + 24), 5 * (y + 16))) > 0.8


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_frames_show_no_motion(count: int) -> None:
    assert motion.find(video(walk(40))[:count], 1) == []


@pytest.mark.parametrize(
    ("total", "wanted", "kept"),
    [(0, 3, []), (2, 3, [0, 1]), (3, 3, [0, 1, 2]), (6, 3, [0, 2, 4]), (100, 3, [0, 64, 96]), (5, 1, [0])],
)
def test_frames_are_sampled_evenly_from_a_stream(total: int, wanted: int, kept: list[int]) -> None:
    image = np.zeros((1, 1, 3), np.uint8)
    assert [one.index for one in sample((SampledFrame(index, image) for index in range(total)), wanted)] == kept


def test_shrinking_keeps_the_aspect_and_small_images() -> None:
    assert shrink(np.zeros((100, 300, 3), np.uint8), 150).shape == (50, 150, 3)
    assert shrink(np.zeros((100, 140, 3), np.uint8), 150).shape == (100, 140, 3)


def one(frame: int, score: float) -> Detection:
    return Detection(frame=frame, box=(0, 0, 1, 1), score=score)


def test_an_early_frame_is_preferred_to_a_slightly_better_one() -> None:
    assert best_frame([[one(0, 0.2)], [one(1, 0.8)], [one(2, 0.9)]], 1) == [one(1, 0.8)]
    assert best_frame([[], []], 1) == []


def test_a_frame_with_all_animals_is_preferred_and_an_equal_rival_lowers_the_score() -> None:
    detections = best_frame([[one(0, 1.0)], [one(1, 0.5), one(1, 0.4)]], 2)
    assert [(detection.frame, detection.score) for detection in detections] == [(1, 0.5), (1, 0.4)]
    (found_one,) = best_frame([[one(0, 0.5), one(0, 0.5)]], 1)
    assert found_one.score == 0.2
