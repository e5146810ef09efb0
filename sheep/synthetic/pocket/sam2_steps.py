"""One training step of the pocket SAM-2: predictions for a batch of images or clips, and their losses.

Source: Ravi et al., SAM 2 (2024), appendix D: focal and dice loss on masks (20 : 1), predicted IoU, object score. Ours:
a single mask per prompt, prompts in frame 0 only, half weight on IoU and score.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sheep.models.sam2.predictor import StreamingPredictor
from sheep.synthetic.pocket.sam2_data import (
    MIN_SEEN_PX,
    PromptKind,
    Prompts,
    Scenes,
    replace_frames,
    sample_clip,
    sample_prompts,
)

_IMAGE_KINDS: tuple[tuple[PromptKind, ...], ...] = (("box", "box", "two"), ("point", "point", "ground"))
"""Prompts of an image; those of one row have the same number of points."""
_CLIP_KINDS: tuple[tuple[PromptKind, ...], ...] = (("box", "box"), ("point", "point"), ("point", "ground"))
"""Prompts of a clip; one row is sampled."""
_CLIP_KIND_PROBS = (0.45, 0.3, 0.25)
_ABSENT_PROB = 0.12
"""Chance of a clip that shows another scene for a while."""
_NUM_FRAMES_TOTAL = 1000
"""Length of the video announced to sam2, so that it scales the age of object pointers as it does in tracking."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchSize:
    """Number and length of the clips or images of a step."""

    num_frames: int
    """Frames per clip; 1 for images."""
    batch_size: int
    """Clips or images."""
    num_tries: int
    """Clips sampled for each one used, see `sample_clip`."""


def image_step(
    model: StreamingPredictor, scenes: Scenes, batch: BatchSize, rng: np.random.Generator
) -> dict[str, Tensor]:
    """Encode each image once and decode several prompts on it, without memory.

    Args:
        model: in training mode.
        scenes: training scenes.
        batch: its size; one frame per clip.
        rng: source of randomness.

    Returns:
        Scalar terms of the loss by name, `loss` among them, see `_losses`.
    """
    clips = [sample_clip(scenes, 1, model.image_size, rng) for _ in range(batch.batch_size)]
    ids = torch.stack([clip[1][0] for clip in clips])
    features = model.forward_image(torch.stack([clip[0][0] for clip in clips]))["backbone_fpn"]
    terms: list[dict[str, Tensor]] = []
    for kinds in _IMAGE_KINDS:
        prompts = [sample_prompts(plane, list(kinds), rng) for plane in ids]
        owner = torch.arange(len(clips)).repeat_interleave(len(kinds))
        points, targets = _join(prompts), torch.cat([prompt.targets for prompt in prompts])
        sparse, dense = model.sam_prompt_encoder(points=points, boxes=None, masks=None)
        levels = [feature[owner] for feature in features]
        top = levels[-1] + model.no_mem_embed[0, 0, :, None, None]  # as sam2 does in a frame with a prompt
        logits, ious, _, scores = model.sam_mask_decoder(
            image_embeddings=top,
            image_pe=model.sam_prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
            repeat_image=False,
            high_res_features=levels[:-1],
        )
        terms.append(_losses(logits, ious, scores, ids[owner], targets))
    return {name: (terms[0][name] + terms[1][name]) / 2 for name in terms[0]}


