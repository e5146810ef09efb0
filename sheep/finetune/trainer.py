"""Stored images + backbone -> a fine-tuned backbone, as a `save_pretrained` folder with training.json beside it.

One process of plain torch. Whoever runs several (Ray Train) hands in three callables: `all_reduce`, `report` and `save`. Every
random choice of a step is drawn for the global batch from (seed, step) and each worker takes its slice, so that any number of
workers trains the same network up to rounding, and a resumed run repeats what an unbroken one would have done.
"""

import json
import logging
import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sheep.config import FinetuneConfig, fixed, to_json
from sheep.errors import ConfigError, ContractError
from sheep.finetune import checkpoint, schedules
from sheep.finetune.data_loader import Batches
from sheep.finetune.dataset import Decoded, ImageSource, Sampler, working_px
from sheep.finetune.distributed import AllReduce, Workers, identity, raised
from sheep.finetune.losses import dino_loss, ibot_loss, koleo_loss, silhouette_loss, sinkhorn
from sheep.finetune.model_selection import Guard, GuardFrames
from sheep.finetune.networks import follow, make_pair
from sheep.io.prefetch import StepPrefetcher
from sheep.models.dinov2 import device_of

_log = logging.getLogger(__name__)

MAX_BAD_STEPS = 3
"""So many losses in a row that are no numbers end the run; fewer are skipped."""


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """What came out of a training."""

    backbone_dir: str
    """`save_pretrained` folder of the teacher; written by rank 0 only."""
    steps: int
    """Steps taken: fewer than configured after an early stop."""
    weights_step: int
    """Step whose teacher was saved; 0 is the starting backbone, bit for bit."""
    first: dict[str, float]
    """Measures of the first step (of the run, not of the resumed part)."""
    last: dict[str, float]
    """Measures of the last step."""
    seconds: float
    """Wall time of this process's part."""


def nothing(measures: dict[str, float]) -> None:
    """Report to nobody."""


def fit(
    images: ImageSource,
    backbone: str,
    config: FinetuneConfig,
    seed: int,
    out_dir: str,
    *,
    guard: GuardFrames | None = None,
    rank: int = 0,
    world: int = 1,
    all_reduce: AllReduce = identity,
    report: Callable[[dict[str, float]], None] = nothing,
    save: Callable[[str], None] | None = None,
    save_every: int = 50,
    resume_dir: str | None = None,
) -> FitResult:
    """Fine-tune a backbone on images without labels.

    Args:
        images: with the animal and video of each; the same on every worker.
        backbone: see sheep.backbone.load.
        config: batch_size counts images over all workers.
        seed: of the study; everything random descends from it.
        out_dir: local folder; rank 0 writes the chosen teacher there, and checkpoints below it.
        guard: labelled frames that choose the teacher, on rank 0, where `config.guard_animals` is above 0.
        rank: this worker, 0 to world - 1.
        world: number of workers.
        all_reduce: mean over the workers, of gradients, of target statistics and of what is reported.
        report: called after every step on every rank with the same measures.
        save: called on rank 0 with a checkpoint's folder every `save_every` steps, before that step's
            report. It may move the folder away.
        save_every: steps between checkpoints; >= 1.
        resume_dir: folder of a checkpoint to go on from.

    Raises:
        ConfigError: no images, sizes that do not fit the patch size, an unknown backbone, or a checkpoint of another run.
        ContractError: the loss was no number three times in a row, or a stored image is broken.
    """
    started = time.monotonic()
    workers = Workers(rank=rank, world=world, all_reduce=all_reduce, device=device_of(config.device))
    run = _Run(images, backbone, config, seed, workers, guard)
    if resume_dir is not None:
        run.resume(Path(resume_dir))
    else:
        run.look()
    with closing(run.batches):
        for step in range(run.step, config.steps):
            if run.is_over:
                break
            measures = run.advance(step) | run.look()
            if save is not None and rank == 0 and (step + 1) % save_every == 0:
                folder = Path(out_dir) / "checkpoints" / f"step-{step + 1:06d}"
                run.write(folder)
                save(str(folder))
            report(measures)
    seconds = time.monotonic() - started
    if rank == 0:
        run.export(Path(out_dir), seconds)
    weights_step = run.step if run.guard is None else int(run.guard.chosen["step"])
    return FitResult(
        backbone_dir=out_dir,
        steps=run.step,
        weights_step=weights_step,
        first=run.curve[0],
        last=run.curve[-1],
        seconds=seconds,
    )


