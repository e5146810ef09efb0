"""Train the pocket DINOv2 that ships with the package on synthetic scenes, and score it beside baselines.

It is trained from random weights by the same loop that fine-tunes it later, on scenes whose seeds no study uses: views
of the focal animal and of others, many of them on the background of another scene. Training uses masks but no
labels. A released DINOv2 learnt animals from 142 million images. From a few thousand rendered ones, DINO alone learns
coats and backgrounds, so a silhouette term stands in for the missing variety.
"""

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from sheep.config import AdvancedFinetuneConfig, EmbedConfig, FinetuneConfig, seed_for
from sheep.embed.features import embed
from sheep.errors import ConfigError
from sheep.finetune import checkpoint
from sheep.finetune.record import measured
from sheep.finetune.trainer import train as train_backbone
from sheep.models import dinov2 as backbones
from sheep.synthetic.behaviour import LABELS
from sheep.synthetic.pocket.dinov2_data import TRAIN_NAMESPACE, Pixels, generate_crops, generate_images

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class PocketDinov2Config:
    """Data and training of the pocket DINOv2."""

    seed: int = 0
    """Seed of scenes, weights and batches, in a namespace of its own."""
    num_scenes: int = 1200
    """Scenes rendered, >= 2."""
    frames_per_scene: int = 8
    """Frames of each scene, 1.5 s apart, >= 1."""
    image_px: int = 96
    """Side of the stored images, as in the crop stage."""
    steps: int = 4500
    """Optimiser steps."""
    batch_size: int = 32
    """Images per step."""
    learning_rate: float = 1e-3
    """Peak AdamW learning rate of backbone and heads."""
    teacher_temperature: float = 0.04
    """Softmax temperature of the teacher."""
    teacher_momentum: float = 0.99
    """EMA momentum at the first step."""
    num_prototypes: int = 128
    """Outputs of the heads; with more outputs than images in a step, the targets would be nearly uniform."""
    koleo_weight: float = 0.1
    """Weight of KoLeo."""
    silhouette_weight: float = 10.0
    """Weight of the silhouette term; early in a run its gradient is about five times that of DINO and iBOT together."""
    ground_frac: float = 0.6
    """Share of the animals pasted on another scene's background, so that the background predicts nothing, 0 to 1."""
    num_local: int = 0
    """Local crops per image; a part of an animal has no silhouette of its own, and without them a step costs less."""
    export_every: int = 250
    """Steps between exports and checkpoints."""

    def finetune(self) -> FinetuneConfig:
        """Settings of the training loop: every layer at the full learning rate, no steps for the heads alone."""
        return FinetuneConfig(
            backbone="random",  # recorded only: the loop is given the folder of the untrained network
            steps=self.steps,
            head_steps=0,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            teacher_momentum=self.teacher_momentum,
            num_prototypes=self.num_prototypes,
            num_local=self.num_local,
            silhouette_weight=self.silhouette_weight,
            device="cpu",
            advanced=AdvancedFinetuneConfig(
                head_learning_rate=self.learning_rate,
                layer_decay=1.0,
                teacher_temperature=self.teacher_temperature,
                koleo_weight=self.koleo_weight,
            ),
        )


def train(config: PocketDinov2Config, out: str, *, resume_dir: str | None = None) -> Path:
    """Train from random weights and export at every checkpoint, so that the run may be stopped at any time.

    Args:
        config: data and steps.
        out: local folder; its `weights` is always the newest export (float16), its `last` the newest checkpoint.
        resume_dir: checkpoint to resume from; None to start.

    Returns:
        Folder of the weights.

    Raises:
        ConfigError: resume_dir holds no checkpoint of this configuration.
    """
    folder = Path(out)
    start = folder / "start"
    backbones.random(seed_for(config.seed, TRAIN_NAMESPACE, "weights")).save(start)
    images = generate_images(
        config.seed,
        num_scenes=config.num_scenes,
        frames_per_scene=config.frames_per_scene,
        image_px=config.image_px,
        background_frac=config.ground_frac,
    )
    _log.info("pocket.dinov2 images=%d scenes=%d", len(images.pixels), config.num_scenes)

    def report(measures: dict[str, float]) -> None:
        if measures["step"] % 50 == 0 or measures["step"] < 3:
            _log.info("pocket.dinov2 %s", " ".join(f"{key}={value:.4f}" for key, value in measures.items()))

    def save(written: str) -> None:
        shutil.rmtree(folder / "last", ignore_errors=True)
        Path(written).rename(folder / "last")
        export(folder / "last", folder / "weights")

    train_backbone(
        images,
        str(start),
        config.finetune(),
        config.seed,
        str(folder / "fit"),
        report=report,
        save=save,
        save_every=config.export_every,
        resume_dir=resume_dir,
    )
    return folder / "weights"


