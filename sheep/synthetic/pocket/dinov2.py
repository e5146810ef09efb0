"""Procedural scenes -> the pocket DINOv2 that ships with the package, and what it is worth beside controls.

It is trained by the same loop that fine-tunes it later, from random weights, on scenes of seeds that no study uses:
views of animals, the focal one and others, many on ground of another scene. Labels take no part in training; masks do.
A released DINOv2 knows animals from 142 million pictures, a few thousand drawn ones teach DINO alone coats and ground;
outlines stand in.
"""

import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from sheep.config import AdvancedFinetuneConfig, EmbedConfig, FinetuneConfig, seed_for
from sheep.crop import geometry
from sheep.embed.features import embed
from sheep.errors import ConfigError
from sheep.finetune import checkpoint
from sheep.finetune.dataset import Arrays
from sheep.finetune.record import measured
from sheep.finetune.trainer import train as train_backbone
from sheep.models import dinov2 as backbones
from sheep.schemas import LABELS
from sheep.synthetic.scene import Frame, SceneConfig, draw_scene, render

_log = logging.getLogger(__name__)

_SIZES = ((128, 128), (144, 192), (192, 256), (240, 320))
_NUM_GROUNDS = 200
_NAMESPACE = "pocket.dinov2"
_EVAL_NAMESPACE = "pocket.dinov2.eval"


