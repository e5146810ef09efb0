"""Is the teacher sound, is it better than what it started from, and which teacher is saved.

Every so many steps the first worker measures the teacher, and all workers decide by its numbers. With labelled frames of
animals that nothing else uses, the teacher that tells their labels best is saved, the start included; so the result is never
worse on them than the backbone it started from. Without labels, only a collapse can be seen: then the last sound teacher is
saved, and that it is better than the start is not shown.
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
from sheep.finetune.distributed import Workers, identity
from sheep.finetune.losses import sinkhorn
from sheep.finetune.networks import Network
from sheep.models.dinov2 import Tokens

NUM_IMAGES = 256
"""Images without labels that a teacher is measured on, drawn as a step's are."""
_BATCH = 64
_PENALTY = 1.0
"""Of the ridge regression, per image: a direction of average variance keeps half its weight."""
_EDGE = 0.01
"""Targets within this share of no or of all uncertainty are at their bound."""

Row = dict[str, float]
"""What was measured of one teacher: step, rank_me, teacher_entropy, target_std and, with labels, score."""


@dataclass(frozen=True, kw_only=True)
class GuardFrames:
    """Labelled images of animals that neither training nor the study's scores use."""

    images: ImageSource
    targets: NDArray[np.floating[Any]]
    """(N, L) 0 or 1; nan is unscored."""

    def __post_init__(self) -> None:
        if self.targets.ndim != 2 or len(self.targets) != len(self.images.animals):
            raise ContractError(
                f"guard: targets {self.targets.shape} for {len(self.images.animals)} images, expected (N, L) with a row for each."
            )
        animals = sorted(set(self.images.animals))
        with np.errstate(all="ignore"):
            shares = [float(np.nanmean(column)) if np.isfinite(column).any() else 0.0 for column in self.targets.T]
        if len(animals) < 2 or not any(0 < share < 1 for share in shares):
            raise ConfigError(
                f"guard: {len(animals)} animals ({', '.join(animals)}), labels hold in shares {[round(share, 3) for share in shares]} of their "
                "frames; expected two animals or more, and a label that holds in some frames and not in others. Raise finetune.guard_animals, "
                "annotate more, or set it to 0."
            )


def rank_me(features: Tensor) -> float:
    """Count the directions that features use, softly: from 1 (all along one line) to min(N, D).

    Args:
        features: (N, D), not centred.

    Returns:
        The exponential of the entropy of the singular values' shares; nan where a feature is no number.

    Source: RankMe, arXiv 2210.02885, equation 1.
    """
    if not bool(features.isfinite().all()):
        return math.nan
    values = torch.linalg.svdvals(features.double())
    shares = values / values.sum().clamp_min(torch.finfo(values.dtype).tiny)
    return float(torch.exp(-torch.special.xlogy(shares, shares).sum()))


def probe_score(features: Tensor, animals: Sequence[str], targets: NDArray[np.floating[Any]]) -> float:
    """Score how well a linear probe fitted on the other animals tells an animal's labels.

    Args:
        features: (N, D).
        animals: of each; the probe that tells an animal's labels has seen none of its images.
        targets: (N, L) 0 or 1, nan where unscored; an unscored image has no say in that label.

    Returns:
        Macro average precision over all images, each predicted without its animal; nan where a feature is no number.

    Source: ridge regression in its dual form on standardised features, so that a look has nothing to tune and costs a solve of N x N.
    """
    if not bool(features.isfinite().all()):
        return math.nan
    vectors, truth = features.double().cpu().numpy(), np.asarray(targets, dtype=np.float64)
    names, found = np.asarray(animals, dtype=str), np.zeros(truth.shape)
    for animal in np.unique(names):
        mine = names == animal
        for label in range(truth.shape[1]):
            others = ~mine & ~np.isnan(truth[:, label])
            if others.any():
                found[mine, label] = _ridge(vectors[others], truth[others, label], vectors[mine])
    return float(macro_average_precision(truth, found))


