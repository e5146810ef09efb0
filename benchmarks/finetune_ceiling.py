"""A supervised upper bound: the backbone trained with true labels on the crops of the animals without annotation.

Part of `benchmarks.finetune_variants` (variant `labels`): the ground truth of a synthetic dataset has the labels of
animals that are not annotated. Same crops, steps, batch and learning rates as fine-tuning; no teacher and no
self-supervised terms.
"""

import io
from collections.abc import Sequence

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from sheep.config import StudyConfig, seed_for
from sheep.embed.features import pool_tokens, width
from sheep.finetune import schedules
from sheep.finetune.augment import draw_noise, make_views
from sheep.finetune.dataset import Images, Sampler, working_px
from sheep.finetune.trainer import CLIP_NORM
from sheep.io import storage
from sheep.io.manifest import Manifest
from sheep.models import dinov2
from sheep.synthetic.behaviour import LABELS

AREA = (0.6, 1.0)
"""Range of a view's area as a share of the image: the whole animal stays visible, since half of it shows no posture."""


def train(crops: Manifest, videos: Sequence[str], config: StudyConfig, out: str) -> None:
    """Train the backbone and a linear layer on the features a probe would get, and save the backbone.

    Args:
        crops: the crop stage of a synthetic dataset.
        videos: whose crops and true labels are used.
        config: `archive`, `seed`, and `finetune` for start, steps, batch and learning rates.
        out: folder of the backbone.
    """
    settings = config.finetune
    images, targets = labelled(crops, videos, config.archive.root)
    network = dinov2.load(settings.backbone)
    head = nn.Linear(width(network, config.embed.advanced.pool), len(LABELS))
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    model = network.model.train().requires_grad_(True)
    groups = schedules.parameter_groups(model, [head], int(model.config.num_hidden_layers), settings)
    optimiser = torch.optim.AdamW(groups)
    parameters = [*model.parameters(), *head.parameters()]
    sampler = Sampler(images.animals, images.videos, config.seed)
    pixels = images.decoded(working_px(settings.global_px))
    for step in range(settings.steps):
        schedules.apply(optimiser, step, settings)  # the backbone's rate is 0 while only the head is trained
        rows = sampler.draw(step, settings.batch_size)
        noise = draw_noise(seed_for(config.seed, "ceiling.views", str(step)), len(rows), 1)[:, 0]
        shown = pixels.take(rows).permute(0, 3, 1, 2).float() / 255
        views = dinov2.normalise(make_views(shown, noise, settings.global_px, AREA))
        logits = head(pool_tokens(network.forward(views), config.embed.advanced.pool))
        loss = F.binary_cross_entropy_with_logits(logits, targets[torch.from_numpy(rows)])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
        optimiser.step()
    network.save(out)


def labelled(crops: Manifest, videos: Sequence[str], archive: str) -> tuple[Images, Tensor]:
    """Read the crops in which the animal was not lost, with their true labels.

    Args:
        crops: the crop stage.
        videos: whose crops are read.
        archive: folder of the synthetic dataset.

    Returns:
        N images and their labels (N, 6) float32.
    """
    rows = crops.read("crops", columns=["video", "animal", "frame", "held", "crop"], keys=set(videos))
    labels: dict[str, NDArray[np.int8]] = {}
    for video in videos:
        data = storage.read_bytes(storage.join(archive, "truth", video.rsplit(".", 1)[0] + ".parquet"))
        table = pq.read_table(io.BytesIO(data))  # a row per frame, in order
        labels[video] = np.stack([table.column(label).to_numpy() for label in LABELS], axis=1)
    kept = [row for row in rows.to_pylist() if not row["held"]]
    targets = np.stack([labels[row["video"]][row["frame"]] for row in kept]).astype(np.float32)
    images = Images(
        jpegs=[row["crop"] for row in kept],
        animals=[row["animal"] for row in kept],
        videos=[row["video"] for row in kept],
    )
    return images, torch.from_numpy(targets)