def clip_step(
    model: StreamingPredictor, scenes: Scenes, batch: BatchSize, rng: np.random.Generator
) -> dict[str, Tensor]:
    """Prompt two targets in frame 0 of each clip and track them; the memory holds the model's own predictions.

    Args:
        model: in training mode.
        scenes: training scenes.
        batch: its size.
        rng: source of randomness.

    Returns:
        Scalar terms of the loss by name, `loss` among them, averaged over frames.
    """
    frames, size = batch.num_frames, model.image_size
    clips = [sample_clip(scenes, frames, size, rng, num_tries=batch.num_tries) for _ in range(batch.batch_size)]
    for index in np.flatnonzero(rng.random(len(clips)) < _ABSENT_PROB):
        clips[index] = replace_frames(clips[index], sample_clip(scenes, frames, size, rng), rng)
    kinds = list(_CLIP_KINDS[int(rng.choice(3, p=_CLIP_KIND_PROBS))])
    prompts = [sample_prompts(clip[1][0], kinds, rng) for clip in clips]
    points, targets = _join(prompts), torch.cat([prompt.targets for prompt in prompts])
    encoded = model.forward_image(torch.cat([clip[0] for clip in clips]))
    features, positions = encoded["backbone_fpn"], [position[:1] for position in encoded["vision_pos_enc"]]
    owner = torch.arange(len(clips)).repeat_interleave(len(kinds))
    where = [position.expand(len(owner), -1, -1, -1).flatten(2).permute(2, 0, 1) for position in positions]
    outputs: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    terms: list[dict[str, Tensor]] = []
    with _decoder_outputs(model) as decoded:
        for t in range(frames):
            levels = [feature[owner * frames + t] for feature in features]
            vision = [level.flatten(2).permute(2, 0, 1) for level in levels]
            sizes = [(level.shape[-2], level.shape[-1]) for level in levels]
            given = {"point_coords": points[0], "point_labels": points[1]} if t == 0 else None
            # sam2's public step drops the object score in training, so its two halves are called here.
            out, heads, _, _ = model._track_step(
                t, t == 0, vision, where, sizes, given, None, outputs, _NUM_FRAMES_TOTAL, False, None
            )
            out["obj_ptr"] = heads[5]
            model._encode_memory_in_output(vision, sizes, given, True, heads[4], heads[6], out)
            outputs["cond_frame_outputs" if t == 0 else "non_cond_frame_outputs"][t] = out
            logits, ious, _, scores = decoded[-1]
            ids = torch.stack([clip[1][t] for clip in clips])[owner]
            terms.append(_losses(logits, ious, scores, ids, targets))
    return {name: torch.stack([term[name] for term in terms]).mean() for name in terms[0]}


@contextmanager
def _decoder_outputs(model: StreamingPredictor) -> Iterator[list[Any]]:
    """Collect the raw outputs of the mask decoder: SAM2Base overwrites the logits of absent animals by a constant."""
    outputs: list[Any] = []
    handle = model.sam_mask_decoder.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()


def _join(prompts: list[Prompts]) -> tuple[Tensor, Tensor]:
    return torch.cat([prompt.coords for prompt in prompts]), torch.cat([prompt.labels for prompt in prompts])


def _losses(logits: Tensor, ious: Tensor, scores: Tensor, ids: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Compare P predictions with their targets.

    Args:
        logits: (P, 1, s, s) mask logits at stride 4; compared at stride 2 with the animal's share of each cell.
        ious: (P, 1) predicted IoU.
        scores: (P, 1) object score.
        ids: (P, S, S) ground truth.
        targets: (P,) the animal asked for, 0 for none.

    Returns:
        `focal`, `dice`, `iou` and `score`, their weighted sum `loss`, and two measures without gradient: `j`, the mean
        IoU, and `right`, the share of correct object scores. Masks count where the animal is visible, scores
        everywhere.
    """
    truth = ((ids == targets[:, None, None]) & (targets[:, None, None] > 0)).float()
    seen = (truth.sum((1, 2)) >= MIN_SEEN_PX).float()
    truth = F.avg_pool2d(truth[:, None], 2)
    logits = F.interpolate(logits.float(), size=truth.shape[-2:], mode="bilinear", align_corners=False)
    guess = torch.sigmoid(logits)
    focal = (
        F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        * (truth - guess) ** 2
        * (0.25 * truth + 0.75 * (1 - truth))
    )
    dice = 1 - (2 * (guess * truth).sum((1, 2, 3)) + 1) / ((guess + truth).sum((1, 2, 3)) + 1)
    with torch.no_grad():
        on, should = logits > 0, truth > 0.5
        iou = (on & should).sum((1, 2, 3)) / (on | should).sum((1, 2, 3)).clamp(min=1)
    count = seen.sum().clamp(min=1)
    values = {
        "focal": (focal.mean((1, 2, 3)) * seen).sum() / count,
        "dice": (dice * seen).sum() / count,
        "iou": ((ious[:, 0] - iou).abs() * seen).sum() / count,
        "score": F.binary_cross_entropy_with_logits(scores[:, 0].float(), seen),
    }
    values["loss"] = 20 * values["focal"] + values["dice"] + 0.5 * values["iou"] + 0.5 * values["score"]
    return values | {"j": (iou * seen).sum() / count, "right": ((scores[:, 0] > 0) == (seen > 0)).float().mean()}