def _ridge(seen: NDArray[np.float64], target: NDArray[np.float64], unseen: NDArray[np.float64]) -> NDArray[np.float64]:
    mean, scale = seen.mean(axis=0), seen.std(axis=0)
    scale = np.where(scale > 1e-7 * (1 + np.abs(mean)), scale, np.inf)  # what does not vary says nothing
    known, asked = (seen - mean) / scale, (unseen - mean) / scale
    penalty = _PENALTY * len(known) * np.eye(len(known))
    told: NDArray[np.float64] = asked @ known.T @ np.linalg.solve(known @ known.T + penalty, target - target.mean())
    return told + target.mean()


def is_sound(row: Row, base: Row, config: FinetuneConfig) -> bool:
    """Whether a teacher still tells images apart, measured against the start's backbone.

    Args:
        row: what was measured.
        base: what was measured last before the backbone moved.
        config: `collapse_frac` and the number of prototypes.
    """
    most = math.log(config.num_prototypes)
    low, high = min(_EDGE * most, base["teacher_entropy"]), max((1 - _EDGE) * most, base["teacher_entropy"])
    return (
        all(math.isfinite(value) for value in row.values())
        and row["rank_me"] >= config.collapse_frac * base["rank_me"]
        and row["target_std"] >= config.collapse_frac * base["target_std"]
        and low <= row["teacher_entropy"] <= high
    )


def choose(history: Sequence[Row], config: FinetuneConfig) -> int:
    """Choose whose weights are saved: the sound one with the best score where there are labels, else the last sound one.

    Args:
        history: measured teachers in the order of steps, the start first.
        config: `head_steps`, until which the backbone is the start's, and what `is_sound` needs.

    Returns:
        Index into history; 0 is the start. The earlier of equals.
    """
    base = [row for row in history if row["step"] <= config.head_steps][-1]
    best = 0
    for index, row in enumerate(history):
        # Labels of few animals can favour a collapsed teacher by chance, so it has to be sound too.
        better = "score" not in row or row["score"] > history[best]["score"]
        if row["step"] > config.head_steps and better and is_sound(row, base, config):
            best = index
    return best


