"""A supervised upper bound for the pocket DINOv2: the same architecture trained with labels.

If a network cannot learn the six behaviours with labels, its scores say nothing about pre-training without them. So the
architecture of the pocket DINOv2 is trained from random weights on labelled crops, and so is a logistic regression on
the same crops at 20 x 20 pixels. Both are scored on crops of scenes that neither was trained on.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score
from sklearn.pipeline import Pipeline, make_pipeline
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from sheep.config import seed_for
from sheep.embed.features import pool_tokens, width
from sheep.finetune.augment import draw_noise, make_views
from sheep.models import dinov2 as backbones
from sheep.models.dinov2 import normalise, resize
from sheep.synthetic.pocket.dinov2 import make_classifier, make_reducer, small_pixels
from sheep.synthetic.pocket.dinov2_data import Pixels, generate_crops

_NAMESPACE = "pocket.dinov2.supervised"
_IMAGE_PX = 64
_BATCH = 48
_AREA = (0.6, 1.0)
"""Range of a view's area as a share of the image: the whole animal stays visible, since half of it shows no posture."""
_PEAK_RATE = 1e-3


def compare(
    seeds: Sequence[int],
    *,
    steps: int = 800,
    num_scenes: int = 400,
    frames_per_scene: int = 10,
    num_scored_scenes: int = 72,
    train_seed: int = 0,
) -> dict[str, list[float]]:
    """Train the network and the pixel baseline on the same labelled crops, and score both on unseen ones.

    Args:
        seeds: of the scored scenes, the same that `dinov2.evaluate` scores.
        steps: of AdamW, 48 images each.
        num_scenes: scenes of the training crops, in a namespace of their own; each has an animal of its own.
        frames_per_scene: crops of each scene, 0.4 s apart.
        num_scored_scenes: scenes of each scored set, 40 crops each.
        train_seed: of training scenes, weights and batches.

    Returns:
        `network` and `pixels` -> macro average precision per scored seed.
    """
    images, labels, _ = generate_crops(train_seed, num_scenes, frames_per_scene, _NAMESPACE)
    network, head = train(images, labels, steps, train_seed)
    regressions = _regress(small_pixels(images), labels)
    scores: dict[str, list[float]] = {"network": [], "pixels": []}
    for seed in seeds:
        unseen, targets, _ = generate_crops(seed, num_scored_scenes, 40)
        scores["network"].append(macro(predict(network, head, unseen), targets))
        pixels = small_pixels(unseen)
        columns = [model.predict_proba(pixels)[:, 1] for model in regressions]
        scores["pixels"].append(macro(np.stack(columns, axis=1), targets))
    return scores


def table(scores: dict[str, list[float]]) -> str:
    """Format the result of `compare` for a terminal."""
    count = len(scores["network"])
    lines = [f"{'macro AP':<10}" + "".join(f"  set {number}" for number in range(count)) + "   mean"]
    for name, macros in scores.items():
        lines.append(f"{name:<10}" + "".join(f"  {value:.3f}" for value in macros) + f"  {np.mean(macros):.3f}")
    return "\n".join(lines)


def train(
    images: Sequence[Pixels], labels: NDArray[np.uint8], steps: int, seed: int
) -> tuple[backbones.Backbone, nn.Linear]:
    """Train every weight of the network, and a linear layer on the features that a probe would get.

    Args:
        images: F crops (96, 96, 3).
        labels: (F, L) 0 or 1.
        steps: of AdamW, >= 0.
        seed: of weights and batches.

    Returns:
        Network and linear layer.
    """
    network = backbones.random(seed_for(seed, _NAMESPACE, "weights"))
    head = nn.utils.skip_init(nn.Linear, width(network, "cls_grid"), labels.shape[1])
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    parameters = [*network.model.requires_grad_(True).parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=_PEAK_RATE, weight_decay=0.05)
    rng = np.random.default_rng(seed_for(seed, _NAMESPACE, "batches"))
    pixels, targets = torch.from_numpy(np.stack(images)), torch.from_numpy(labels).float()
    for step in range(steps):
        # 50 steps of linear warm-up, then a cosine to 0.
        for group in optimiser.param_groups:
            group["lr"] = _PEAK_RATE * min((step + 1) / 50, (1 + math.cos(math.pi * step / steps)) / 2)
        rows = torch.from_numpy(rng.integers(len(images), size=_BATCH))
        noise = draw_noise(seed_for(seed, _NAMESPACE, f"views {step}"), _BATCH, 1)[:, 0]
        views = make_views(pixels[rows].permute(0, 3, 1, 2).float() / 255, noise, _IMAGE_PX, _AREA)
        loss = F.binary_cross_entropy_with_logits(_logits(network, head, normalise(views)), targets[rows])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
    return network, head


def _logits(network: backbones.Backbone, head: nn.Linear, views: Tensor) -> Tensor:
    """Run the network and the linear layer.

    Args:
        network: the backbone.
        head: the linear layer.
        views: (B, 3, S, S) normalised.

    Returns:
        (B, L).
    """
    logits: Tensor = head(pool_tokens(network.forward(views), "cls_grid"))
    return logits


@torch.inference_mode()
def predict(network: backbones.Backbone, head: nn.Linear, images: Sequence[Pixels]) -> NDArray[np.float32]:
    """Compute the logits of crops.

    Args:
        network: the backbone.
        head: the linear layer.
        images: F crops (96, 96, 3).

    Returns:
        (F, L).
    """
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    parts = [normalise(resize(part.float() / 255, _IMAGE_PX)) for part in pixels.split(256)]
    return torch.cat([_logits(network, head, part) for part in parts]).numpy()


def _regress(features: NDArray[np.float32], labels: NDArray[np.uint8]) -> list[Pipeline]:
    """Fit one logistic regression per label, with the preprocessing of `dinov2.evaluate`.

    Args:
        features: (F, D).
        labels: (F, L) 0 or 1.
    """
    with threadpool_limits(1):
        return [
            make_pipeline(make_reducer(), make_classifier()).fit(features, labels[:, column])
            for column in range(labels.shape[1])
        ]


def macro(scores: NDArray[np.floating], labels: NDArray[np.uint8]) -> float:
    """Compute the mean over labels of the average precision.

    Args:
        scores: (F, L); only their order counts.
        labels: (F, L) 0 or 1.
    """
    return float(np.mean([average_precision_score(labels[:, i], scores[:, i]) for i in range(labels.shape[1])]))