@dataclass(frozen=True, kw_only=True, slots=True)
class PocketDinov2Config:
    """How the pocket DINOv2 is made."""

    seed: int = 0
    """Of scenes, weights and batches; scenes live in a namespace of their own."""
    num_scenes: int = 1200
    """Scenes drawn; >= 2."""
    frames_per_scene: int = 8
    """Frames kept of each scene, seconds apart; >= 1."""
    image_px: int = 96
    """Side at which images are kept, as the crop stage stores them."""
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
    """Outputs of the heads; more than there are images in a step would leave the targets nearly uniform."""
    koleo_weight: float = 0.1
    """Weight of KoLeo."""
    silhouette_weight: float = 10.0
    """Weight of the silhouette term; its gradient was then some five times DINO's and iBOT's together, early in a
    run."""
    ground_frac: float = 0.6
    """Share of animals that are put on ground of another scene, so that the ground tells nothing about them."""
    num_local: int = 0
    """Local crops per image; a piece of an animal has no outline of its own, and steps cost less without."""
    export_every: int = 250
    """Steps between exports and checkpoints."""

    def finetune(self) -> FinetuneConfig:
        """Settings of the training loop: every layer at full rate, no phase of heads alone."""
        return FinetuneConfig(
            backbone="random",  # for the record: the loop is given the folder of the untrained network
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
    """Train from random weights; export at every checkpoint, so that the run may be stopped at any time.

    Args:
        config: data and steps.
        out: local folder; `weights` in it always holds the newest export (float16), `last` the newest checkpoint.
        resume_dir: checkpoint to go on from.

    Returns:
        Folder of the weights.
    """
    folder = Path(out)
    start = folder / "start"
    backbones.random(seed_for(config.seed, _NAMESPACE, "weights")).save(start)
    images = draw_images(config)

    def report(measures: dict[str, float]) -> None:
        if measures["step"] % 50 == 0 or measures["step"] < 3:
            _log.info("pocket.dinov2 %s", " ".join(f"{key}={value:.4f}" for key, value in measures.items()))

    def save(written: str) -> None:
        shutil.rmtree(folder / "last", ignore_errors=True)
        Path(written).rename(folder / "last")
        export(folder / "last", folder / "weights")

    train_backbone(
        images, str(start), config.finetune(), config.seed, str(folder / "fit"),
        report=report, save=save, save_every=config.export_every, resume_dir=resume_dir,
    )  # fmt: skip
    return folder / "weights"


def export(checkpoint_dir: Path, out: Path) -> None:
    """Write the teacher's backbone of a checkpoint as a float16 `save_pretrained` folder with training.json."""
    net = backbones.random(0)
    net.model.load_state_dict(checkpoint.teacher_backbone(checkpoint_dir), strict=True)
    net.model.half().save_pretrained(out)
    progress = checkpoint.read_progress(checkpoint_dir)
    every = max(1, len(progress.curve) // 100)
    curve = [{name: round(value, 4) for name, value in measured(step).items()} for step in progress.curve]
    kept = {"identity": progress.identity, "step": progress.step, "curve": curve[::every], "last": curve[-1]}
    (out / "training.json").write_text(json.dumps(kept, indent=1, sort_keys=True))


def draw_images(config: PocketDinov2Config) -> Arrays:
    """Draw training images.

    For every kept frame the focal animal, and another animal where there is one, some on other ground.

    Returns: Arrays (N, S, S, 4), the mask as last channel, whose `animals` are scenes and whose `videos` are kinds, so
        that batches hold scenes and kinds alike often.
    """
    pixels: list[np.ndarray] = []
    scenes: list[str] = []
    kinds: list[str] = []
    grounds: list[np.ndarray] = []
    for number in range(config.num_scenes):
        rng = np.random.default_rng(seed_for(config.seed, _NAMESPACE, f"scene {number}"))
        for frame in _spread_frames(rng, config.frames_per_scene):
            for kind, image in _views(frame, rng, config.image_px):
                if kind == "place":
                    grounds = [*grounds[-_NUM_GROUNDS:], image]
                    continue  # has no one animal whose outline could be asked for
                if grounds and rng.random() < config.ground_frac:
                    image = _paste(image, grounds[int(rng.integers(len(grounds)))])
                pixels.append(image)
                scenes.append(f"scene {number}")
                kinds.append(f"scene {number} {kind}")
    _log.info("pocket.dinov2 images=%d scenes=%d", len(pixels), config.num_scenes)
    return Arrays(pixels=np.stack(pixels), animals=scenes, videos=kinds)


def evaluate(
    weights: str, seed: int = 0, *, num_scenes: int = 72, frames_per_scene: int = 40
) -> dict[str, dict[str, float]]:
    """Probe frozen features of true-box crops (x 1.3): average precision per label and its mean over labels.

    Args:
        weights: see sheep.backbone.load.
        seed: of the scenes (a namespace apart from training).
        num_scenes: scenes, each with an animal of its own; they are the groups of four folds.
        frames_per_scene: frames per scene, 0.4 s apart.

    Returns: Per encoder (`pocket`, `random 0` to `random 2`: untrained, same architecture, `pixels`: the crop at 20 x
        20) the average precision of each label, `macro`, and `prior`: the mean share of positives, which a blind guess
        scores.
    """
    images, labels, groups = draw_crops(seed, num_scenes, frames_per_scene)
    config = EmbedConfig()
    # Untrained networks differ among themselves by more than training may bring, so one is no control.
    nets = {"pocket": backbones.load(weights, device="cpu")} | {f"random {n}": backbones.random(n) for n in range(3)}
    features = {name: embed(images, net, config) for name, net in nets.items()}
    small = [np.asarray(Image.fromarray(image).resize((20, 20), Image.Resampling.BILINEAR)) for image in images]
    features["pixels"] = np.stack(small).reshape(len(images), -1).astype(np.float32)
    with threadpool_limits(1):  # the matrices are small: threads would wait for each other
        return {name: _score(vectors, labels, groups) for name, vectors in features.items()}


def table(runs: Sequence[dict[str, dict[str, float]]]) -> str:
    """Lay out what `evaluate` returned for several seeds, macro average precision by encoder, for a terminal."""
    names = list(runs[0])
    lines = [f"{'macro AP':<10}" + "".join(f"  set {number}" for number in range(len(runs))) + "   mean"]
    for name in names:
        macros = [run[name]["macro"] for run in runs]
        lines.append(f"{name:<10}" + "".join(f"  {macro:.3f}" for macro in macros) + f"  {np.mean(macros):.3f}")
    labels = [f"{label} {np.mean([run['pocket'][label] for run in runs]):.3f}" for label in LABELS]
    return "\n".join(
        [*lines, f"pocket by label: {', '.join(labels)}", f"a blind guess: {runs[0][names[0]]['prior']:.3f}"]
    )


def draw_crops(
    seed: int, num_scenes: int, frames_per_scene: int, namespace: str = _EVAL_NAMESPACE
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Crop the focal animal at its true box x 1.3 wherever it shows at least 30 pixels.

    Returns:
        Crops (96, 96, 3) uint8, labels (F, 6) uint8 and the scene (F,) of each.
    """
    images: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    groups: list[int] = []
    for number in range(num_scenes):
        rng = np.random.default_rng(seed_for(seed, namespace, f"scene {number}"))
        scene = draw_scene(SceneConfig(num_frames=frames_per_scene, fps_hz=2.5), rng)
        for frame in render(scene):
            window = _animal_window(frame.ids == 1, 1.3, min_pixels=30)
            if window is not None:
                images.append(geometry.cut(frame.image, window, 96))
                labels.append(frame.labels)
                groups.append(number)
    return images, np.stack(labels), np.asarray(groups)


def _score(features: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    scores = np.full(labels.shape, np.nan)
    for train_rows, test_rows in GroupKFold(4).split(features, groups=groups):
        reduce = make_pipeline(StandardScaler(), PCA(64, random_state=0, svd_solver="randomized"), StandardScaler())
        fitted, held_out = reduce.fit_transform(features[train_rows]), reduce.transform(features[test_rows])
        for column in range(labels.shape[1]):
            answers = labels[train_rows, column]
            if answers.min() == answers.max():
                raise ConfigError(f"evaluate: label {LABELS[column]!r} does not vary in a fold. Ask for more scenes.")
            model = LogisticRegression(C=0.02, class_weight="balanced", max_iter=300)
            scores[test_rows, column] = model.fit(fitted, answers).predict_proba(held_out)[:, 1]
    each = {label: float(average_precision_score(labels[:, i], scores[:, i])) for i, label in enumerate(LABELS)}
    return each | {"macro": float(np.mean(list(each.values()))), "prior": float(labels.mean())}


def _spread_frames(rng: np.random.Generator, count: int) -> Iterator[Frame]:
    """Frames of one random scene, 1.5 s apart, so that postures differ."""
    height, width = _SIZES[int(rng.integers(len(_SIZES)))]
    settings = SceneConfig(height_px=height, width_px=width, num_frames=count, fps_hz=1 / 1.5, num_others=(0, 4))
    yield from render(draw_scene(settings, rng))


def _views(frame: Frame, rng: np.random.Generator, image_px: int) -> Iterator[tuple[str, np.ndarray]]:
    others = [number for number in range(2, int(frame.ids.max()) + 1)]
    wanted = [("focal", 1)] + ([("other", int(rng.choice(others)))] if others else [])
    for kind, number in wanted:
        window = _animal_window(frame.ids == number, rng.uniform(1.2, 2.0), min_pixels=60)
        if window is not None:
            yield kind, _cut(frame.image, frame.ids == number, window, image_px)
    height, width = frame.ids.shape
    side = float(max(height, width)) if rng.random() < 0.4 else rng.uniform(0.35, 1.0) * height
    free = np.array([width - side, height - side])  # below 0: centred, grey beside it, as the crop stage letterboxes
    corner = np.where(free > 0, rng.uniform(0, 1, 2) * free, free / 2)
    yield "place", _cut(frame.image, frame.ids > 0, np.array([*corner, side]), image_px)


def _cut(image: np.ndarray, mask: np.ndarray, window: np.ndarray, side_px: int) -> np.ndarray:
    """Cut a window out of an image, with the mask as fourth channel: (side_px, side_px, 4) uint8."""
    kept = Image.fromarray(mask.astype(np.uint8) * 255).transform(
        (side_px, side_px),
        Image.Transform.EXTENT,
        (window[0], window[1], window[0] + window[2], window[1] + window[2]),
        Image.Resampling.BILINEAR,
    )
    return np.concatenate([geometry.cut(image, window, side_px), np.asarray(kept)[..., None]], axis=-1)


def _paste(image: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """Put the animal of one image (S, S, 4) on another as ground; the mask stays."""
    share = image[..., 3:].astype(np.float32) / 255
    mixed = share * image[..., :3] + (1 - share) * ground[..., :3]
    return np.concatenate([mixed.astype(np.uint8), image[..., 3:]], axis=-1)


def _animal_window(mask: np.ndarray, factor: float, min_pixels: int) -> np.ndarray | None:
    """Square (x0, y0, side) [px] around a mask, its longer side times a factor; None for fewer pixels than wanted."""
    rows, columns = np.nonzero(mask)
    if len(rows) < min_pixels:
        return None
    x0, x1, y0, y1 = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
    side = max(x1 - x0, y1 - y0) * factor
    return np.array([(x0 + x1 - side) / 2, (y0 + y1 - side) / 2, side])
