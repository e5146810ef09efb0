"""Stored images + backbone -> a fine-tuned backbone, as a `save_pretrained` folder with training.json beside it.

One process of plain torch. A caller that runs several (Ray Train) passes three callables: `all_reduce`, `report` and
`save`. Every random choice of a step is drawn for the global batch from (seed, step), and each worker takes its slice.
So any number of workers trains the same network up to rounding, and a resumed training takes the same steps as an
uninterrupted one.
"""

import logging
import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sheep.config import FinetuneConfig, output_settings, to_json
from sheep.errors import ConfigError, ContractError
from sheep.finetune import checkpoint, record, schedules
from sheep.finetune.checkpoint import TrainingState
from sheep.finetune.data_loader import DataLoader
from sheep.finetune.dataset import Decoded, ImageSource, Sampler, working_px
from sheep.finetune.distributed import AllReduce, Workers, mean_of_one, raised_by
from sheep.finetune.model_selection import ModelSelection, ValidationFrames
from sheep.finetune.networks import make_pair, update_teacher
from sheep.finetune.objective import compute
from sheep.finetune.record import TRAINING, Step, Training, Validation, measured
from sheep.io.prefetch import StepPrefetcher
from sheep.models.dinov2 import device_of

_log = logging.getLogger(__name__)

MAX_BAD_STEPS = 3
"""Steps in a row with a loss or gradient that is not finite, after which training fails; fewer are skipped."""

CLIP_NORM = 3.0
"""Bound on the gradient norm. Source: DINOv2's released configuration (optim.clip_grad)."""

CURVE_STEPS = 200
"""About how many steps of the curve training.json keeps."""


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """The outcome of a training."""

    backbone_dir: str
    """`save_pretrained` folder of the selected teacher; written by rank 0 only."""
    steps: int
    """Steps taken; fewer than configured after early stopping."""
    weights_step: int
    """Step whose teacher was saved; 0 is the starting backbone, bit for bit."""
    first: Step
    """Measures of the first step, of the whole training and not of the resumed part."""
    last: Step
    """Measures of the last step."""
    seconds: float
    """Wall time of this process."""


def no_report(measures: dict[str, float]) -> None:
    """No-op reporter."""


def train(
    images: ImageSource,
    backbone: str,
    config: FinetuneConfig,
    seed: int,
    out_dir: str,
    *,
    validation: ValidationFrames | None = None,
    rank: int = 0,
    world: int = 1,
    all_reduce: AllReduce = mean_of_one,
    report: Callable[[dict[str, float]], None] = no_report,
    save: Callable[[str], None] | None = None,
    save_every: int = 50,
    resume_dir: str | None = None,
) -> TrainingResult:
    """Fine-tune a backbone on images without labels.

    Args:
        images: with the animal and video of each; the same on every worker.
        backbone: see sheep.models.dinov2.load.
        config: batch_size counts images over all workers.
        seed: of the study; all random choices derive from it.
        out_dir: local folder; rank 0 writes the selected teacher there, and checkpoints below it.
        validation: labelled frames that select the teacher, on rank 0 where `config.validation_animals` is above 0.
        rank: of this worker, 0 to world - 1.
        world: number of workers.
        all_reduce: mean over the workers, of gradients, target statistics and measures.
        report: called after every step on every rank with the same measures, validations included.
        save: called on rank 0 with a checkpoint's folder every `save_every` steps, before that step is reported. It may
            move the folder away.
        save_every: steps between checkpoints; >= 1.
        resume_dir: folder of a checkpoint to resume from.

    Raises:
        ConfigError: no images, sizes that do not fit the patch size, an unknown backbone, or a checkpoint of another
            training.
        ContractError: the loss was not finite three times in a row, or a stored image is broken.
    """
    started = time.monotonic()
    workers = Workers(rank=rank, world=world, all_reduce=all_reduce, device=device_of(config.device))
    state = _Trainer(images, backbone, config, seed, workers, validation)
    if resume_dir is not None:
        state.resume(Path(resume_dir))
    else:
        state.validate()
    with closing(state.batches):
        for step in range(state.step, config.steps):
            if state.is_over:
                break
            measures = measured(state.advance(step))
            row = state.validate()
            if row is not None:
                measures |= {f"validation_{name}": value for name, value in measured(row).items() if name != "step"}
            if save is not None and rank == 0 and (step + 1) % save_every == 0:
                folder = Path(out_dir) / "checkpoints" / f"step-{step + 1:06d}"
                state.write(folder)
                save(str(folder))
            report(measures)
    seconds = time.monotonic() - started
    if rank == 0:
        state.export(Path(out_dir), seconds)
    return TrainingResult(
        backbone_dir=out_dir,
        steps=state.step,
        weights_step=state.step if state.selection is None else state.selection.selected.step,
        first=state.curve[0],
        last=state.curve[-1],
        seconds=seconds,
    )


