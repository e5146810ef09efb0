"""Animals found without a click: blocks that move on a still ground, and what must not be taken for one."""

import numpy as np
import pytest
from numpy.typing import NDArray

from sheep.prompts.detectors import Proposal, Still, motion, thin
from sheep.prompts.detectors.frames import choose, overlaps, shrink

HEIGHT, WIDTH = 96, 128
Images = NDArray[np.uint8]


def ground(seed: int = 0, width: int = WIDTH) -> NDArray[np.float64]:
    """Soft patches of light, so that a background has outlines of its own."""
    rng = np.random.default_rng(seed)
    return np.kron(rng.uniform(80, 110, (12, width // 8, 3)), np.ones((8, 8, 1)))


def video(*paths: list[tuple[int, int]], seed: int = 0) -> list[Still]:
    """Frames with one white block of 24 x 16 px per path, its top left corner at (x, y) in each frame."""
    rng = np.random.default_rng(seed)
    stills = []
    for frame in range(len(paths[0]) if paths else 12):
        image = ground()
        for path in paths:
            x, y = path[frame]
            image[y : y + 16, x : x + 24] = 220
        noisy = np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)
        stills.append(Still(10 * frame, noisy))
    return stills


def walk(y: int, start: int = 2, step: int = 8, count: int = 12) -> list[tuple[int, int]]:
    return [(start + step * number, y) for number in range(count)]


def iou(found: Proposal, x: int, y: int) -> float:
    return float(overlaps(found.box, np.array([[x, y, x + 24, y + 16]], float))[0])


def test_one_that_walks_is_boxed_where_it_is() -> None:
    path = walk(40)
    (found,) = motion.find(video(path), 1)
    assert iou(found, *path[found.frame // 10]) > 0.8
    assert found.score > 0.8
    assert found.reason == ""


def test_two_that_walk_are_told_apart_on_one_frame() -> None:
    paths = walk(10), walk(70, start=100, step=-8)
    found = sorted(motion.find(video(*paths), 2), key=lambda one: one.box[1])
    assert len(found) == 2
    assert found[0].frame == found[1].frame
    assert [iou(one, *path[one.frame // 10]) > 0.7 for one, path in zip(found, paths, strict=True)] == [True, True]
    assert min(one.score for one in found) > 0.7


def test_where_two_walk_and_one_is_meant_nobody_can_know_which() -> None:
    (found,) = motion.find(video(walk(10), walk(70, start=100, step=-8)), 1)
    assert found.score < 0.5
    assert found.reason == "others are as clear: say which one"


def test_nothing_moves() -> None:
    assert motion.find(video(), 1) == []
    assert motion.find(video([(50, 40)] * 12), 1) == []


def test_a_place_that_was_left_is_not_taken_for_an_animal() -> None:
    """It lies for most of the video and is part of the background; what stands out there later is its absence."""
    path = [(20, 40)] * 8 + [(90, 60)] * 4
    (found,) = motion.find(video(path), 1)
    assert found.frame >= 80
    assert iou(found, 90, 60) > 0.8


def test_a_moving_camera_scores_low() -> None:
    wide = np.clip(ground(width=256) * 1.2 + np.random.default_rng(1).normal(0, 25, (96, 256, 1)), 0, 255)
    stills = [Still(frame, wide[:, 9 * frame : 9 * frame + WIDTH].astype(np.uint8)) for frame in range(12)]
    found = motion.find(stills, 1)
    assert found == [] or (found[0].score < 0.2 and found[0].reason == "the camera moves")


def test_changing_light_is_not_motion() -> None:
    stills = [
        Still(frame, np.clip(still.image * (1 + 0.08 * np.sin(frame)), 0, 255).astype(np.uint8))
        for frame, still in enumerate(video())
    ]
    assert motion.find(stills, 1) == []


def test_boxes_are_in_pixels_of_the_frame_given() -> None:
    path = walk(40)
    large = [Still(still.frame, np.kron(still.image, np.ones((5, 5, 1), np.uint8))) for still in video(path)]
    (found,) = motion.find(large, 1)
    x, y = path[found.frame // 10]
    truth = np.array([[5 * x, 5 * y, 5 * (x + 24), 5 * (y + 16)]], float)
    assert overlaps(found.box, truth)[0] > 0.8


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_frames_show_no_motion(count: int) -> None:
    assert motion.find(video(walk(40))[:count], 1) == []


@pytest.mark.parametrize(
    ("total", "wanted", "kept"),
    [(0, 3, []), (2, 3, [0, 1]), (3, 3, [0, 1, 2]), (6, 3, [0, 2, 4]), (100, 3, [0, 64, 96]), (5, 1, [0])],
)
def test_frames_are_thinned_as_they_come(total: int, wanted: int, kept: list[int]) -> None:
    image = np.zeros((1, 1, 3), np.uint8)
    assert [one.frame for one in thin((Still(index, image) for index in range(total)), wanted)] == kept


def test_shrinking_keeps_the_aspect_and_small_images() -> None:
    assert shrink(np.zeros((100, 300, 3), np.uint8), 150).shape == (50, 150, 3)
    assert shrink(np.zeros((100, 140, 3), np.uint8), 150).shape == (100, 140, 3)


def one(frame: int, score: float) -> Proposal:
    return Proposal(frame=frame, box=(0, 0, 1, 1), score=score)


def test_an_early_frame_wins_over_one_that_is_hardly_better() -> None:
    assert choose([[one(0, 0.2)], [one(1, 0.8)], [one(2, 0.9)]], 1) == [one(1, 0.8)]
    assert choose([[], []], 1) == []


def test_a_frame_that_shows_all_wins_and_an_equal_rival_lowers_the_score() -> None:
    found = choose([[one(0, 1.0)], [one(1, 0.5), one(1, 0.4)]], 2)
    assert [(found_one.frame, found_one.score) for found_one in found] == [(1, 0.5), (1, 0.4)]
    (found_one,) = choose([[one(0, 0.5), one(0, 0.5)]], 1)
    assert found_one.score == 0.2
