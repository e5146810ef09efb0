"""Train the pocket SAM-2 on synthetic scenes.

It learns from images first, so that it follows its prompt, then from clips with memory. It starts on small inputs,
where a step is cheap, and ends at the size that ships. The losses are in `sam2_steps`.
"""

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from sheep.config import seed_for
from sheep.errors import ConfigError
from sheep.io.typed_json import from_json
from sheep.models.sam2.loading import build
from sheep.models.sam2.predictor import StreamingPredictor
from sheep.synthetic.pocket.sam2_data import Scenes, render_scenes
from sheep.synthetic.pocket.sam2_score import evaluate
from sheep.synthetic.pocket.sam2_steps import BatchSize, clip_step, image_step
from sheep.synthetic.scene import SceneConfig

_log = logging.getLogger(__name__)

YAML = Path(__file__).parents[2] / "weights" / "pocket_sam2" / "pocket_sam2.yaml"
"""Architecture."""
Record = dict[str, float]
"""One line of the training log."""
Report = Callable[[Record], None]

_WARMUP_STEPS = 100
_REPORT_EVERY = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class StageConfig:
    """One stage of the training: clips of one length."""

    num_frames: int
    """Frames per clip, >= 1; 1 trains on images, without memory."""
    batch_size: int
    """Clips per step."""
    num_steps: int
    """Steps of the stage; the learning rate falls over them."""
    image_px: int = 192
    """Side of the network's input, a multiple of 32. Weights carry over: positional embeddings are interpolated."""
    num_tries: int = 1
    """Clips sampled for each one used; the one in which animals touch most is used (see `sample_clip`)."""
    lr_first: float = 1e-3
    """AdamW's learning rate at the start, after 100 warm-up steps."""
    lr_last: float = 1e-5
    """Learning rate at the end of a cosine."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PocketSam2Config:
    """Everything that the pocket SAM-2's training depends on."""

    seed: int = 0
    """Seed of scenes, prompts and initial weights."""
    num_scenes: int = 1000
    """Scenes rendered for training."""
    scene: SceneConfig = field(
        default_factory=lambda: SceneConfig(
            num_frames=24, num_others=(0, 4), focal_length_frac=(0.12, 0.45), other_species=(0.8, 0.1, 0.1)
        )
    )
    """Distribution of the scenes; a frame of 192 x 256 takes 0.2 MB of memory."""
    away_share: float = 0.3
    """Share of the scenes whose focal animal is absent for a while, 0 to 1."""
    stages: tuple[StageConfig, ...] = (
        StageConfig(num_frames=1, batch_size=8, num_steps=4000, image_px=128, lr_last=6e-4),
        StageConfig(num_frames=1, batch_size=8, num_steps=2200, image_px=160, lr_first=6e-4, lr_last=3e-4),
        StageConfig(num_frames=4, batch_size=4, num_steps=2600, image_px=160, lr_first=6e-4, lr_last=2e-4),
        StageConfig(num_frames=8, batch_size=2, num_steps=1400, image_px=160, lr_first=3e-4, lr_last=1e-5),
        StageConfig(num_frames=8, batch_size=2, num_steps=600, num_tries=4, lr_first=3e-4, lr_last=2e-4),
        StageConfig(num_frames=16, batch_size=1, num_steps=2200, num_tries=4, lr_first=2e-4, lr_last=1e-5),
        StageConfig(num_frames=16, batch_size=1, num_steps=400, num_tries=2, lr_first=1e-4, lr_last=5e-6),
    )
    """Stages of the training, in order."""
    weight_decay: float = 0.02
    """AdamW's weight decay."""
    ema: float = 0.998
    """Share of the averaged weights kept per step (less at the start of each stage); the averaged weights are saved."""
    max_norm: float = 1.0
    """Norm to which longer gradients are clipped."""
    save_s: float = 480.0
    """Time between checkpoints and evaluations [s]."""
    num_eval_videos: int = 4
    """Unseen scenes tracked at each checkpoint."""
    num_eval_frames: int = 20
    """Frames of each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Counts:
    """Position in the training."""

    stage: int = 0
    """Index of the stage."""
    stage_step: int = 0
    """Steps taken in the stage."""
    step: int = 0
    """Steps taken in all stages."""


class _Run:
    """The state of a training, with saving and restoring."""

    def __init__(self, config: PocketSam2Config) -> None:
        # sam2's constructors use the global random generator.
        torch.manual_seed(seed_for(config.seed, "pocket_sam2", "weights") % 2**31)
        self.model = build(YAML)
        # Start with "present": the mask of an animal that is called absent gets no gradient.
        torch.nn.init.constant_(self.model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias, 2.0)
        self.model.train()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=config.weight_decay
        )
        self.ema = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.rng = np.random.default_rng(seed_for(config.seed, "pocket_sam2", "prompts"))
        self.counts = _Counts()
        self.history: list[Record] = []

    def average(self, keep: float) -> None:
        """Move the averaged weights towards the current ones, faster early in a stage, so that short stages count too.

        Args:
            keep: share of the averaged weights to keep, 0 to 1.
        """
        keep = min(keep, (1 + self.counts.stage_step) / (10 + self.counts.stage_step))
        for name, value in self.model.state_dict().items():
            self.ema[name].lerp_(value, 1 - keep)

    def save(self, out: Path) -> None:
        """Write the weights that ship (half precision, and the yaml), and resume.pt for a later run."""
        out.mkdir(parents=True, exist_ok=True)
        save_file({name: value.half().contiguous() for name, value in self.ema.items()}, out / "model.safetensors")
        (out / YAML.name).write_text(YAML.read_text(), encoding="ascii")
        rest = {"counts": asdict(self.counts), "history": self.history, "rng": self.rng.bit_generator.state}
        tensors = {"model": self.model.state_dict(), "ema": self.ema, "optimizer": self.optimizer.state_dict()}
        torch.save(tensors | {"rest": json.dumps(rest)}, out / "resume.tmp")
        (out / "resume.tmp").replace(out / "resume.pt")

    def restore(self, out: Path) -> None:
        """Continue from the files of `save`.

        Raises:
            ConfigError: `out` holds no resume.pt.
        """
        if not (out / "resume.pt").is_file():
            raise ConfigError(f"{out}: no resume.pt, expected one from an earlier run. Train without resume.")
        state = torch.load(out / "resume.pt", map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema = state["ema"]
        rest = json.loads(state["rest"])
        self.counts = from_json(_Counts, rest["counts"], f"{out}/resume.pt: counts")
        self.history = rest["history"]
        self.rng.bit_generator.state = rest["rng"]


def train(config: PocketSam2Config, out: str, *, resume: bool = False, report: Report | None = None) -> Record:
    """Train, and write a folder that `sheep.models.sam2.tracker.load` takes.

    Args:
        config: data, stages and their steps.
        out: folder for model.safetensors (float16, averaged weights), the yaml, history.json and resume.pt.
        resume: continue from resume.pt in `out`.
        report: called with each log record.

    Returns:
        The last evaluation, with steps and seconds.

    Raises:
        ConfigError: `resume` without an earlier run in `out`.
    """
    folder, begun = Path(out), time.monotonic()
    run = _Run(config)
    if resume:
        run.restore(folder)
    rng = np.random.default_rng(seed_for(config.seed, "pocket_sam2", "scenes"))
    scenes = render_scenes(config.scene, config.num_scenes, rng, away_share=config.away_share)
    num_frames = scenes.ids.shape[0] * scenes.ids.shape[1]
    _log.info("pocket_sam2 rendered frames=%d seconds=%.0f", num_frames, time.monotonic() - begun)
    while run.counts.stage < len(config.stages):
        _train_stage(config, run, scenes, folder, report)
        run.counts = replace(run.counts, stage=run.counts.stage + 1, stage_step=0)
        _checkpoint(config, run, folder, report)
    return run.history[-1] | {"seconds": time.monotonic() - begun}


def _train_stage(config: PocketSam2Config, run: _Run, scenes: Scenes, out: Path, report: Report | None) -> None:
    """Train the rest of the current stage. Args as `_checkpoint`, and the training scenes."""
    stage = config.stages[run.counts.stage]
    batch = BatchSize(num_frames=stage.num_frames, batch_size=stage.batch_size, num_tries=stage.num_tries)
    sums: dict[str, float] = {}
    _set_image_px(run.model, stage.image_px)
    saved = time.monotonic()
    while run.counts.stage_step < stage.num_steps:
        rate = _learning_rate(stage, run.counts.stage_step)
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        terms = (image_step if stage.num_frames == 1 else clip_step)(run.model, scenes, batch, run.rng)
        loss = terms["loss"]
        run.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        terms["norm"] = torch.nn.utils.clip_grad_norm_(run.model.parameters(), config.max_norm)
        run.optimizer.step()
        run.counts = replace(run.counts, step=run.counts.step + 1, stage_step=run.counts.stage_step + 1)
        run.average(config.ema)
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
        if run.counts.stage_step % _REPORT_EVERY == 0:
            _log_record(report, run, {name: round(value / _REPORT_EVERY, 4) for name, value in sums.items()})
            sums = {}
        if time.monotonic() - saved > config.save_s:
            _checkpoint(config, run, out, report)
            saved = time.monotonic()


def _learning_rate(stage: StageConfig, step: int) -> float:
    """Compute the learning rate of a step: a linear warm-up times a cosine.

    Args:
        stage: first and last rate, and number of steps.
        step: step within the stage, from 0.
    """
    cosine = (1 + math.cos(math.pi * step / stage.num_steps)) / 2
    return min(1.0, (step + 1) / _WARMUP_STEPS) * (stage.lr_last + (stage.lr_first - stage.lr_last) * cosine)


def _set_image_px(model: StreamingPredictor, image_px: int) -> None:
    """Change the size of a network's input: no weight depends on it, and sam2 keeps no other sizes than these.

    Args:
        model: changed in place.
        image_px: side, a multiple of 32.
    """
    model.image_size = image_px
    side = model.sam_image_embedding_size = image_px // model.backbone_stride
    encoder = model.sam_prompt_encoder
    encoder.input_image_size, encoder.image_embedding_size = (image_px, image_px), (side, side)
    encoder.mask_input_size = (4 * side, 4 * side)


def _log_record(report: Report | None, run: _Run, values: Record) -> None:
    """Log a record.

    Args:
        report: also called with it, if given.
        run: its counts are added.
        values: the measures.
    """
    record = asdict(run.counts) | values
    _log.info("pocket_sam2 %s", " ".join(f"{name}={value}" for name, value in record.items()))
    if report is not None:
        report(record)


def _checkpoint(config: PocketSam2Config, run: _Run, out: Path, report: Report | None) -> None:
    """Save, and evaluate the averaged weights.

    Args:
        config: size of the evaluation.
        run: the training.
        out: folder to write.
        report: called with the scores.
    """
    run.save(out)
    videos, frames = config.num_eval_videos, config.num_eval_frames
    scores = evaluate(str(out), num_videos=videos, num_frames=frames, seed=config.seed + 1)
    run.history.append(asdict(run.counts) | scores)
    (out / "history.json").write_text(json.dumps(run.history, indent=1), encoding="ascii")
    _log_record(report, run, scores)
