"""Rendered scenes: bytes depend on the seed, masks match the pixels, occlusion follows the depth order."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sheep.errors import ConfigError
from sheep.synthetic.animal import make_skin
from sheep.synthetic.behaviour import LABELS
from sheep.synthetic.canvas import Canvas
from sheep.synthetic.pasture import shifted
from sheep.synthetic.scene import Scene, SceneConfig, SceneFrame, draw_coat, draw_scene, render

TINY = SceneConfig(height_px=48, width_px=64, num_frames=6)
STILL = replace(
    TINY, num_others=(0, 0), prop_prob=0.0, jitter_px=0.0, flicker_frac=0.0, cloud_frac=0.0, noise_sd=(0, 0)
)


def scene_of(config: SceneConfig, seed: int) -> Scene:
    return draw_scene(config, np.random.default_rng(seed))


def first(scene: Scene) -> SceneFrame:
    return next(iter(render(scene)))


def alone(scene: Scene) -> Scene:
    """Return the same scene with only the focal animal in it."""
    return replace(scene, actors=scene.actors[:1], props=())


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    runs = [list(render(scene_of(TINY, seed))) for seed in (3, 3, 4)]
    for left, right in zip(runs[0], runs[1], strict=True):
        assert left.image.tobytes() == right.image.tobytes()
        assert left.ids.tobytes() == right.ids.tobytes()
        assert left.labels.tobytes() == right.labels.tobytes()
    assert runs[0][0].image.tobytes() != runs[2][0].image.tobytes()


def test_frames_have_the_documented_shapes_and_types() -> None:
    frames = list(render(scene_of(replace(TINY, num_others=(3, 3)), 0)))
    assert len(frames) == 6
    for frame in frames:
        assert frame.image.shape == (48, 64, 3)
        assert frame.image.dtype == np.uint8
        assert frame.ids.shape == (48, 64)
        assert frame.ids.dtype == np.uint8
        assert frame.ids.max() <= 4
        assert frame.labels.shape == (len(LABELS),)
        assert frame.labels.dtype == np.uint8
    assert frames[0].image.std() > 10


def test_the_focal_animal_is_visible_in_frame_0_and_never_occluded_for_long() -> None:
    crowded = replace(TINY, num_frames=15, fps_hz=0.75, num_others=(2, 3), prop_prob=1.0)  # 20 s in few frames
    for seed in range(20):
        scene = scene_of(crowded, seed)
        seen = [np.count_nonzero(frame.ids == 1) for frame in render(scene)]
        whole = [np.count_nonzero(frame.ids == 1) for frame in render(alone(scene))]
        share = np.array(seen) / np.array(whole)
        assert share[0] >= 0.3, seed
        assert np.mean(share < 0.1) <= 0.1, seed


def test_masks_have_a_plausible_size() -> None:
    areas = [np.mean(first(scene_of(TINY, seed)).ids == 1) for seed in range(40)]
    assert 0.02 < np.median(areas) < 0.1
    assert min(areas) > 0.005
    assert max(areas) < 0.2


def test_the_mask_is_where_the_animal_changes_the_image() -> None:
    scene = scene_of(STILL, 5)
    dark = replace(scene.actors[0].coat, wool=(0.0, 0.0, 0.0), face=(0.0, 0.0, 0.0))
    painted = first(
        replace(scene, actors=(replace(scene.actors[0], coat=dark, skin=replace(scene.actors[0].skin, patch=None)),))
    )
    mask = painted.ids == 1
    assert painted.image[mask].max() < 150
    assert np.median(painted.image[mask]) == 0
    assert np.median(painted.image[~mask]) > 40


def test_the_nearer_animal_occludes_the_farther_one() -> None:
    scene = scene_of(STILL, 5)
    focal = scene.actors[0]
    nearer, farther = (replace(focal, y=focal.y + shift) for shift in (0.5, -0.5))
    hidden = first(replace(scene, actors=(focal, nearer)))
    shown = first(replace(scene, actors=(focal, farther)))
    assert np.count_nonzero(hidden.ids == 1) < 0.2 * np.count_nonzero(hidden.ids == 2)
    assert np.count_nonzero(shown.ids == 1) == np.count_nonzero(first(scene).ids == 1)


def test_a_given_coat_is_used_with_the_same_texture() -> None:
    coat = draw_coat(np.random.default_rng(9))
    scenes = [draw_scene(TINY, np.random.default_rng(seed), coat=coat) for seed in (1, 2)]
    assert [scene.actors[0].coat for scene in scenes] == [coat, coat]
    np.testing.assert_array_equal(scenes[0].actors[0].skin.tone, scenes[1].actors[0].skin.tone)


def test_animals_move_only_while_they_walk() -> None:
    for seed in range(10):
        focal = scene_of(replace(STILL, num_frames=80), seed).actors[0]
        step_px = np.hypot(np.diff(focal.x), np.diff(focal.y)) / focal.unit_px[1:]
        moving = focal.behaviour.labels[1:, LABELS.index("moving")].astype(bool)
        if moving.any():
            assert step_px[moving].min() > 0.03
        assert (step_px[focal.behaviour.speed[1:] == 0] == 0).all()


def test_lying_is_lower_than_standing() -> None:
    scene = scene_of(STILL, 5)
    focal = scene.actors[0]
    heights = []
    for upright in (0.0, 1.0):
        pose = replace(focal.behaviour, upright=np.full(6, upright), neck=np.zeros(6))
        heights.append(np.ptp(np.nonzero(first(replace(scene, actors=(replace(focal, behaviour=pose),))).ids == 1)[0]))
    assert heights[0] < 0.75 * heights[1]


def test_a_shift_interpolates_between_pixels() -> None:
    plane = np.arange(5, dtype=np.float32)[None, None, :] + 10 * np.arange(4, dtype=np.float32)[None, :, None]
    np.testing.assert_allclose(shifted(plane, 0.5, 1.25, (2, 3))[0], [[6.25, 7.25, 8.25], [16.25, 17.25, 18.25]])


def test_a_shift_of_a_tenth_of_a_pixel_moves_an_edge_by_a_tenth() -> None:
    sums = []
    for shift in (0.0, 0.1):
        canvas = Canvas(np.zeros((3, 20, 20), np.float32))
        canvas.segment((10.0 + shift, 5.0), (10.0 + shift, 15.0), (3.0, 3.0), (200.0, 200.0, 200.0), light=0.0)
        columns = np.arange(20) * canvas.cover
        sums.append(columns.sum() / canvas.cover.sum())
    assert sums[1] - sums[0] == pytest.approx(0.1, abs=0.01)


def test_shapes_partly_or_fully_outside_the_frame_are_clipped() -> None:
    canvas = Canvas(np.zeros((3, 20, 20), np.float32))
    canvas.segment((-30.0, 5.0), (-20.0, 5.0), (3.0, 3.0), (9.0, 9.0, 9.0))
    canvas.shade((90.0, 5.0), (4.0, 4.0), 0.5)
    assert not canvas.cover.any()
    canvas.segment((-2.0, 10.0), (25.0, 10.0), (3.0, 3.0), (9.0, 9.0, 9.0))
    assert canvas.cover[10].min() == 1


@pytest.mark.parametrize(
    "change",
    [
        {"height_px": 8},
        {"width_px": 31},
        {"num_frames": 0},
        {"fps_hz": 0.0},
        {"num_others": (2, 1)},
        {"standing_frac": 0.95},
        {"focal_length_frac": (0.4, 0.2)},
        {"other_species": (0.0, 0.0, 0.0)},
        {"prop_prob": 1.1},
        {"jitter_px": 2.5},
        {"flicker_frac": 0.3},
        {"cloud_frac": 1.0},
        {"noise_sd": (3.0, 1.0)},
    ],
)
def test_bad_settings_are_refused_by_name(change: dict[str, Any]) -> None:
    [(name, value)] = change.items()
    with pytest.raises(ConfigError, match=re.escape(f"scene.{name}: got {value}, expected")):
        replace(TINY, **change)


def test_an_unknown_species_is_refused() -> None:
    with pytest.raises(ConfigError, match="species: got 'goat', expected sheep, cow or dog"):
        draw_coat(np.random.default_rng(0), "goat")


def test_equal_coats_have_equal_textures() -> None:
    coats = [draw_coat(np.random.default_rng(seed), "cow") for seed in (4, 4, 5)]
    tones = [make_skin(coat).tone.tobytes() for coat in coats]
    assert tones[0] == tones[1]
    assert tones[0] != tones[2]
