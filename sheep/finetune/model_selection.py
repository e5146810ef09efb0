"""Model selection: which teacher is saved, and whether it is better than the backbone that training started from.

At intervals the first worker validates the teacher, and all workers decide by its measures. With validation animals,
whose labels nothing else uses, the teacher whose features predict these labels best is saved. The start is a candidate,
so on these animals the result is never worse than the start. Without labels only a collapse can be detected: the last
teacher that has not collapsed is saved, and nothing shows that it is better than the start.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sheep.config import FinetuneConfig
from sheep.errors import ConfigError, ContractError
from sheep.evaluation.metrics import macro_average_precision
from sheep.finetune.dataset import Decoded, ImageSource, Sampler
from sheep.finetune.distributed import Workers, mean_of_one
from sheep.finetune.losses import sinkhorn
from sheep.finetune.networks import Network
from sheep.finetune.record import Selection, Validation, ValidationRecord, measured
from sheep.models.dinov2 import Tokens

NUM_IMAGES = 256
"""Images without labels on which RankMe and the targets are measured."""
_BATCH = 64
_PENALTY = 1.0
"""Ridge penalty per image: a direction of average variance keeps half its weight."""
_EDGE = 0.01
"""Share of the entropy's range within which targets count as collapsed, to one prototype or to all alike."""


@dataclass(frozen=True, kw_only=True)
class ValidationFrames:
    """Labelled images of the validation animals, which are in no training batch and no score of the study."""

    images: ImageSource
    targets: NDArray[np.floating[Any]]
    """(N, L) 0 or 1; nan is unscored."""

    def __post_init__(self) -> None:
        if self.targets.ndim != 2 or len(self.targets) != len(self.images.animals):
            raise ContractError(
                f"finetune: labels {self.targets.shape} for {len(self.images.animals)} validation images, expected (N, "
                "L) with a row for each. This is a bug: report it."
            )
        animals = sorted(set(self.images.animals))
        with np.errstate(all="ignore"):
            shares = [float(np.nanmean(column)) if np.isfinite(column).any() else 0.0 for column in self.targets.T]
        if len(animals) < 2 or not any(0 < share < 1 for share in shares):
            raise ConfigError(
                f"finetune.validation_animals: {len(animals)} animals ({', '.join(animals)}) have labelled frames, and "
                f"labels hold in shares {[round(share, 3) for share in shares]} of them; expected at least two "
                "animals, and a label that holds in some frames and not in others. Raise finetune.validation_animals, "
                "annotate more, or set it to 0."
            )


def rank_me(features: Tensor) -> float:
    """Effective rank of features: from 1 (all along one line) to min(N, D).

    Args:
        features: (N, D), not centred.

    Returns:
        The exponential of the entropy of the singular values' shares; nan where a feature is not finite.

    Source: RankMe, arXiv 2210.02885, equation 1.
    """
    if not bool(features.isfinite().all()):
        return math.nan
    values = torch.linalg.svdvals(features.double())
    shares = values / values.sum().clamp_min(torch.finfo(values.dtype).tiny)
    return float(torch.exp(-torch.special.xlogy(shares, shares).sum()))


def probe_score(features: Tensor, animals: Sequence[str], targets: NDArray[np.floating[Any]]) -> float:
    """Score a linear probe that predicts each animal's labels after fitting on the other animals.

    Args:
        features: (N, D).
        animals: of each image.
        targets: (N, L) 0 or 1, nan where unscored; an unscored image neither trains nor tests that label.

    Returns:
        Macro average precision over all images, 0 to 1; nan where a feature is not finite.

    Source: ridge regression in its dual form on standardised features. It has no hyperparameters to tune, and one
        validation costs a solve of an N x N system.
    """
    if not bool(features.isfinite().all()):
        return math.nan
    vectors, labels = features.double().cpu().numpy(), np.asarray(targets, dtype=np.float64)
    names, predicted = np.asarray(animals, dtype=str), np.zeros(labels.shape)
    for animal in np.unique(names):
        held_out = names == animal
        for label in range(labels.shape[1]):
            training = ~held_out & ~np.isnan(labels[:, label])
            if training.any():
                predicted[held_out, label] = _ridge(vectors[training], labels[training, label], vectors[held_out])
    return float(macro_average_precision(labels, predicted))


