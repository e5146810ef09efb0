"""The losses, and the teacher's targets.

lightly offers the same losses, and KoLeo is lightly's. DINO and iBOT are not: lightly updates their centre inside
`forward` and reduces it through torch.distributed, which would bind them to Ray, and it has no Sinkhorn-Knopp. A test
compares ours with lightly's. Sinkhorn-Knopp (as in DINOv2's releases) replaces a moving centre because on small data
the centre let the targets drift to uniform.
"""

import torch
import torch.nn.functional as F
from lightly.loss import KoLeoLoss
from torch import Tensor

from sheep.finetune.distributed import AllReduce

STUDENT_TEMPERATURE = 0.1
"""Source: DINO, arXiv 2104.14294, and DINOv2's released configuration."""

_SINKHORN_ROUNDS = 3
"""Source: SwAV and DINOv2's released code."""


@torch.no_grad()
def sinkhorn(logits: Tensor, temperature: float, all_reduce: AllReduce) -> Tensor:
    """Turn the teacher's outputs into targets that use all prototypes equally over the global batch.

    Args:
        logits: (N, K) cosines in [-1, 1]; the same N on every worker.
        temperature: sharpening, > 0.
        all_reduce: mean over the workers.

    Returns:
        (N, K) float32, rows summing to 1. If all rows of the global batch are equal, the targets are uniform.

    Source: SwAV (arXiv 2006.09882, A.1) as used in DINOv2 (arXiv 2304.07193, section 4).
    """
    # Cosines are at most 1, so this never overflows, and for temperatures down to 0.025 no row underflows to zero.
    weights = torch.exp((logits.float() - 1) / temperature)
    for _ in range(_SINKHORN_ROUNDS):
        use = all_reduce(weights.mean(dim=0))  # (K,)
        weights = weights / use.clamp_min(1e-30)
        weights = weights / weights.sum(dim=1, keepdim=True)
    return weights


def dino_loss(student: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy between the teacher's view and every other view of the same image.

    Args:
        student: (V, B, K) outputs for all views; the first T are the teacher's.
        targets: (T, B, K) probabilities.

    Returns:
        Mean over images and over the T * V - T pairs of different views [nats], >= 0.

    Source: DINO, arXiv 2104.14294, equation 3.
    """
    log_student = torch.log_softmax(student.float() / STUDENT_TEMPERATURE, dim=-1)
    pairs = -torch.einsum("tbk,vbk->tv", targets, log_student) / student.shape[1]
    num_targets, num_views = pairs.shape
    same = torch.eye(num_targets, num_views, dtype=torch.bool, device=pairs.device)
    return pairs.masked_fill(same, 0).sum() / (num_targets * (num_views - 1))


def ibot_loss(student: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy at the patches that are hidden from the student.

    Args:
        student: (M, K) outputs at the hidden patches.
        targets: (M, K) probabilities of the teacher, which sees these patches.

    Returns:
        Mean over patches [nats], >= 0. Every masked view hides the same number, so this is the mean over views too.

    Source: iBOT, arXiv 2111.07832, equation 2. DINOv2 divides by all views, masked or not, i.e. by twice that number.
    """
    log_student = torch.log_softmax(student.float() / STUDENT_TEMPERATURE, dim=-1)
    return -(targets * log_student).sum(dim=-1).mean()


def silhouette_loss(shapes: Tensor, parts: Tensor, masks: Tensor) -> Tensor:
    """Predict the animal's silhouette from the class token, and from each patch token the share it covers there.

    Args:
        shapes: (N, s * s) logits from the class tokens, row by row.
        parts: (N, P) logits from the patch tokens, P a square number.
        masks: (N, 1, S, S) in [0, 1]; S a multiple of s and of the side of the patch grid.

    Returns:
        Mean cross-entropy [nats] over cells plus that over patches, >= 0.

    Source: ours. DINO rewards any difference between images, which in one archive is mostly coat and ground. The
        outline, which SAM-2 provides, shows the posture.
    """
    total = shapes.new_zeros(())
    for logits in (shapes, parts):
        side = round(logits.shape[1] ** 0.5)
        covered = F.adaptive_avg_pool2d(masks, side).flatten(1)
        total = total + F.binary_cross_entropy_with_logits(logits.float(), covered)
    return total


def koleo_loss(features: Tensor, rank: int, world: int, all_reduce: AllReduce) -> Tensor:
    """Minus the mean log distance to the nearest other image of the global batch.

    Args:
        features: (B, D) this worker's class tokens of one view.
        rank: this worker.
        world: number of workers.
        all_reduce: mean over the workers.

    Returns:
        The same value on every worker. Its gradient here is that of the global loss in this worker's rows, times
        `world`, so that the mean over workers is the global gradient.

    Source: DINOv2, arXiv 2304.07193, section 4; lightly's KoLeoLoss, which searches neighbours within one worker only.
    """
    loss: Tensor
    if world == 1:
        loss = KoLeoLoss()(features)
        return loss
    count = len(features)
    mine = slice(rank * count, (rank + 1) * count)
    # A mean over workers of rows that only one of them fills, times `world`, gathers all rows.
    everyone = features.new_zeros(world * count, features.shape[1])
    everyone[mine] = features.detach() * world
    everyone = all_reduce(everyone).clone()
    gathered = torch.cat([everyone[: mine.start], features, everyone[mine.stop :]])
    loss = KoLeoLoss()(gathered)
    return loss.detach() + world * (loss - loss.detach())