def export(checkpoint_dir: Path, out: Path) -> None:
    """Write a checkpoint's teacher backbone as a float16 `save_pretrained` folder with training.json.

    Args:
        checkpoint_dir: checkpoint of the training loop.
        out: folder to write.
    """
    net = backbones.random(0)
    net.model.load_state_dict(checkpoint.teacher_backbone(checkpoint_dir), strict=True)
    net.model.half().save_pretrained(out)
    state = checkpoint.read_state(checkpoint_dir)
    every = max(1, len(state.curve) // 100)
    curve = [{name: round(value, 4) for name, value in measured(step).items()} for step in state.curve]
    kept = {"identity": state.identity, "step": state.step, "curve": curve[::every], "last": curve[-1]}
    (out / "training.json").write_text(json.dumps(kept, indent=1, sort_keys=True))


def evaluate(
    weights: str, seed: int = 0, *, num_scenes: int = 72, frames_per_scene: int = 40
) -> dict[str, dict[str, float]]:
    """Probe frozen features of crops at the true box x 1.3.

    Args:
        weights: see `sheep.models.dinov2.load`.
        seed: of the scenes, in a namespace apart from training.
        num_scenes: scenes, each with an animal of its own; they are the groups of four folds.
        frames_per_scene: frames of each scene, 0.4 s apart.

    Returns:
        Scores by encoder: `pocket`; `random 0` to `random 2`, untrained networks of the same architecture; `pixels`,
        the crop at 20 x 20. Each has the average precision of every label, their mean `macro`, and `prior`, the mean
        share of positives, which a random guess scores.

    Raises:
        ConfigError: unknown weights, or a label that does not vary in a training fold.
    """
    images, labels, groups = generate_crops(seed, num_scenes, frames_per_scene)
    config = EmbedConfig()
    # Untrained networks differ from each other by more than training may gain, so a single one is not a baseline.
    nets = {"pocket": backbones.load(weights, device="cpu")} | {f"random {n}": backbones.random(n) for n in range(3)}
    features = {name: embed(images, net, config) for name, net in nets.items()}
    features["pixels"] = small_pixels(images)
    with threadpool_limits(1):  # for small matrices threads cost more than they save
        return {name: _probe(vectors, labels, groups) for name, vectors in features.items()}


def table(runs: Sequence[dict[str, dict[str, float]]]) -> str:
    """Format the results of `evaluate` for several seeds: macro average precision by encoder."""
    names = list(runs[0])
    lines = [f"{'macro AP':<10}" + "".join(f"  set {number}" for number in range(len(runs))) + "   mean"]
    for name in names:
        macros = [run[name]["macro"] for run in runs]
        lines.append(f"{name:<10}" + "".join(f"  {macro:.3f}" for macro in macros) + f"  {np.mean(macros):.3f}")
    labels = [f"{label} {np.mean([run['pocket'][label] for run in runs]):.3f}" for label in LABELS]
    prior = runs[0][names[0]]["prior"]
    return "\n".join([*lines, f"pocket by label: {', '.join(labels)}", f"a random guess: {prior:.3f}"])


def small_pixels(images: Sequence[Pixels]) -> NDArray[np.float32]:
    """Return the baseline features of crops: (F, 1200) float32, each crop at 20 x 20 pixels."""
    shrunk = [np.asarray(Image.fromarray(image).resize((20, 20), Image.Resampling.BILINEAR)) for image in images]
    return np.stack(shrunk).reshape(len(images), -1).astype(np.float32)


def make_reducer() -> Pipeline:
    """Make the preprocessing that every encoder's features get: standardise, 64 principal components, standardise."""
    return make_pipeline(StandardScaler(), PCA(64, random_state=0, svd_solver="randomized"), StandardScaler())


def make_classifier() -> LogisticRegression:
    """Make the probe of one label."""
    return LogisticRegression(C=0.02, class_weight="balanced", max_iter=300)


def _probe(features: NDArray[np.float32], labels: NDArray[np.uint8], groups: NDArray[np.int64]) -> dict[str, float]:
    """Score one encoder's features by four-fold cross-validation, grouped by scene.

    Args:
        features: (F, D).
        labels: (F, 6) 0 or 1.
        groups: (F,) scene of each crop.
    """
    scores = np.full(labels.shape, np.nan)
    for train_rows, test_rows in GroupKFold(4).split(features, groups=groups):
        reducer = make_reducer()
        fitted, held_out = reducer.fit_transform(features[train_rows]), reducer.transform(features[test_rows])
        for column, label in enumerate(LABELS):
            targets = labels[train_rows, column]
            if targets.min() == targets.max():
                raise ConfigError(
                    f"num_scenes: got {len(set(groups.tolist()))}, expected so many that label {label!r} varies in "
                    "every training fold. Raise it."
                )
            model = make_classifier().fit(fitted, targets)
            scores[test_rows, column] = model.predict_proba(held_out)[:, 1]
    each = {label: float(average_precision_score(labels[:, i], scores[:, i])) for i, label in enumerate(LABELS)}
    return each | {"macro": float(np.mean(list(each.values()))), "prior": float(labels.mean())}
