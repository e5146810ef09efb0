"""The streaming tracker against sam2's own, its memory, and what it refuses."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sam2.sam2_video_predictor as official
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf
from safetensors.torch import save_file
from sam2.build_sam import build_sam2_video_predictor

from sheep import masks, predictor
from sheep.errors import ConfigError, ContractError
from sheep.tables import Prompt

YAML = Path(masks.__file__).parent / "weights" / "pocket_sam2" / "pocket_sam2.yaml"
NUM_FRAMES = 40


def box(animal: str, *xy: float, frame: int = 0) -> Prompt:
    return Prompt(video="v", animal=animal, frame=frame, kind="box", xy=xy)


def point(animal: str, *xy: float, frame: int = 0) -> Prompt:
    return Prompt(video="v", animal=animal, frame=frame, kind="point", xy=xy)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model() -> predictor.StreamingPredictor:
    """Random weights, large enough that memory, pointers and positions matter (sam2's own start near zero)."""
    net = predictor.build(YAML)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if weight.ndim > 1:
                weight.normal_(0, 1.2 / weight[0].numel() ** 0.5, generator=generator)
            elif "gamma" in name:
                weight.fill_(0.5)
        net.maskmem_tpos_enc.normal_(0, 1, generator=generator)
        net.no_obj_ptr.normal_(0, 1, generator=generator)
        net.no_obj_embed_spatial.normal_(0, 1, generator=generator)
        head = net.sam_mask_decoder.pred_obj_score_head.layers[-1]  # there in frame 0, then there and gone by turns
        head.weight.neg_()
        head.bias.fill_(0.01)
    return net.eval()


@pytest.fixture(scope="module")
def frames() -> list[NDArray[np.uint8]]:
    """A bright block that wanders over noise, 40 x 56."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 120, (NUM_FRAMES, 40, 56, 3)).astype(np.uint8)
    for t, image in enumerate(images):
        image[10 + t // 4 : 22 + t // 4, 5 + t // 2 : 20 + t // 2] += 100
    return list(images)


def genuine(model: predictor.StreamingPredictor) -> official.SAM2VideoPredictor:
    """The same network in sam2's own class: none of our methods."""
    twin: Any = copy.deepcopy(model)
    twin.__class__ = official.SAM2VideoPredictor
    return twin


def track_officially(
    model: predictor.StreamingPredictor,
    frames: list[NDArray[np.uint8]],
    prompts: list[Prompt],
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[list[NDArray[np.bool_]], list[list[float]]]:
    """Masks (A, H, W) and object scores per frame by init_state and propagate_in_video, every frame and output held."""
    model = genuine(model)
    images = torch.stack([masks.prepare(image, model.image_size) for image in frames])
    monkeypatch.setattr(official, "load_video_frames", lambda **_: (images, *frames[0].shape[:2]))
    state = model.init_state("in memory")
    for number, prompt in enumerate(prompts):
        xy = np.asarray(prompt.xy, np.float32)
        given: dict[str, Any] = (
            {"box": xy} if prompt.kind == "box" else {"points": xy[None], "labels": np.ones(1, np.int32)}
        )
        model.add_new_points_or_box(state, 0, number, **given)
    found, scores = [], []
    for t, _, logits in model.propagate_in_video(state):
        found.append((logits[:, 0] > 0).numpy())
        outputs = [state["output_dict_per_obj"][number] for number in range(len(prompts))]
        out = [o["cond_frame_outputs"].get(t) or o["non_cond_frame_outputs"][t] for o in outputs]
        scores.append([o["object_score_logits"].item() for o in out])
    return found, scores


@pytest.mark.parametrize(
    "prompts", [[point("a", 12, 15)], [box("a", 5, 10, 20, 22)], [box("a", 5, 10, 20, 22), point("b", 40, 30)]], ids=str
)
def test_equals_the_official_predictor_bit_by_bit(
    model: predictor.StreamingPredictor,
    frames: list[NDArray[np.uint8]],
    prompts: list[Prompt],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected, expected_scores = track_officially(model, frames, prompts, monkeypatch)
    got = list(masks.Tracker(model).track(enumerate(frames), prompts))
    assert len({scores[0] for scores in expected_scores}) == NUM_FRAMES  # the case has power: every frame differs
    assert sum(mask.any() and not mask.all() for mask in expected) > NUM_FRAMES / 2
    for t, row in enumerate(got):
        assert [(m.animal, m.frame) for m in row] == [(p.animal, t) for p in prompts]
        assert [m.object_score for m in row] == expected_scores[t]
        assert np.array_equal(np.stack([m.mask for m in row]), expected[t])


@pytest.mark.parametrize("lost", ["memory", "pointer"])
def test_one_entry_fewer_would_show(
    model: predictor.StreamingPredictor, frames: list[NDArray[np.uint8]], lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [box("a", 5, 10, 20, 22)]
    exact = [row[0].object_score for row in masks.Tracker(model).track(enumerate(frames[:15]), prompts)]
    prune = type(model).prune

    def drop_more(self: predictor.StreamingPredictor, state: dict[str, Any], index: int) -> None:
        prune(self, state, index)
        kept = state["output_dict_per_obj"][0]["non_cond_frame_outputs"]
        kept.pop(index + 1 - (self.num_maskmem - 1 if lost == "memory" else self.max_obj_ptrs_in_encoder - 1), None)

    monkeypatch.setattr(type(model), "prune", drop_more)
    short = [row[0].object_score for row in masks.Tracker(model).track(enumerate(frames[:15]), prompts)]
    first = next(t for t, pair in enumerate(zip(exact, short, strict=True)) if pair[0] != pair[1])
    assert first == (model.num_maskmem if lost == "memory" else model.max_obj_ptrs_in_encoder)


def test_held_outputs_stay_bounded(
    model: predictor.StreamingPredictor, frames: list[NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[tuple[int, ...]] = []
    prune = type(model).prune

    def watch(self: predictor.StreamingPredictor, state: dict[str, Any], index: int) -> None:
        prune(self, state, index)
        outputs = state["output_dict_per_obj"][0]
        kept = outputs["non_cond_frame_outputs"].values()
        parts = [sum(out[part] is not None for out in kept) for part in ("maskmem_features", "pred_masks")]
        held.append((len(outputs["cond_frame_outputs"]), len(kept), *parts, len(state["frames_tracked_per_obj"][0])))

    monkeypatch.setattr(type(model), "prune", watch)
    for _ in masks.Tracker(model).track(enumerate(frames), [point("a", 12, 15)]):
        pass
    full = (1, model.max_obj_ptrs_in_encoder - 1, model.num_maskmem, 1, 1)
    assert held[15:] == [full] * (NUM_FRAMES - 15)


def test_frames_are_pulled_one_at_a_time(model: predictor.StreamingPredictor, frames: list[NDArray[np.uint8]]) -> None:
    pulled = 0

    def endless() -> Iterator[tuple[int, NDArray[np.uint8]]]:
        nonlocal pulled
        while True:
            pulled += 1
            yield pulled - 1, frames[pulled % NUM_FRAMES]

    steps = masks.Tracker(model).track(endless(), [point("a", 12, 15)])
    for expected in (1, 2, 3):
        next(steps)
        assert pulled == expected


def test_later_prompt_starts_there_and_numbers_are_the_videos(
    model: predictor.StreamingPredictor, frames: list[NDArray[np.uint8]]
) -> None:
    numbered = [(10 + 3 * t, image) for t, image in enumerate(frames[:14])]
    both = list(
        masks.Tracker(model).track(numbered, [box("late", 5, 10, 20, 22, frame=25), point("early", 40, 30, frame=10)])
    )
    alone = list(masks.Tracker(model).track(numbered[5:], [box("late", 5, 10, 20, 22, frame=25)]))
    assert [[m.animal for m in row] for row in both] == [["early"]] * 5 + [["late", "early"]] * 9
    assert [row[0].object_score for row in both[5:]] == [row[0].object_score for row in alone]
    assert [row[0].frame for row in both] == [number for number, _ in numbered]


def test_state_has_what_init_state_builds(
    model: predictor.StreamingPredictor, frames: list[NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.stack([masks.prepare(frames[0], model.image_size)])
    monkeypatch.setattr(official, "load_video_frames", lambda **_: (images, 40, 56))
    assert model.init_stream(predictor.FrameWindow(), 40, 56).keys() == genuine(model).init_state("in memory").keys()


def test_image_is_scaled_and_normalised_as_sam2_does() -> None:
    image = np.full((6, 4, 3), (255, 0, 127), np.uint8)
    red, green, blue = masks.prepare(image, 8)[:, 5, 2].tolist()
    assert (red, green, blue) == pytest.approx(
        ((1 - 0.485) / 0.229, -0.456 / 0.224, (127 / 255 - 0.406) / 0.225), abs=1e-5
    )


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        ([], "got none"),
        ([point("a", 1, 1), point("a", 2, 2)], "more than one point"),
        ([point("a", 57, 1)], "inside 56 x 40 px"),
        ([box("a", 5, 5, 5, 9)], "x0 < x1"),
        ([point("a", 1, 1, frame=1)], "frame 1 is not among"),
        ([point("a", 1, 1), point("b", 1, 1, frame=9)], "frame 9 is not among"),
    ],
    ids=str,
)
def test_prompts_that_cannot_be_followed(
    model: predictor.StreamingPredictor, frames: list[NDArray[np.uint8]], prompts: list[Prompt], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        list(masks.Tracker(model).track([(0, frames[0]), (2, frames[1])], prompts))


def test_frames_out_of_order_or_size(model: predictor.StreamingPredictor, frames: list[NDArray[np.uint8]]) -> None:
    tracker, prompts = masks.Tracker(model), [point("a", 1, 1)]
    with pytest.raises(ContractError, match="frame 0 follows 0"):
        list(tracker.track([(0, frames[0]), (0, frames[1])], prompts))
    with pytest.raises(ContractError, match="uint8"):
        list(tracker.track([(0, frames[0]), (1, frames[1][:20])], prompts))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the real architecture and format, with random weights."""
    path = tmp_path_factory.mktemp("real") / "sam2.1_hiera_tiny.pt"
    net = build_sam2_video_predictor("configs/sam2.1/sam2.1_hiera_t.yaml", None, device="cpu")
    torch.save({"model": {name: value.half() for name, value in net.state_dict().items()}}, path)
    return path


def test_real_checkpoint_loads_through_sam2s_own_yaml(real: Path) -> None:
    model = masks.load(str(real), device="cpu").model
    assert isinstance(model, predictor.StreamingPredictor)
    assert not model.training
    assert (model.image_size, model.fill_hole_area, model.binarize_mask_from_pts_for_mem_enc) == (1024, 0, True)
    saved = torch.load(real, weights_only=True)["model"]
    assert all(torch.equal(value, saved[name].float()) for name, value in model.state_dict().items())


def test_real_checkpoint_under_another_ones_name_is_refused(real: Path) -> None:
    other = real.with_name("sam2.1_hiera_small.pt")
    other.hardlink_to(real)
    with pytest.raises(ConfigError, match=r"do not fit configs/sam2\.1/sam2\.1_hiera_s\.yaml"):
        masks.load(str(other), device="cpu")


def test_folder_takes_sam2s_switches_unless_its_yaml_differs(
    model: predictor.StreamingPredictor, tmp_path: Path
) -> None:
    loaded = OmegaConf.load(YAML)
    del loaded.model["binarize_mask_from_pts_for_mem_enc"]
    OmegaConf.save(loaded, tmp_path / "mine.yaml")
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    built = masks.load(str(tmp_path), device="cpu").model
    assert built.binarize_mask_from_pts_for_mem_enc
    assert not built.sam_mask_decoder.dynamic_multimask_via_stability
    assert torch.equal(built.maskmem_tpos_enc, model.maskmem_tpos_enc)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("facebook/sam2.1-hiera-huge", "neither a folder, nor a known name"),
        ("nowhere/sam2.1_hiera_tiny.pt", "no file at"),
        ("pockets", "known name"),
    ],
)
def test_unknown_names(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        masks.load(name)


def test_folders_that_cannot_be_loaded(model: predictor.StreamingPredictor, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected one \*\.yaml"):
        masks.load(str(tmp_path))
    (tmp_path / "net.yaml").write_text(YAML.read_text())
    with pytest.raises(ConfigError, match=r"or model\.safetensors"):
        masks.load(str(tmp_path))
    torch.save({"weights": {}}, tmp_path / "net.pt")
    with pytest.raises(ConfigError, match="under the key `model`"):
        masks.load(str(tmp_path))
    state = {name: value for name, value in model.state_dict().items() if name != "no_obj_ptr"}
    torch.save({"model": state}, tmp_path / "net.pt")
    with pytest.raises(ConfigError, match="no_obj_ptr"):
        masks.load(str(tmp_path))
    (tmp_path / "net.pt").write_bytes(b"not weights")
    with pytest.raises(ConfigError, match="not readable"):
        masks.load(str(tmp_path))


def test_yaml_runs_no_other_code(tmp_path: Path) -> None:
    (tmp_path / "net.yaml").write_text(
        "model:\n  _target_: sam2.modeling.sam2_base.SAM2Base\n  image_encoder: {_target_: sam2.build_sam.os.system, command: 'true'}\n"
    )
    with pytest.raises(ConfigError, match=r"os\.system"):
        predictor.build(tmp_path / "net.yaml")