class Guard:
    """Measures teachers and keeps the chosen one; only the first worker measures and keeps, all decide."""

    def __init__(
        self,
        images: ImageSource,
        decoded: Decoded,
        seed: int,
        frames: GuardFrames | None,
        config: FinetuneConfig,
        workers: Workers,
    ) -> None:
        self._config, self._workers, self._frames = config, workers, frames
        self._names = ["rank_me", "teacher_entropy", "target_std", *(["score"] if config.guard_animals else [])]
        self.history: list[Row] = []
        self.best: dict[str, Tensor] = {}
        """Backbone of the chosen teacher, on the CPU of the first worker."""
        if workers.rank:
            return
        if (frames is not None) != (config.guard_animals > 0):
            raise ContractError(
                f"guard: finetune.guard_animals is {config.guard_animals} and {'no' if frames is None else 'some'} labelled frames were handed in, "
                "expected frames exactly where it is above 0."
            )
        # As a step is drawn, of a number that no step has.
        rows = np.unique(Sampler(images.animals, images.videos, seed).draw(-1, NUM_IMAGES))
        self._pixels = decoded.take(rows)[..., :3]
        if frames is not None:
            self._shown = frames.images.decoded(config.global_px).take(np.arange(len(frames.targets)))[..., :3]

    def due(self, step: int) -> bool:
        """Whether the teacher after so many steps is measured: the start, the trained heads, every `guard_every` steps and the last."""
        config = self._config
        moving = step > config.head_steps and step % config.guard_every == 0
        return step in (0, config.head_steps, config.steps) or moving

    def look(self, step: int, teacher: Network) -> Row:
        """Measure the teacher after so many steps, and keep its backbone if it is now the one to save.

        Raises:
            ContractError: the starting backbone itself gives no numbers.
        """
        mine = self._measure(teacher) if self._workers.rank == 0 else [0.0] * len(self._names)
        row = {"step": float(step), **dict(zip(self._names, self._workers.from_first(mine), strict=True))}
        if not self.history and not all(math.isfinite(value) for value in row.values()):
            raise ContractError(
                f"guard: the starting backbone gives {row}, expected numbers. Its weights or the images are damaged: check finetune.backbone."
            )
        self.history.append(row)
        if self._workers.rank == 0 and (len(self.history) == 1 or self.chosen["step"] == step):
            self.best = {name: value.detach().cpu().clone() for name, value in teacher.backbone.state_dict().items()}
        return row

    @property
    def chosen(self) -> Row:
        """The teacher to save."""
        return self.history[choose(self.history, self._config)]

    @property
    def is_over(self) -> bool:
        """Whether so many measured teachers in a row brought nothing that going on is idle."""
        since = max(self.chosen["step"], float(self._config.head_steps))
        idle = sum(row["step"] > since for row in self.history)
        return 0 < self._config.guard_patience <= idle

    def restore(self, history: list[Row], best: dict[str, Tensor]) -> None:
        """Go on from what a checkpoint held."""
        self.history, self.best = history, best

    def facts(self, last_step: int) -> dict[str, Any]:
        """What happened, as plain values for training.json, the manifest and the report."""
        chosen, frames = self.chosen, self._frames
        return {
            "labelled": bool(self._config.guard_animals),
            "animals": sorted(set(frames.images.animals)) if frames is not None else [],
            "num_frames": len(frames.targets) if frames is not None else 0,
            "history": self.history,
            "weights_step": int(chosen["step"]),
            "rolled_back": chosen["step"] < last_step > self._config.head_steps,
            "stopped_early": last_step < self._config.steps,
            "said": said(chosen, self.history, last_step, self._config),
        }

    @torch.no_grad()
    def _measure(self, teacher: Network) -> list[float]:
        cls = torch.cat([tokens.cls for tokens in self._tokens(teacher, self._pixels)])
        logits = teacher.dino_head(cls)
        targets = sinkhorn(logits, self._config.teacher_temperature, identity)
        entropy = float(-torch.special.xlogy(targets, targets).sum(dim=-1).mean())
        found = [rank_me(cls), entropy, float(targets.std(dim=0, correction=0).mean())]
        if self._frames is not None:
            seen = self._tokens(teacher, self._shown)
            # Class token and mean patch: what the study's own probes read, if less finely.
            halves = [
                torch.cat(part) for part in zip(*((one.cls, one.patches.mean(dim=1)) for one in seen), strict=True)
            ]
            features = torch.cat([torch.nn.functional.normalize(half, dim=-1) for half in halves], dim=1)
            found.append(probe_score(features, self._frames.images.animals, self._frames.targets))
        return found

    def _tokens(self, teacher: Network, pixels: Tensor) -> list[Tokens]:
        encoder = teacher.encoder
        return [encoder.forward(encoder.preprocess(part, self._config.global_px)) for part in pixels.split(_BATCH)]


def said(chosen: Row, history: Sequence[Row], last_step: int, config: FinetuneConfig) -> str:
    """Which weights these are and why, in a sentence or two."""
    step = int(chosen["step"])
    later = [row for row in history if row["step"] > config.head_steps]
    back = "These are the starting weights" if not later else f"Rolled back to step {step} of {last_step}"
    words = [back if not later or step < last_step else f"Weights of step {step} of {last_step}"]
    if "score" not in chosen:
        if later and step < last_step:
            words[0] += ", the last teacher that had not collapsed" if step else ": every later teacher had collapsed"
        words.append("No labelled guard was used: that they are better than the start is not shown")
    elif step:
        start = history[0]["score"]
        words[0] += f", the best on the guard animals: {chosen['score']:.3f} against {start:.3f} at the start"
    elif later:
        best = max((row["score"] for row in later if math.isfinite(row["score"])), default=math.nan)
        words[0] += (
            f": on the guard animals no sound later teacher beat the starting backbone ({chosen['score']:.3f} against {best:.3f} for the best of "
            f"{len(later)}). These are the starting weights"
        )
    if last_step < config.steps:
        words.append(
            f"Stopped at step {last_step} of {config.steps}: {config.guard_patience} looks in a row brought no gain"
        )
    return ". ".join(words) + "."
