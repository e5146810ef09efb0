"""The networks of SAM-2: what a state holds, how an image is prepared, and which weights and YAML files load."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file
from sam2.build_sam import build_sam2_video_predictor

from sheep.errors import ConfigError
from sheep.models.sam2 import loading, predictor, tracker
from sheep.models.sam2.predictor import StreamingPredictor
from sheep.models.sam2.tracker import Tracker
from tests.unit.models.sam2.sam2_example import YAML, Frames, genuine, in_memory, point, random_pocket, wandering


@pytest.fixture(scope="module")
def model() -> StreamingPredictor:
    return random_pocket()


@pytest.fixture(scope="module")
def frames() -> Frames:
    return wandering()


def test_the_number_of_stored_outputs_is_bounded(
    model: StreamingPredictor, frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[tuple[int, ...]] = []
    prune = type(model).prune

    def watch(self: StreamingPredictor, state: dict[str, Any], index: int) -> None:
        prune(self, state, index)
        outputs = state["output_dict_per_obj"][0]
        kept = outputs["non_cond_frame_outputs"].values()
        parts = [sum(out[part] is not None for out in kept) for part in ("maskmem_features", "pred_masks")]
        held.append((len(outputs["cond_frame_outputs"]), len(kept), *parts, len(state["frames_tracked_per_obj"][0])))

    monkeypatch.setattr(type(model), "prune", watch)
    for _ in Tracker(model).track(enumerate(frames), [point("a", 12, 15)]):
        pass
    full = (1, model.max_obj_ptrs_in_encoder - 1, model.num_maskmem, 1, 1)
    assert held[15:] == [full] * (len(frames) - 15)


def test_state_has_what_init_state_builds(model: StreamingPredictor, frames: Frames) -> None:
    twin = genuine(model)
    with in_memory(twin, frames[:1]):
        assert model.init_stream(predictor.FrameWindow(), 40, 56).keys() == twin.init_state("in memory").keys()


def test_an_image_is_scaled_and_normalised_by_imagenets_statistics() -> None:
    image = np.full((6, 4, 3), (255, 0, 127), np.uint8)
    red, green, blue = predictor.prepare(image, 8)[:, 5, 2].tolist()
    assert (red, green, blue) == pytest.approx(
        ((1 - 0.485) / 0.229, -0.456 / 0.224, (127 / 255 - 0.406) / 0.225), abs=1e-5
    )


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a checkpoint of the released architecture and format, with random weights."""
    path = tmp_path_factory.mktemp("real") / "sam2.1_hiera_tiny.pt"
    net = build_sam2_video_predictor("configs/sam2.1/sam2.1_hiera_t.yaml", None, device="cpu")
    torch.save({"model": {name: value.half() for name, value in net.state_dict().items()}}, path)
    return path


def test_a_released_checkpoint_loads_through_sam2s_own_yaml(real: Path) -> None:
    model = tracker.load(str(real), device="cpu").model
    assert isinstance(model, predictor.StreamingPredictor)
    assert not model.training
    assert (model.image_size, model.fill_hole_area, model.binarize_mask_from_pts_for_mem_enc) == (1024, 0, True)
    saved = torch.load(real, weights_only=True)["model"]
    assert all(torch.equal(value, saved[name].float()) for name, value in model.state_dict().items())


def test_a_checkpoint_named_like_another_architecture_is_refused(real: Path) -> None:
    other = real.with_name("sam2.1_hiera_small.pt")
    other.hardlink_to(real)
    with pytest.raises(ConfigError, match=r"do not fit configs/sam2\.1/sam2\.1_hiera_s\.yaml"):
        tracker.load(str(other), device="cpu")


def test_a_folder_gets_sam2s_options_unless_its_yaml_overrides_them(
    model: predictor.StreamingPredictor, tmp_path: Path
) -> None:
    loaded = OmegaConf.load(YAML)
    del loaded.model["binarize_mask_from_pts_for_mem_enc"]
    OmegaConf.save(loaded, tmp_path / "mine.yaml")
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    built = tracker.load(str(tmp_path), device="cpu").model
    assert built.binarize_mask_from_pts_for_mem_enc
    assert not built.sam_mask_decoder.dynamic_multimask_via_stability
    assert torch.equal(built.maskmem_tpos_enc, model.maskmem_tpos_enc)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("facebook/sam2.1-hiera-huge", "neither a folder, nor a known name"),
        ("nowhere/sam2.1_hiera_tiny.pt", "no file at"),
        ("pockets", "known name"),
    ],
)
def test_unknown_names_are_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tracker.load(name)


def test_incomplete_folders_are_refused(model: predictor.StreamingPredictor, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected one \*\.yaml"):
        tracker.load(str(tmp_path))
    (tmp_path / "net.yaml").write_text(YAML.read_text())
    with pytest.raises(ConfigError, match=r"or model\.safetensors"):
        tracker.load(str(tmp_path))
    torch.save({"weights": {}}, tmp_path / "net.pt")
    with pytest.raises(ConfigError, match="under the key `model`"):
        tracker.load(str(tmp_path))
    state = {name: value for name, value in model.state_dict().items() if name != "no_obj_ptr"}
    torch.save({"model": state}, tmp_path / "net.pt")
    with pytest.raises(ConfigError, match="no_obj_ptr"):
        tracker.load(str(tmp_path))
    (tmp_path / "net.pt").write_bytes(b"not weights")
    with pytest.raises(ConfigError, match="not readable"):
        tracker.load(str(tmp_path))


def test_a_yaml_runs_no_other_code(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(
        "model:\n  _target_: sam2.modeling.sam2_base.SAM2Base\n  image_encoder: {_target_: sam2.build_sam.os.system, "
        "command: 'true'}\n"
    )
    with pytest.raises(ConfigError, match=r"os\.system"):
        loading.build(tmp_path / "net.yaml")
