"""Train the pocket SAM-2 on the meadow: images first, so that it learns to obey its prompt, then clips with memory.

Source: Ravi et al., SAM 2 (2024), appendix D: focal and dice on masks (20 : 1), the predicted IoU, the object score.
Ours: single masks only, prompts in frame 0 only, half weight on IoU and score. It starts on small inputs, where a step
is cheap, and ends on the size that is shipped.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from sheep.config import seed_for
from sheep.errors import ConfigError
from sheep.models.sam2.predictor import StreamingPredictor, build
from sheep.synthetic.pocket.sam2_data import (
    MIN_SEEN_PX,
    Prompts,
    Scenes,
    draw_clip,
    draw_cut,
    draw_prompts,
    draw_scenes,
)
from sheep.synthetic.pocket.sam2_score import evaluate
from sheep.synthetic.scene import SceneConfig

_log = logging.getLogger(__name__)

YAML = Path(__file__).parents[2] / "weights" / "pocket_sam2" / "pocket_sam2.yaml"
_IMAGE_KINDS = (("box", "box", "two"), ("point", "point", "ground"))
Report = Callable[[dict[str, Any]], None]
_LONG = 1000
"""Frames promised to sam2 in training, so that it scales the age of pointers as it does in tracking."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageConfig:
    """One part of the training: clips of one length."""

    num_frames: int
    """Frames per clip; 1 trains on images, without memory."""
    batch_size: int
    """Clips per step."""
    num_steps: int
    """Steps of the stage; the learning rate falls with them."""
    image_px: int = 192
    """Side of the network's input, a multiple of 32. Weights carry over: positions are interpolated."""
    num_tries: int = 1
    """Clips drawn for each one trained on, of which that in which animals touch most is taken (see `draw_clip`)."""
    lr_first: float = 1e-3
    """AdamW's learning rate at the start (after 100 warm-up steps)."""
    lr_last: float = 1e-5
    """Learning rate at the end; a cosine lies between."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PocketSam2Config:
    """Everything the pocket SAM-2's training depends on."""

    seed: int = 0
    """Seed of data, prompts and initial weights."""
    num_scenes: int = 1000
    """Scenes rendered for training."""
    scene: SceneConfig = field(
        default_factory=lambda: SceneConfig(
            num_frames=24, num_others=(0, 4), focal_length_frac=(0.12, 0.45), other_species=(0.8, 0.1, 0.1)
        )
    )
    """What they are drawn from; 0.2 MB of memory a frame of 192 x 256."""
    away_share: float = 0.3
    """Share of the scenes whose focal animal is away for a while."""
    stages: tuple[StageConfig, ...] = (
        StageConfig(num_frames=1, batch_size=8, num_steps=4000, image_px=128, lr_last=6e-4),
        StageConfig(num_frames=1, batch_size=8, num_steps=2200, image_px=160, lr_first=6e-4, lr_last=3e-4),
        StageConfig(num_frames=4, batch_size=4, num_steps=2600, image_px=160, lr_first=6e-4, lr_last=2e-4),
        StageConfig(num_frames=8, batch_size=2, num_steps=1400, image_px=160, lr_first=3e-4, lr_last=1e-5),
        StageConfig(num_frames=8, batch_size=2, num_steps=600, num_tries=4, lr_first=3e-4, lr_last=2e-4),
        StageConfig(num_frames=16, batch_size=1, num_steps=2200, num_tries=4, lr_first=2e-4, lr_last=1e-5),
        StageConfig(num_frames=16, batch_size=1, num_steps=400, num_tries=2, lr_first=1e-4, lr_last=5e-6),
    )
    """Parts of the training, in order."""
    weight_decay: float = 0.02
    """AdamW's weight decay."""
    ema: float = 0.998
    """Share of the averaged weights kept per step (less at the start of each stage); they are what is saved."""
    max_norm: float = 1.0
    """Gradients longer than this are shortened to it."""
    save_s: float = 480.0
    """Time between checkpoints and evaluations."""
    num_eval_videos: int = 4
    """Unseen scenes tracked at each checkpoint."""
    num_eval_frames: int = 20
    """Frames of each."""


