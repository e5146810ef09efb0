"""Can the pocket DINOv2's network learn the six behaviours at all? The same network, trained with labels.

A network that fails with the answers before it says nothing about pre-training without them. So the architecture of the
pocket DINOv2 is trained from random weights on labelled crops, and 20 x 20 pixels with a logistic regression on the
very same crops; both are scored on crops of scenes that neither saw.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from sheep.config import seed_for
from sheep.embed.features import pool_tokens, width
from sheep.finetune.augment import draw_noise, make_views
from sheep.models import dinov2 as backbones
from sheep.models.dinov2 import normalise, resize
from sheep.synthetic.pocket.dinov2 import draw_crops

_NAMESPACE = "pocket.dinov2.supervised"
_IMAGE_PX = 64
_BATCH = 48
_AREA = (0.6, 1.0)  # the animal stays whole in the view: half of it has no posture
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
    """Train network and pixels on the same labelled crops and score both on fresh ones.

    Args:
        seeds: of the scored scenes, those that `pocket_dinov2.evaluate` scores.
        steps: of AdamW, 48 images each.
        num_scenes: scenes of the training crops, an animal each; a namespace of their own.
        frames_per_scene: crops of each, 0.4 s apart.
        num_scored_scenes: scenes of each scored set, 40 crops each.
        train_seed: of training scenes, weights and batches.

    Returns:
        `network` and `pixels` -> macro average precision per scored seed.
    """
    images, labels, _ = draw_crops(train_seed, num_scenes, frames_per_scene, _NAMESPACE)
    network, head = train(images, labels, steps, train_seed)
    regressions = _regress(_small(images), labels)
    found: dict[str, list[float]] = {"network": [], "pixels": []}
    for seed in seeds:
        fresh, truth, _ = draw_crops(seed, num_scored_scenes, 40)
        found["network"].append(macro(predict(network, head, fresh), truth))
        pixels = _small(fresh)
        columns = [model.predict_proba(pixels)[:, 1] for model in regressions]
        found["pixels"].append(macro(np.stack(columns, axis=1), truth))
    return found


def table(found: dict[str, list[float]]) -> str:
    """Lay out what `compare` returned, for a terminal."""
    count = len(found["network"])
    lines = [f"{'macro AP':<10}" + "".join(f"  set {number}" for number in range(count)) + "   mean"]
    for name, macros in found.items():
        lines.append(f"{name:<10}" + "".join(f"  {macro:.3f}" for macro in macros) + f"  {np.mean(macros):.3f}")
    return "\n".join(lines)


def train(images: list[np.ndarray], labels: np.ndarray, steps: int, seed: int) -> tuple[backbones.Backbone, nn.Linear]:
    """Fit every weight of the network, and a linear layer on the features that a probe would get, to the labels.

    Args:
        images: (96, 96, 3) uint8 crops.
        labels: (F, L) 0 or 1.
        steps: of AdamW.
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
    logits: Tensor = head(pool_tokens(network.forward(views), "cls_grid"))
    return logits


@torch.inference_mode()
def predict(network: backbones.Backbone, head: nn.Linear, images: list[np.ndarray]) -> np.ndarray:
    """Return (F, L) logits of crops."""
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    parts = [normalise(resize(part.float() / 255, _IMAGE_PX)) for part in pixels.split(256)]
    return torch.cat([_logits(network, head, part) for part in parts]).numpy()


def _small(images: list[np.ndarray]) -> np.ndarray:
    shrunk = [np.asarray(Image.fromarray(image).resize((20, 20), Image.Resampling.BILINEAR)) for image in images]
    return np.stack(shrunk).reshape(len(images), -1).astype(np.float32)


def _regress(features: np.ndarray, labels: np.ndarray) -> list[Pipeline]:
    """One logistic regression per label, prepared as `pocket_dinov2.evaluate` prepares every encoder."""
    models = []
    with threadpool_limits(1):
        for column in range(labels.shape[1]):
            reduce = make_pipeline(StandardScaler(), PCA(64, random_state=0, svd_solver="randomized"), StandardScaler())
            regression = LogisticRegression(C=0.02, class_weight="balanced", max_iter=300)
            models.append(make_pipeline(reduce, regression).fit(features, labels[:, column]))
    return models


def macro(scores: np.ndarray, truth: np.ndarray) -> float:
    """Mean over labels of the average precision of scores (F, L)."""
    return float(np.mean([average_precision_score(truth[:, i], scores[:, i]) for i in range(truth.shape[1])]))