def _ridge(
    features: NDArray[np.float64], target: NDArray[np.float64], held_out: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Fit a ridge regression and predict.

    Args:
        features: (n, D) to fit on.
        target: (n,).
        held_out: (m, D) to predict.

    Returns:
        (m,) predictions.
    """
    mean, scale = features.mean(axis=0), features.std(axis=0)
    scale = np.where(scale > 1e-7 * (1 + np.abs(mean)), scale, np.inf)  # a constant feature is ignored
    known, unknown = (features - mean) / scale, (held_out - mean) / scale
    penalty = _PENALTY * len(known) * np.eye(len(known))
    predicted: NDArray[np.float64] = (
        unknown @ known.T @ np.linalg.solve(known @ known.T + penalty, target - target.mean())
    )
    return predicted + target.mean()


def is_sound(row: Validation, base: Validation, config: FinetuneConfig) -> bool:
    """Tell whether a teacher has not collapsed, compared with the starting backbone.

    Args:
        row: the teacher's validation.
        base: the last validation before the backbone began to train.
        config: `collapse_frac` and the number of prototypes.
    """
    most, least_share = math.log(config.num_prototypes), config.advanced.collapse_frac
    low, high = min(_EDGE * most, base.teacher_entropy), max((1 - _EDGE) * most, base.teacher_entropy)
    return (
        _is_finite(row)
        and row.rank_me >= least_share * base.rank_me
        and row.target_std >= least_share * base.target_std
        and low <= row.teacher_entropy <= high
    )


def select(history: Sequence[Validation], config: FinetuneConfig) -> int:
    """Select the teacher to save: with labels the sound one of the best score, else the last sound one.

    Args:
        history: validations in the order of steps, the start first.
        config: `head_steps`, before which the backbone is the start's, and what `is_sound` needs.

    Returns:
        Index into history; 0 is the start. Of equal scores, the earlier.
    """
    base = [row for row in history if row.step <= config.head_steps][-1]
    best = 0
    for index, row in enumerate(history):
        best_score = history[best].score
        better = row.score is None or best_score is None or row.score > best_score
        # By chance, the labels of few animals may favour a collapsed teacher, so it must be sound too.
        if row.step > config.head_steps and better and is_sound(row, base, config):
            best = index
    return best


class ModelSelection:
    """Validates teachers and keeps the selected one.

    Rank 0 measures and keeps the weights; every rank selects by the same measures.
    """

    def __init__(
        self,
        images: ImageSource,
        decoded: Decoded,
        seed: int,
        frames: ValidationFrames | None,
        config: FinetuneConfig,
        workers: Workers,
    ) -> None:
        """Choose the images to validate on.

        Args:
            images: the training images.
            decoded: the same, decoded.
            seed: of the study.
            frames: of the validation animals; on rank 0 where `config.validation_animals` is above 0, else None.
            config: intervals, patience and thresholds.
            workers: rank and exchange.

        Raises:
            ContractError: frames without validation animals in the configuration, or the reverse.
        """
        self._config, self._workers, self._frames = config, workers, frames
        self._names = ["rank_me", "teacher_entropy", "target_std", *(["score"] if config.validation_animals else [])]
        self.history: list[Validation] = []
        self.best: dict[str, Tensor] = {}
        """Backbone of the selected teacher, on the CPU of rank 0; empty on other ranks."""
        if workers.rank:
            return
        if (frames is not None) != (config.validation_animals > 0):
            raise ContractError(
                f"finetune.validation_animals is {config.validation_animals} and {'no' if frames is None else 'some'} "
                "labelled frames were passed, expected frames exactly where it is above 0. This is a bug: report it."
            )
        # Drawn as a step's images are, with a number that no step has.
        rows = np.unique(Sampler(images.animals, images.videos, seed).draw(-1, NUM_IMAGES))
        self._pixels = decoded.take(rows)[..., :3]
        if frames is not None:
            every = np.arange(len(frames.targets))
            self._labelled_pixels = frames.images.decoded(config.global_px).take(every)[..., :3]

    def is_due(self, step: int) -> bool:
        """Tell whether a validation follows a step: 0, `head_steps`, then one in `validate_every`, and the last."""
        config = self._config
        at_interval = step > config.head_steps and step % config.validate_every == 0
        return step in (0, config.head_steps, config.steps) or at_interval

    def validate(self, step: int, teacher: Network) -> Validation:
        """Validate the teacher, and keep its backbone if it is selected.

        Args:
            step: steps taken.
            teacher: with its heads; only rank 0 runs it.

        Raises:
            ContractError: the starting backbone itself gives measures that are not finite.
        """
        mine = self._measure(teacher) if self._workers.rank == 0 else [0.0] * len(self._names)
        values = dict(zip(self._names, self._workers.broadcast(mine), strict=True))
        row = Validation(step=step, **values)
        if not self.history and not _is_finite(row):
            raise ContractError(
                f"finetune: the starting backbone gives {values}, expected finite numbers. Its weights or the images "
                "are damaged: check finetune.backbone."
            )
        self.history.append(row)
        if self._workers.rank == 0 and (len(self.history) == 1 or self.selected.step == step):
            self.best = {name: value.detach().cpu().clone() for name, value in teacher.backbone.state_dict().items()}
        return row

    @property
    def selected(self) -> Validation:
        """The validation of the teacher to save."""
        return self.history[select(self.history, self._config)]

    @property
    def is_over(self) -> bool:
        """Whether `patience` consecutive validations have not improved."""
        since = max(self.selected.step, self._config.head_steps)
        without_gain = sum(row.step > since for row in self.history)
        return 0 < self._config.patience <= without_gain

    def restore(self, history: Sequence[Validation], best: dict[str, Tensor]) -> None:
        """Continue from a checkpoint.

        Args:
            history: its validations.
            best: backbone of its selected teacher.
        """
        self.history, self.best = list(history), best

    def record(self, last_step: int) -> ValidationRecord:
        """Summarise validations and selection, for training.json, the manifest and the report; on rank 0.

        Args:
            last_step: steps taken.
        """
        selected, frames = self.selected, self._frames
        selection = Selection(
            has_labels=bool(self._config.validation_animals),
            animals=tuple(sorted(set(frames.images.animals))) if frames is not None else (),
            num_frames=len(frames.targets) if frames is not None else 0,
            weights_step=selected.step,
            rolled_back=selected.step < last_step > self._config.head_steps,
            stopped_early=last_step < self._config.steps,
            reason=reason(selected, self.history, last_step, self._config),
        )
        return ValidationRecord(selection=selection, history=tuple(self.history))

    @torch.no_grad()
    def _measure(self, teacher: Network) -> list[float]:
        """Measures of a teacher, in the order of `self._names`."""
        cls = torch.cat([tokens.cls for tokens in self._tokens(teacher, self._pixels)])
        logits = teacher.dino_head(cls)
        targets = sinkhorn(logits, self._config.advanced.teacher_temperature, mean_of_one)
        entropy = float(-torch.special.xlogy(targets, targets).sum(dim=-1).mean())
        values = [rank_me(cls), entropy, float(targets.std(dim=0, correction=0).mean())]
        if self._frames is not None:
            tokens = self._tokens(teacher, self._labelled_pixels)
            # Class token and mean patch token: the input of the study's probes, at a coarser resolution.
            halves = [torch.cat([one.cls for one in tokens]), torch.cat([one.patches.mean(dim=1) for one in tokens])]
            features = torch.cat([torch.nn.functional.normalize(half, dim=-1) for half in halves], dim=1)
            values.append(probe_score(features, self._frames.images.animals, self._frames.targets))
        return values

    def _tokens(self, teacher: Network, pixels: Tensor) -> list[Tokens]:
        """Tokens of images at the size of a global crop, without augmentation.

        Args:
            teacher: whose backbone is run.
            pixels: (N, S, S, 3) uint8.

        Returns:
            A list over batches of at most _BATCH images.
        """
        encoder = teacher.encoder
        return [encoder.forward(encoder.preprocess(part, self._config.global_px)) for part in pixels.split(_BATCH)]


def reason(selected: Validation, history: Sequence[Validation], last_step: int, config: FinetuneConfig) -> str:
    """Explain in a sentence or two which weights were saved and why.

    Args:
        selected: the validation of the saved teacher.
        history: all validations, the start first.
        last_step: steps taken.
        config: `head_steps`, `steps` and `patience`.
    """
    step = selected.step
    later = [row for row in history if row.step > config.head_steps]
    if not later:
        sentences = ["These are the starting weights"]
    elif step < last_step:
        sentences = [f"Rolled back to step {step} of {last_step}"]
    else:
        sentences = [f"Weights of step {step} of {last_step}"]
    if selected.score is None:
        if later and step < last_step:
            back_to = ", the last teacher that had not collapsed" if step else ": every later teacher had collapsed"
            sentences[0] += back_to
        sentences.append("Without validation animals, it is not shown that these weights are better than the start")
    elif step:
        start = math.nan if history[0].score is None else history[0].score
        sentences[0] += f", the best on the validation animals: {selected.score:.3f} against {start:.3f} at the start"
    elif later:
        scores = [row.score for row in later if row.score is not None and math.isfinite(row.score)]
        sentences[0] += (
            f": on the validation animals no later teacher without collapse beat the starting backbone "
            f"({selected.score:.3f} against {max(scores, default=math.nan):.3f} for the best of {len(later)}). "
            "These are the starting weights"
        )
    if last_step < config.steps:
        sentences.append(
            f"Stopped early, after step {last_step} of {config.steps}: {config.patience} consecutive validations "
            "did not improve"
        )
    return ". ".join(sentences) + "."


def _is_finite(row: Validation) -> bool:
    return all(math.isfinite(value) for value in measured(row).values())