class _Trainer:
    """The state of a training, advanced step by step."""

    def __init__(
        self,
        images: ImageSource,
        backbone: str,
        config: FinetuneConfig,
        seed: int,
        workers: Workers,
        validation: ValidationFrames | None,
    ) -> None:
        """Load both networks and check that the data fit them; see `train` for the arguments and errors."""
        self.config, self.seed, self.workers = config, seed, workers
        self.mine = workers.share(config.batch_size)
        sampler = Sampler(images.animals, images.videos, seed)
        if sampler.num_animals == 1:
            _log.warning(
                "finetune.one_animal animal=%s images=%d: no step contrasts one animal with another",
                images.animals[0],
                len(images.animals),
            )
        advanced = config.advanced
        self.student, self.teacher = make_pair(backbone, config.num_prototypes, seed, config.device, advanced.precision)
        encoder = self.student.encoder
        encoder.check_size(config.global_px)
        if config.num_local:
            encoder.check_size(config.local_px)
        if advanced.mask_frac > 0 and getattr(self.student.backbone.embeddings, "mask_token", None) is None:
            raise ConfigError(
                f"finetune.backbone: {backbone!r} has no mask token, expected one with finetune.advanced.mask_frac "
                "above 0. Set that to 0, or choose another backbone."
            )
        groups = schedules.parameter_groups(self.student.backbone, self.student.heads, self.student.num_blocks, config)
        self.optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.999), fused=True)
        decoded = images.decoded(working_px(config.global_px))
        _check_data(images, decoded, encoder.patch_px, workers.world)
        loader = DataLoader(decoded, sampler, config, seed, encoder.patch_px, self.student.num_branches)
        self.batches = StepPrefetcher(partial(loader.batch, mine=self.mine, place=encoder.device), config.steps)
        self.selection = (
            ModelSelection(images, decoded, seed, validation, config, workers) if config.validate_every else None
        )
        self.identity = self._identity(images)
        self.step = 0
        self.bad_steps = 0
        self.curve: list[Step] = []

    def advance(self, step: int) -> Step:
        """Take one step and return its measures, equal on every worker."""
        schedules.apply(self.optimiser, step, self.config)
        self.student.backbone.requires_grad_(step >= self.config.head_steps)
        self.student.freeze_last_layers(step < self.config.advanced.last_layer_steps)
        self.optimiser.zero_grad(set_to_none=True)
        batch = self.batches.take(step)
        objective = compute(self.student, self.teacher, batch, step, self.config, self.workers)
        measures, culprits = self._agree(objective.measures, objective.is_bad)
        objective.loss.backward()
        grad_norm, gradient_culprits = self._clip_gradients()
        # Loss and norm are means over all workers, so every worker makes the same decision.
        if self._is_good(measures["loss"], grad_norm, step, culprits or gradient_culprits):
            self.optimiser.step()
            update_teacher(self.teacher, self.student, schedules.momentum(step, self.config))
        self.step = step + 1
        self.curve.append(Step(step=self.step, grad_norm=grad_norm, **measures))
        return self.curve[-1]

    def validate(self) -> Validation | None:
        """Validate the teacher where it is due."""
        if self.selection is None or not self.selection.is_due(self.step):
            return None
        return self.selection.validate(self.step, self.teacher)

    @property
    def is_over(self) -> bool:
        """Whether training stops early."""
        return self.selection is not None and self.selection.is_over

    def resume(self, folder: Path) -> None:
        """Continue from a checkpoint."""
        state, best = checkpoint.read(folder, self.student, self.teacher, self.optimiser, self.identity)
        self.step, self.bad_steps, self.curve = state.step, state.bad_steps, list(state.curve)
        if self.selection is not None:
            self.selection.restore(state.history, best)

    def write(self, folder: Path) -> None:
        """Write a checkpoint."""
        selection = self.selection
        state = TrainingState(
            identity=self.identity,
            step=self.step,
            bad_steps=self.bad_steps,
            curve=tuple(self.curve),
            history=() if selection is None else tuple(selection.history),
        )
        best = {} if selection is None else selection.best
        checkpoint.write(folder, self.student, self.teacher, self.optimiser, best, state)

    def export(self, folder: Path, seconds: float) -> None:
        """Write the selected teacher's backbone and training.json.

        Args:
            folder: for both.
            seconds: wall time of the training.
        """
        if self.selection is not None:
            self.teacher.backbone.load_state_dict(self.selection.best, strict=True)
        self.teacher.encoder.save(folder)
        training = Training(
            config=to_json(self.config),
            identity=self.identity,
            steps=self.step,
            workers=self.workers.world,
            seconds=round(seconds, 1),
            first=self.curve[0],
            last=self.curve[-1],
            curve=_subsample(self.curve),
            validation=None if self.selection is None else self.selection.record(self.step),
        )
        (folder / TRAINING).write_text(record.to_json(training))

    def _clip_gradients(self) -> tuple[float, list[int]]:
        """Average gradients over workers and clip them.

        Returns:
            The norm before clipping, and the ranks whose gradients were not finite.
        """
        parameters = [parameter for parameter in self.student.parameters() if parameter.grad is not None]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        culprits: list[int] = []
        if self.workers.world > 1:
            # One vector, so that workers exchange gradients once per step.
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            flat = self.workers.all_reduce(torch.cat([flat, self.workers.flags(~flat.isfinite().all())]))
            *parts, flags = flat.split([*(gradient.numel() for gradient in gradients), self.workers.world])
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.copy_(part.view_as(gradient))
            culprits = raised_by(flags)
        return float(torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)), culprits

    def _agree(self, measures: dict[str, Tensor], is_bad: Tensor) -> tuple[dict[str, float], list[int]]:
        """Average measures over workers.

        Args:
            measures: of this worker, scalars.
            is_bad: whether an input or output of this worker is not finite.

        Returns:
            The means, and the ranks whose inputs or outputs, or else whose losses, were not finite.
        """
        values = torch.stack([value.detach().float() for value in measures.values()])
        flags, world = self.workers.flags, self.workers.world
        mean = self.workers.all_reduce(torch.cat([values, flags(is_bad), flags(~measures["loss"].isfinite())]))
        by_values, by_loss = raised_by(mean[-2 * world : -world]), raised_by(mean[-world:])
        return dict(zip(measures, mean[: -2 * world].tolist(), strict=True)), by_values or by_loss

    def _is_good(self, loss: float, grad_norm: float, step: int, culprits: list[int]) -> bool:
        """Tell whether to take the step.

        Args:
            loss: mean over workers.
            grad_norm: of the mean gradient.
            step: from 0.
            culprits: ranks whose values were not finite.

        Raises:
            ContractError: MAX_BAD_STEPS steps in a row were not finite.
        """
        if math.isfinite(loss) and math.isfinite(grad_norm):
            self.bad_steps = 0
            return True
        self.bad_steps += 1
        ranks = f"rank {', '.join(map(str, culprits or [self.workers.rank]))} of {self.workers.world}"
        if self.bad_steps >= MAX_BAD_STEPS:
            raise ContractError(
                f"finetune: loss {loss} and gradient norm {grad_norm}, not finite in {self.bad_steps} steps in a row, "
                f"the last at step {step} (first on {ranks}), expected finite numbers. Lower finetune.learning_rate; "
                "if it is always the same rank, check its machine."
            )
        _log.warning("finetune.skipped step=%d ranks=%s loss=%s grad_norm=%s", step, ranks, loss, grad_norm)
        return False

    def _identity(self, images: ImageSource) -> dict[str, object]:
        """Return what must be equal to resume from a checkpoint; weights by content, since folders may move."""
        weights = checkpoint.digest(self.student.backbone.state_dict())
        encoder = self.student.encoder
        blocks = f"{self.student.num_blocks} blocks of {encoder.dim}"
        settings = output_settings(self.config)
        settings.pop("advanced")
        return {
            **output_settings(self.config.advanced),
            **settings,
            "architecture": f"{encoder.model.config.model_type}, {blocks}, patches of {encoder.patch_px} px",
            "seed": self.seed,
            "weights": weights,
            "images": images.digest(),
            "num_images": len(images.animals),
        }


def _check_data(images: ImageSource, decoded: Decoded, patch_px: int, world: int) -> None:
    """Refuse images that are too small or too few.

    Args:
        images: the training images.
        decoded: the same, decoded.
        patch_px: side of the backbone's patches.
        world: number of workers.

    Raises:
        ConfigError: they are smaller than a patch, or there are fewer than workers.
    """
    count, side = len(images.animals), int(decoded.take(np.zeros(1, dtype=np.int64)).shape[1])
    if side < patch_px:
        raise ConfigError(
            f"finetune: the stored images are {side} px wide, expected at least a patch of the backbone, {patch_px} "
            "px. Raise crop.crop_px or crop.frame_px and crop again."
        )
    if count < world:
        raise ConfigError(
            f"finetune: {count} images for {world} workers, expected at least one each. "
            "Lower finetune.workers or add videos."
        )


def _subsample(curve: list[Step], count: int = CURVE_STEPS) -> tuple[Step, ...]:
    """Keep evenly spaced steps of the curve, the first and last among them.

    Args:
        curve: at least one step.
        count: about how many to keep; at most two more are.
    """
    kept = curve[:: max(1, math.ceil(len(curve) / count))]
    return tuple(kept if kept[-1] is curve[-1] else [*kept, curve[-1]])