class _Run:
    """What changes while training, and how it is saved."""

    def __init__(self, config: PocketSam2Config) -> None:
        torch.manual_seed(
            seed_for(config.seed, "pocket_sam2", "weights") % 2**31
        )  # sam2's constructors draw from the global generator
        self.model = build(YAML)
        torch.nn.init.constant_(
            self.model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias, 2.0
        )  # an absent animal has no mask gradient
        self.model.train()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=config.weight_decay
        )
        self.ema = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.rng = np.random.default_rng(seed_for(config.seed, "pocket_sam2", "prompts"))
        self.counts = {"stage": 0, "stage_step": 0, "step": 0}
        self.history: list[dict[str, Any]] = []

    def average(self, keep: float) -> None:
        """Move the averaged weights towards the present ones.

        Faster while a stage is young, or a short one would hardly count.
        """
        keep = min(keep, (1 + self.counts["stage_step"]) / (10 + self.counts["stage_step"]))
        for name, value in self.model.state_dict().items():
            self.ema[name].lerp_(value, 1 - keep)

    def save(self, out: Path) -> None:
        """Write what is shipped (half precision and yaml) and what a resumed run needs."""
        out.mkdir(parents=True, exist_ok=True)
        save_file({name: value.half().contiguous() for name, value in self.ema.items()}, out / "model.safetensors")
        (out / YAML.name).write_text(YAML.read_text(), encoding="ascii")
        rest: dict[str, Any] = {"counts": self.counts, "history": self.history}
        rest["rng"] = self.rng.bit_generator.state
        tensors = {"model": self.model.state_dict(), "ema": self.ema, "optimizer": self.optimizer.state_dict()}
        torch.save(tensors | {"rest": json.dumps(rest)}, out / "resume.tmp")
        (out / "resume.tmp").replace(out / "resume.pt")

    def restore(self, out: Path) -> None:
        """Continue from what `save` wrote."""
        if not (out / "resume.pt").is_file():
            raise ConfigError(f"{out}: no resume.pt, expected one from an earlier run. Train without resume.")
        state = torch.load(out / "resume.pt", map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema = state["ema"]
        rest = json.loads(state["rest"])
        self.counts, self.history = rest["counts"], rest["history"]
        self.rng.bit_generator.state = rest["rng"]


def train(config: PocketSam2Config, out: str, *, resume: bool = False, report: Report | None = None) -> dict[str, Any]:
    """Train, and leave a folder that `sheep.models.sam2.tracker.load` takes.

    Args:
        config: data, stages and their steps.
        out: folder for model.safetensors (float16, averaged weights), the yaml, history.json and resume.pt.
        resume: continue from resume.pt in `out`.
        report: called with each log record.

    Returns:
        The last evaluation, with steps and seconds.

    Raises:
        ConfigError: resume is asked for and there is nothing to resume.
    """
    folder, begun = Path(out), time.monotonic()
    run = _Run(config)
    if resume:
        run.restore(folder)
    rng = np.random.default_rng(seed_for(config.seed, "pocket_sam2", "scenes"))
    scenes = draw_scenes(config.scene, config.num_scenes, rng, away_share=config.away_share)
    _log.info(
        "pocket_sam2 rendered frames=%d seconds=%.0f",
        scenes.ids.shape[0] * scenes.ids.shape[1],
        time.monotonic() - begun,
    )
    while run.counts["stage"] < len(config.stages):
        _train_stage(config, run, scenes, folder, report)
        run.counts |= {"stage": run.counts["stage"] + 1, "stage_step": 0}
        _checkpoint(config, run, folder, report)
    return run.history[-1] | {"seconds": time.monotonic() - begun}


def _train_stage(config: PocketSam2Config, run: _Run, scenes: Scenes, out: Path, report: Report | None) -> None:
    stage = config.stages[run.counts["stage"]]
    sums: dict[str, float] = {}
    _set_image_px(run.model, stage.image_px)
    saved = time.monotonic()
    while run.counts["stage_step"] < stage.num_steps:
        progress = run.counts["stage_step"] / stage.num_steps
        warm = min(1.0, (run.counts["stage_step"] + 1) / 100)
        for group in run.optimizer.param_groups:
            group["lr"] = warm * (
                stage.lr_last + (stage.lr_first - stage.lr_last) * (1 + math.cos(math.pi * progress)) / 2
            )
        terms = (_image_step if stage.num_frames == 1 else _clip_step)(run, scenes, stage)
        loss = terms["loss"]
        run.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        terms["norm"] = torch.nn.utils.clip_grad_norm_(run.model.parameters(), config.max_norm)
        run.optimizer.step()
        run.counts |= {"step": run.counts["step"] + 1, "stage_step": run.counts["stage_step"] + 1}
        run.average(config.ema)
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        if run.counts["stage_step"] % 50 == 0:
            _tell(report, run, {name: round(value / 50, 4) for name, value in sums.items()})
            sums = {}
        if time.monotonic() - saved > config.save_s:
            _checkpoint(config, run, out, report)
            saved = time.monotonic()


def _set_image_px(model: StreamingPredictor, image_px: int) -> None:
    """Let a network take another input size.

    None of its weights depends on it, and these sizes are all that sam2 keeps.
    """
    model.image_size = image_px
    side = model.sam_image_embedding_size = image_px // model.backbone_stride
    encoder = model.sam_prompt_encoder
    encoder.input_image_size, encoder.image_embedding_size = (image_px, image_px), (side, side)
    encoder.mask_input_size = (4 * side, 4 * side)


def _tell(report: Report | None, run: _Run, values: dict[str, Any]) -> None:
    record = run.counts | values
    _log.info("pocket_sam2 %s", " ".join(f"{name}={value}" for name, value in record.items()))
    if report is not None:
        report(record)


def _checkpoint(config: PocketSam2Config, run: _Run, out: Path, report: Report | None) -> None:
    run.save(out)
    videos, frames = config.num_eval_videos, config.num_eval_frames
    scores = evaluate(str(out), num_videos=videos, num_frames=frames, seed=config.seed + 1)
    run.history.append(run.counts | scores)
    (out / "history.json").write_text(json.dumps(run.history, indent=1), encoding="ascii")
    _tell(report, run, scores)


def _image_step(run: _Run, scenes: Scenes, stage: StageConfig) -> dict[str, Tensor]:
    """Encode each image once and ask several things of it."""
    model = run.model
    clips = [draw_clip(scenes, 1, model.image_size, run.rng) for _ in range(stage.batch_size)]
    ids = torch.stack([clip[1][0] for clip in clips])
    features = model.forward_image(torch.stack([clip[0][0] for clip in clips]))["backbone_fpn"]
    terms: list[dict[str, Tensor]] = []
    for kinds in _IMAGE_KINDS:
        prompts = [draw_prompts(plane, list(kinds), run.rng) for plane in ids]
        owner = torch.arange(len(clips)).repeat_interleave(len(kinds))
        points, targets = _join(prompts), torch.cat([prompt.targets for prompt in prompts])
        sparse, dense = model.sam_prompt_encoder(points=points, boxes=None, masks=None)
        levels = [feature[owner] for feature in features]
        top = levels[-1] + model.no_mem_embed[0, 0, :, None, None]  # as sam2 does on a frame that is prompted
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


def _clip_step(run: _Run, scenes: Scenes, stage: StageConfig) -> dict[str, Tensor]:
    """Prompt two targets in frame 0 of each clip and follow them.

    Frames go through sam2's memory, which is fed with its own predictions.
    """
    model, rng, frames = run.model, run.rng, stage.num_frames
    clips = [
        draw_clip(scenes, frames, model.image_size, rng, num_tries=stage.num_tries) for _ in range(stage.batch_size)
    ]
    for index in np.flatnonzero(rng.random(len(clips)) < 0.12):
        clips[index] = draw_cut(clips[index], draw_clip(scenes, frames, model.image_size, rng), rng)
    kinds = [["box", "box"], ["point", "point"], ["point", "ground"]][int(rng.choice(3, p=[0.45, 0.3, 0.25]))]
    prompts = [draw_prompts(clip[1][0], kinds, rng) for clip in clips]
    points, targets = _join(prompts), torch.cat([prompt.targets for prompt in prompts])
    encoded = model.forward_image(torch.cat([clip[0] for clip in clips]))
    features, positions = encoded["backbone_fpn"], [position[:1] for position in encoded["vision_pos_enc"]]
    owner = torch.arange(len(clips)).repeat_interleave(len(kinds))
    outputs: dict[str, dict[int, Any]] = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    terms: list[dict[str, Tensor]] = []
    with _decoded(model) as decoded:
        for t in range(frames):
            levels = [feature[owner * frames + t] for feature in features]
            vision = [level.flatten(2).permute(2, 0, 1) for level in levels]
            sizes = [(level.shape[-2], level.shape[-1]) for level in levels]
            where = [position.expand(len(owner), -1, -1, -1).flatten(2).permute(2, 0, 1) for position in positions]
            given = {"point_coords": points[0], "point_labels": points[1]} if t == 0 else None
            # sam2's public step drops the object score in training, hence its two halves
            out, heads, _, _ = model._track_step(
                t, t == 0, vision, where, sizes, given, None, outputs, _LONG, False, None
            )
            out["obj_ptr"] = heads[5]
            model._encode_memory_in_output(vision, sizes, given, True, heads[4], heads[6], out)
            outputs["cond_frame_outputs" if t == 0 else "non_cond_frame_outputs"][t] = out
            logits, ious, _, scores = decoded[-1]
            terms.append(_losses(logits, ious, scores, torch.stack([clip[1][t] for clip in clips])[owner], targets))
    return {name: torch.stack([term[name] for term in terms]).mean() for name in terms[0]}


@contextmanager
def _decoded(model: StreamingPredictor) -> Iterator[list[Any]]:
    """Collect what the mask decoder returns.

    SAM2Base replaces logits of absent animals by a constant without gradient.
    """
    seen: list[Any] = []
    handle = model.sam_mask_decoder.register_forward_hook(lambda module, inputs, output: seen.append(output))
    try:
        yield seen
    finally:
        handle.remove()


def _join(prompts: list[Prompts]) -> tuple[Tensor, Tensor]:
    return torch.cat([prompt.coords for prompt in prompts]), torch.cat([prompt.labels for prompt in prompts])


def _losses(logits: Tensor, ious: Tensor, scores: Tensor, ids: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Compare P predictions with what was asked for.

    Args:
        logits: (P, 1, s, s) mask logits at stride 4; compared at stride 2 with the animal's share of each cell.
        ious: (P, 1) predicted IoU.
        scores: (P, 1) object score.
        ids: (P, S, S) the truth.
        targets: (P,) the animal asked for, 0 for none.
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
