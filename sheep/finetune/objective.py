"""The training objective: student and teacher on a batch -> the loss, its terms and signs of collapse."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sheep.config import FinetuneConfig
from sheep.finetune.data_loader import Batch
from sheep.finetune.distributed import Workers
from sheep.finetune.losses import dino_loss, ibot_loss, koleo_loss, silhouette_loss, sinkhorn
from sheep.finetune.networks import Network
from sheep.finetune.schedules import teacher_temperature
from sheep.models.dinov2 import Tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Objective:
    """The objective on this worker's part of a step."""

    loss: Tensor
    """Scalar with its graph."""
    measures: dict[str, Tensor]
    """Scalars by the names of `record.Step`: the loss, its terms and the signs of collapse."""
    is_bad: Tensor
    """Bool scalar: whether an input or output of this worker is not finite."""


def compute(
    student: Network, teacher: Network, batch: Batch, step: int, config: FinetuneConfig, workers: Workers
) -> Objective:
    """Run both networks and sum the terms: DINO + iBOT + KoLeo, and the silhouette term where masks are given.

    Args:
        student: trained; without a graph in the backbone during `head_steps`.
        teacher: gives the targets.
        batch: this worker's part of the global batch.
        step: from 0.
        config: weights of the terms, and the teacher's temperature.
        workers: targets and KoLeo are computed over the global batch.
    """
    with torch.no_grad():
        seen = teacher.selected_tokens(batch.global_views, wanted=batch.hidden)
        targets = sinkhorn(teacher.dino_head(seen.cls), teacher_temperature(step, config), workers.all_reduce)
    # While only the heads train, the backbone needs no graph.
    with torch.set_grad_enabled(step >= config.head_steps):
        tokens, cls = _student_tokens(student, batch)
    outputs = student.dino_head(cls)
    count = len(batch.global_views) // 2
    terms = {
        "loss_dino": dino_loss(outputs.view(-1, count, outputs.shape[-1]), targets.view(2, count, -1)),
        "loss_ibot": _ibot(student, teacher, batch, tokens, seen, teacher_temperature(step, config), workers),
        # Per view: over both, the nearest neighbour of an image would be its own other view.
        "loss_koleo": torch.stack(
            [koleo_loss(view, workers.rank, workers.world, workers.all_reduce) for view in tokens.cls.split(count)]
        ).mean(),
    }
    loss = terms["loss_dino"] + terms["loss_ibot"] + config.advanced.koleo_weight * terms["loss_koleo"]
    if batch.masks is not None:
        shapes, shares = student.shape_head(tokens.cls), student.part_head(tokens.patches).squeeze(-1)
        terms["loss_silhouette"] = silhouette_loss(shapes, shares, batch.masks)
        loss = loss + config.silhouette_weight * terms["loss_silhouette"]
    # Targets and KoLeo mix the values of all workers, so nan spreads to everyone. These three are this worker's own.
    is_bad = ~torch.stack([part.isfinite().all() for part in (batch.global_views, seen.cls, outputs)]).all()
    return Objective(loss=loss, measures=terms | {"loss": loss} | _collapse_signs(targets, seen.cls), is_bad=is_bad)


def _student_tokens(student: Network, batch: Batch) -> tuple[Tokens, Tensor]:
    """Run the student on all views.

    Args:
        student: backbone and heads.
        batch: this worker's views; the hidden patches are replaced by the mask token.

    Returns:
        Tokens of the global views, whose patch tokens are the hidden ones only, unless the silhouette term reads all of
        them; and (views B, D) class tokens of the global and then the local views.
    """
    views, hidden, scale = batch.global_views, batch.hidden, batch.global_branch_scale
    if batch.masks is None:
        tokens = student.selected_tokens(views, hidden, scale, wanted=hidden)
    else:
        tokens = student.tokens(views, hidden, scale)
    cls = [tokens.cls]
    if batch.local_views is not None:
        cls.append(student.selected_tokens(batch.local_views, branch_scale=batch.local_branch_scale).cls)
    return tokens, torch.cat(cls)


def _ibot(
    student: Network,
    teacher: Network,
    batch: Batch,
    tokens: Tokens,
    seen: Tokens,
    temperature: float,
    workers: Workers,
) -> Tensor:
    """Compute the iBOT term; 0 where no patch is hidden.

    Args:
        student: its iBOT head is trained.
        teacher: its iBOT head gives the targets.
        batch: which patches are hidden.
        tokens: the student's, see `_student_tokens`.
        seen: the teacher's at the hidden patches.
        temperature: of the teacher.
        workers: targets are balanced over the global batch.
    """
    if batch.hidden is None:
        return tokens.cls.new_zeros(())
    with torch.no_grad():
        targets = sinkhorn(teacher.ibot_head(seen.patches), temperature, workers.all_reduce)
    patches = tokens.patches if batch.masks is None else tokens.patches[batch.hidden]
    return ibot_loss(student.ibot_head(patches), targets)


def _collapse_signs(targets: Tensor, features: Tensor) -> dict[str, Tensor]:
    """Measures that fall when the teacher collapses; see `record.Step`.

    Args:
        targets: (N, K) probabilities.
        features: (N, D) class tokens of the teacher.
    """
    entropy = -torch.special.xlogy(targets, targets).sum(dim=-1).mean()
    unit = torch.nn.functional.normalize(features.float(), dim=-1)
    spread = unit.std(dim=0, correction=0).square().sum().sqrt()
    return {"teacher_entropy": entropy, "target_std": targets.std(dim=0, correction=0).mean(), "feature_std": spread}
