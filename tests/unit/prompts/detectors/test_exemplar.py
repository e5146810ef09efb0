"""Detection by exemplar: synthetic sheep detected from one example, and networks in the released formats."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sheep.crop.geometry import bounds
from sheep.errors import ConfigError
from sheep.models import dinov2
from sheep.prompts.detectors import SampledFrame, exemplar
from sheep.synthetic.scene import SceneConfig, draw_scene, render
from tests.unit.prompts.detectors.boxes import iou_of

Images = NDArray[np.uint8]


pytestmark = pytest.mark.usefixtures("one_thread")


def meadow(seed: int) -> tuple[Images, NDArray[np.bool_]]:
    """Render a frame with one sheep, and its mask."""
    config = SceneConfig(
        height_px=96, width_px=128, num_frames=1, num_others=(0, 0), prop_prob=0, focal_length_frac=(0.35, 0.4)
    )
    frame = next(render(draw_scene(config, np.random.default_rng(seed))))
    return frame.image, frame.ids == 1


def test_one_exemplar_detects_a_sheep_in_other_scenes() -> None:
    model = dinov2.load("pocket", device="cpu")
    known = exemplar.learn(model, *meadow(0), image_px=64)
    reached = []
    for seed in range(1, 5):
        image, mask = meadow(seed)
        found = exemplar.find(model, known, [SampledFrame(seed, image)], 1, image_px=64)
        box = bounds(mask)
        assert box is not None
        reached.append(iou_of(found[0].box, box) if found else 0.0)
        assert all(one.frame == seed and 0 <= one.score <= 1 for one in found)
    assert np.median(reached) > 0.5, reached


def test_similarity_is_high_on_the_exemplar_itself_and_low_next_to_it() -> None:
    model = dinov2.load("pocket", device="cpu")
    image, mask = meadow(0)
    known = exemplar.learn(model, image, mask, image_px=64)
    heat = exemplar.similarity(model, known, image, image_px=64)
    assert heat.shape == (144, 192)
    rows = np.linspace(0, mask.shape[0] - 1, heat.shape[0]).round().astype(int)
    columns = np.linspace(0, mask.shape[1] - 1, heat.shape[1]).round().astype(int)
    there = mask[rows][:, columns]
    assert heat[there].mean() > 0.6
    assert heat[~there].mean() < 0.2


@pytest.mark.parametrize("kind", ["Dinov2", "Dinov2WithRegisters"])
def test_released_formats_are_loaded(kind: str, tmp_path: Path) -> None:
    import transformers

    fields = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 6, "patch_size": 14, "image_size": 518}
    config = getattr(transformers, f"{kind}Config")(**fields)
    getattr(transformers, f"{kind}Model")(config).save_pretrained(tmp_path)
    model = dinov2.load(str(tmp_path), device="cpu")
    image, mask = meadow(0)
    known = exemplar.learn(model, image, mask, image_px=98)
    assert known.direction.shape == (48,)
    exemplar.find(model, known, [SampledFrame(0, image)], 2, image_px=98)


def test_an_exemplar_without_an_animal_or_without_background_is_refused() -> None:
    model = dinov2.random(0)
    image, mask = meadow(0)
    with pytest.raises(ConfigError, match="the mask at the prompt is empty, expected an animal"):
        exemplar.learn(model, image, np.zeros_like(mask), image_px=64)
    with pytest.raises(ConfigError, match="and 0 beside it, expected some of both"):
        exemplar.learn(model, image, np.ones_like(mask), image_px=64)