class _Run:
    """The state of a training and what one step does to it."""

    def __init__(
        self,
        images: ImageSource,
        backbone: str,
        config: FinetuneConfig,
        seed: int,
        workers: Workers,
        frames: GuardFrames | None,
    ) -> None:
        self.config, self.seed, self.workers = config, seed, workers
        self.mine = workers.share(config.batch_size)
        sampler = Sampler(images.animals, images.videos, seed)
        if sampler.num_animals == 1:
            _log.warning(
                "finetune.one_animal animal=%s images=%d: nothing tells what differs between animals",
                images.animals[0],
                len(images.animals),
            )
        self.student, self.teacher = make_pair(backbone, config.num_prototypes, seed, config.device, config.precision)
        encoder = self.student.encoder
        encoder.check_size(config.global_px)
        if config.num_local:
            encoder.check_size(config.local_px)
        if config.mask_frac > 0 and getattr(self.student.backbone.embeddings, "mask_token", None) is None:
            raise ConfigError(
                f"finetune: backbone {backbone!r} has no mask token. Set finetune.mask_frac to 0 or choose another."
            )
        groups = schedules.parameter_groups(self.student.backbone, self.student.heads, self.student.num_blocks, config)
        self.optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.999), fused=True)
        decoded = images.decoded(working_px(config.global_px))
        _check_data(images, decoded, encoder.patch_px, workers.world)
        batches = Batches(decoded, sampler, config, seed, encoder.patch_px, self.student.num_branches)
        self.batches = StepPrefetcher(partial(batches.draw, mine=self.mine, place=encoder.device), config.steps)
        self.guard = Guard(images, decoded, seed, frames, config, workers) if config.guard_every else None
        self.identity = self._identity(images)
        self.step = 0
        self.bad_steps = 0
        self.curve: list[dict[str, float]] = []

    def advance(self, step: int) -> dict[str, float]:
        """Do one step and return its measures, equal on every worker."""
        schedules.apply(self.optimiser, step, self.config)
        self.student.backbone.requires_grad_(step >= self.config.head_steps)
        self.student.freeze_last_layers(step < self.config.last_layer_steps)
        self.optimiser.zero_grad(set_to_none=True)
        loss, parts, is_bad = self._losses(step)
        measures, culprits = self._agree(parts, is_bad)
        loss.backward()
        measures["grad_norm"], worse = self._bound_gradients()
        # Loss and norm are means over all workers, so all decide alike.
        if self._is_good(measures["loss"], measures["grad_norm"], step, culprits or worse):
            self.optimiser.step()
            follow(self.teacher, self.student, schedules.momentum(step, self.config))
        self.step = step + 1
        measures["step"] = float(self.step)
        self.curve.append(measures)
        return measures

    def look(self) -> dict[str, float]:
        """Let the guard measure the teacher where it is due; what it saw joins the step's measures."""
        if self.guard is None or not self.guard.due(self.step):
            return {}
        row = self.guard.look(self.step, self.teacher)
        seen = {f"guard_{name}": value for name, value in row.items() if name != "step"}
        if self.curve:
            self.curve[-1].update(seen)
        return seen

    @property
    def is_over(self) -> bool:
        """Whether the guard ends the training early."""
        return self.guard is not None and self.guard.is_over

    def resume(self, folder: Path) -> None:
        """Go on from a checkpoint."""
        facts, best = checkpoint.read(folder, self.student, self.teacher, self.optimiser, self.identity)
        self.step, self.bad_steps, self.curve = facts["step"], facts["bad_steps"], facts["curve"]
        if self.guard is not None:
            self.guard.restore(facts["guard"], best)

    def write(self, folder: Path) -> None:
        """Write a checkpoint."""
        facts = {"identity": self.identity, "step": self.step, "bad_steps": self.bad_steps, "curve": self.curve}
        facts["guard"] = [] if self.guard is None else self.guard.history
        best = {} if self.guard is None else self.guard.best
        checkpoint.write(folder, self.student, self.teacher, self.optimiser, best, facts)

    def export(self, folder: Path, seconds: float) -> None:
        """Write the chosen teacher's backbone and training.json."""
        if self.guard is not None:
            self.teacher.backbone.load_state_dict(self.guard.best, strict=True)
        self.teacher.encoder.save(folder)
        facts = {
            "config": to_json(self.config),
            "identity": self.identity,
            "steps": self.step,
            "workers": self.workers.world,
            "seconds": round(seconds, 1),
            "first": self.curve[0],
            "last": self.curve[-1],
            "curve": _thin(self.curve),
            "guard": None if self.guard is None else self.guard.facts(self.step),
        }
        (folder / "training.json").write_text(json.dumps(facts, indent=1, sort_keys=True))

    def _losses(self, step: int) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Forward both networks on this worker's slice of the step's global batch; the last says whether something here was no number."""
        config, workers = self.config, self.workers
        batch = self.batches.take(step)
        global_views, local_views, hidden = batch.global_views, batch.local_views, batch.hidden
        count, temperature = len(global_views) // 2, schedules.teacher_temperature(step, config)
        global_kept, local_kept = batch.kept
        with torch.no_grad():
            seen = self.teacher.pick(global_views, wanted=hidden)
            targets = sinkhorn(self.teacher.dino_head(seen.cls), temperature, workers.all_reduce)
        # While the heads come first, nothing below them needs a graph.
        with torch.set_grad_enabled(step >= config.head_steps):
            if batch.masks is None:
                tokens = self.student.pick(global_views, hidden, global_kept, wanted=hidden)
            else:
                tokens = self.student.tokens(global_views, hidden, global_kept)
            cls = [tokens.cls]
            if local_views is not None:
                cls.append(self.student.pick(local_views, kept=local_kept).cls)
        outputs = self.student.dino_head(torch.cat(cls))
        dino = dino_loss(outputs.view(-1, count, outputs.shape[-1]), targets.view(2, count, -1))
        ibot = dino.new_zeros(())
        if hidden is not None:
            with torch.no_grad():
                patch_targets = sinkhorn(self.teacher.ibot_head(seen.patches), temperature, workers.all_reduce)
            guessed = tokens.patches if batch.masks is None else tokens.patches[hidden]
            ibot = ibot_loss(self.student.ibot_head(guessed), patch_targets)
        views = tokens.cls.split(count)
        koleo = torch.stack(
            [koleo_loss(view, workers.rank, workers.world, workers.all_reduce) for view in views]
        ).mean()
        loss = dino + ibot + config.koleo_weight * koleo
        parts = {"loss_dino": dino, "loss_ibot": ibot, "loss_koleo": koleo}
        if batch.masks is not None:
            shapes, patches = self.student.shape_head(tokens.cls), self.student.part_head(tokens.patches).squeeze(-1)
            parts["loss_silhouette"] = silhouette_loss(shapes, patches, batch.masks)
            loss = loss + config.silhouette_weight * parts["loss_silhouette"]
        parts["loss"] = loss
        # Targets and KoLeo mix all workers' values, so that one's nan is everyone's; these are this worker's own.
        is_bad = ~torch.stack([part.isfinite().all() for part in (global_views, seen.cls, outputs)]).all()
        return loss, parts | _health(targets, seen.cls), is_bad

    def _bound_gradients(self) -> tuple[float, list[int]]:
        """Average gradients over workers and clip them; return the norm before clipping, and whose were no numbers."""
        parameters = [parameter for parameter in self.student.parameters() if parameter.grad is not None]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        culprits: list[int] = []
        if self.workers.world > 1:
            # One vector, so that workers talk once a step.
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            flat = self.workers.all_reduce(torch.cat([flat, self.workers.flags(~flat.isfinite().all())]))
            *parts, flags = flat.split([*(gradient.numel() for gradient in gradients), self.workers.world])
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.copy_(part.view_as(gradient))
            culprits = raised(flags)
        return float(torch.nn.utils.clip_grad_norm_(parameters, self.config.clip_norm)), culprits

    def _agree(self, measures: dict[str, Tensor], is_bad: Tensor) -> tuple[dict[str, float], list[int]]:
        """Means over workers, and the ranks whose own activations, or else losses, were no numbers."""
        values = torch.stack([value.detach().float() for value in measures.values()])
        flags, world = self.workers.flags, self.workers.world
        mean = self.workers.all_reduce(torch.cat([values, flags(is_bad), flags(~measures["loss"].isfinite())]))
        first, second = raised(mean[-2 * world : -world]), raised(mean[-world:])
        return dict(zip(measures, mean[: -2 * world].tolist(), strict=True)), first or second

    def _is_good(self, loss: float, grad_norm: float, step: int, culprits: list[int]) -> bool:
        """Whether to take the step; too many bad ones in a row end the run."""
        if math.isfinite(loss) and math.isfinite(grad_norm):
            self.bad_steps = 0
            return True
        self.bad_steps += 1
        whose = f"rank {', '.join(map(str, culprits or [self.workers.rank]))} of {self.workers.world}"
        if self.bad_steps >= MAX_BAD_STEPS:
            raise ContractError(
                f"finetune: loss {loss} and gradient norm {grad_norm}, not finite in {self.bad_steps} steps in a row, the last at "
                f"step {step} (first on {whose}), expected numbers. Lower finetune.learning_rate or finetune.clip_norm; where it is always the "
                "same rank, look at its machine."
            )
        _log.warning("finetune.skipped step=%d whose=%s loss=%s grad_norm=%s", step, whose, loss, grad_norm)
        return False

    def _identity(self, images: ImageSource) -> dict[str, Any]:
        """What must be equal for a checkpoint to be gone on from; the weights by content, since their folder may have moved."""
        weights = checkpoint.digest(self.student.backbone.state_dict())
        encoder = self.student.encoder
        kind = f"{encoder.model.config.model_type}, {self.student.num_blocks} blocks of {encoder.dim}, patches of {encoder.patch_px} px"
        return {
            **fixed(self.config),
            "architecture": kind,
            "seed": self.seed,
            "weights": weights,
            "images": images.digest(),
            "num_images": len(images.animals),
        }


def _check_data(images: ImageSource, decoded: Decoded, patch_px: int, world: int) -> None:
    """Refuse images that no step could learn from."""
    count, side = len(images.animals), int(decoded.take(np.zeros(1, dtype=np.int64)).shape[1])
    if side < patch_px:
        raise ConfigError(
            f"finetune: the stored images are {side} px wide, expected at least a patch of the backbone, {patch_px} px. Raise crop.crop_px or "
            "crop.frame_px and crop again."
        )
    if count < world:
        raise ConfigError(
            f"finetune: {count} images for {world} workers, expected one or more each. Lower finetune.workers or take more videos."
        )


def _health(targets: Tensor, features: Tensor) -> dict[str, Tensor]:
    """Signs of collapse: entropy of the targets [nats], their spread, and the spread of the teacher's class tokens.

    A target_std of 0 means every image gets the same target. feature_std is 1 when unit class tokens spread evenly over all
    directions and 0 when all are equal.
    """
    entropy = -torch.special.xlogy(targets, targets).sum(dim=-1).mean()
    unit = torch.nn.functional.normalize(features.float(), dim=-1)
    spread = unit.std(dim=0, correction=0).square().sum().sqrt()
    return {"teacher_entropy": entropy, "target_std": targets.std(dim=0, correction=0).mean(), "feature_std": spread}


def _thin(curve: list[dict[str, float]], count: int = 200) -> list[dict[str, float]]:
    """At most about `count` evenly spaced steps of the curve, first and last among them."""
    every = max(1, math.ceil(len(curve) / count))
    kept = curve[::every]
    return kept if kept[-1] is curve[-1] else [*kept, curve[-1]]
