"""Small SAM-2s with random weights that react to input, moving frames, and sam2's own predictor as the reference."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import sam2
import sam2.sam2_video_predictor as official
import torch
from numpy.typing import NDArray
from omegaconf import OmegaConf
from pycocotools import mask as coco

from sheep.models.sam2 import loading, predictor
from sheep.models.sam2.predictor import StreamingPredictor
from sheep.models.sam2.tracker import Mask, Tracker
from sheep.schemas import Prompt

YAML = Path(predictor.__file__).parents[2] / "weights" / "pocket_sam2" / "pocket_sam2.yaml"
Frames = list[NDArray[np.uint8]]
NUM_FRAMES = 20


def point(animal: str, *xy: float, frame: int = 0) -> Prompt:
    return Prompt(video="v", animal=animal, frame=frame, kind="point", xy=xy)


def box(animal: str, *xy: float, frame: int = 0) -> Prompt:
    return Prompt(video="v", animal=animal, frame=frame, kind="box", xy=xy)


def outline(
    animal: str, x0: int, y0: int, x1: int, y1: int, *, frame: int = 0, size: tuple[int, int] = (40, 56)
) -> Prompt:
    """A mask prompt that fills a rectangle."""
    mask = np.zeros(size, np.uint8, order="F")
    mask[y0:y1, x0:x1] = 1
    counts = coco.encode(mask)["counts"]
    return Prompt(video="v", animal=animal, frame=frame, kind="mask", xy=(x0, y0, x1, y1), mask=counts, size_px=size)


def wandering(num_frames: int = NUM_FRAMES) -> Frames:
    """Return frames of 40 x 56 px: a bright block that moves over noise and is absent from frames 10 to 12."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 120, (num_frames, 40, 56, 3)).astype(np.uint8)
    for t, image in enumerate(images):
        if not 10 <= t < 13:
            image[10 + t // 4 % 16 :, 5 + t // 2 % 30 :][:12, :15] += 100
    return list(images)


def random_pocket() -> StreamingPredictor:
    return enlivened(YAML, seed=4)


def random_hiera(folder: Path) -> StreamingPredictor:
    """SAM-2.1's tiny architecture with its options, 7 memories and 16 pointers, but narrow and at 128 px."""
    config = OmegaConf.load(Path(sam2.__file__).parent / "configs" / "sam2.1" / "sam2.1_hiera_t.yaml")
    model = config.model
    model.image_size = 128
    model.image_encoder.trunk.update({"embed_dim": 24, "stages": [1, 1, 3, 1], "global_att_blocks": [3]})
    model.image_encoder.neck.backbone_channel_list = [192, 96, 48, 24]
    model.memory_attention.num_layers = 2
    for attention in ("self_attention", "cross_attention"):
        model.memory_attention.layer[attention].feat_sizes = [8, 8]
    OmegaConf.save(config, folder / "hiera.yaml")
    return enlivened(folder / "hiera.yaml", seed=0)


def enlivened(yaml: Path, seed: int) -> StreamingPredictor:
    """Random weights, large enough that memory, pointers and positions matter (sam2 initialises near zero)."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = loading.build(yaml)
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
    net.fill_hole_area = 0
    net.eval()
    scores = [mask.object_score for mask in follow(Tracker(net), wandering(), [point("a", 12, 15)])]
    with torch.no_grad():  # so that the animal is present in some frames and absent from others
        net.sam_mask_decoder.pred_obj_score_head.layers[-1].bias -= float(np.quantile(scores, 0.15))
    return net


def follow(tracker: Tracker, frames: Frames, prompts: Sequence[Prompt]) -> list[Mask]:
    """Return masks with logits, frame by frame, animals in order."""
    tracking = tracker.start(prompts, logits=True)
    return [mask for number, image in enumerate(frames) for mask in tracking.step(number, image)]


@dataclass
class Expected:
    """sam2's own output for one animal in one frame."""

    logits: NDArray[np.float32]
    mask: NDArray[np.bool_]
    object_score: float


def genuine(model: StreamingPredictor) -> official.SAM2VideoPredictor:
    """Return the same network in sam2's own class, without any of our methods but with our options."""
    twin: Any = copy.deepcopy(model)
    twin.__class__ = official.SAM2VideoPredictor
    assert twin.add_all_frames_to_correct_as_cond
    return twin


@contextmanager
def in_memory(model: Any, frames: Frames) -> Iterator[None]:
    """Make `init_state` load these frames, prepared as for the tracker."""
    images = torch.stack([predictor.prepare(image, model.image_size) for image in frames])
    with patch.object(official, "load_video_frames", lambda **_: (images.to(model.device), *frames[0].shape[:2])):
        yield


def track_officially(model: StreamingPredictor, frames: Frames, prompts: Sequence[Prompt]) -> list[Expected]:
    """Track as sam2's users do: propagate to a prompt's frame, add it, propagate further. All animals in one state."""
    twin = genuine(model)
    with in_memory(twin, frames):
        state = twin.init_state("in memory")
    animals = list(dict.fromkeys(prompt.animal for prompt in prompts))
    stops = sorted({prompt.frame for prompt in prompts})
    found: dict[int, list[Expected]] = {}
    for start, stop in zip(stops, [*stops[1:], len(frames)], strict=True):
        for prompt in prompts:
            if prompt.frame == start:
                add(twin, state, prompt, animals.index(prompt.animal))
        for t, _, logits in twin.propagate_in_video(state, start, stop - start):
            found[t] = [_expected(state, t, row, logits) for row in range(len(logits))]
    return [expected for t in sorted(found) for expected in found[t]]


def add(twin: Any, state: Any, prompt: Prompt, number: int) -> None:
    xy = np.asarray(prompt.xy, np.float32)
    if prompt.kind == "mask":
        mask = coco.decode({"counts": prompt.mask, "size": list(prompt.size_px)}).astype(bool)
        twin.add_new_mask(state, prompt.frame, number, mask)
    elif prompt.kind == "box":
        twin.add_new_points_or_box(state, prompt.frame, number, box=xy)
    else:
        twin.add_new_points_or_box(state, prompt.frame, number, xy[None], np.ones(1, np.int32))


def _expected(state: Any, t: int, row: int, logits: torch.Tensor) -> Expected:
    outputs = state["output_dict_per_obj"][row]
    out = outputs["cond_frame_outputs"].get(t) or outputs["non_cond_frame_outputs"][t]
    return Expected(
        logits=out["pred_masks"][0, 0].cpu().numpy(),
        mask=(logits[row, 0] > 0).cpu().numpy(),
        object_score=out["object_score_logits"].item(),
    )


def same(got: Sequence[Mask], expected: Sequence[Expected]) -> bool:
    """Whether logits, masks and scores are bitwise equal."""
    assert len(got) == len(expected)
    return all(
        mask.logits is not None
        and np.array_equal(mask.logits, expected.logits)
        and np.array_equal(mask.mask, expected.mask)
        and mask.object_score == expected.object_score
        for mask, expected in zip(got, expected, strict=True)
    )
