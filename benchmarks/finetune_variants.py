"""When does fine-tuning on SAM-2's crops help? Every variant on several synthetic datasets, with the same input.

    python -m benchmarks.finetune_variants [--seeds 5] [--first-seed 0] [--steps 100]
        [--start pocket | untrained | FOLDER] [--annotated 16] [--unlabelled 8] [--frames 60]
        [--variants unguided guided ...] [--inputs frame crop masked] [--readout-every 0] [--reuse] [--workers 2]
        [--folder runs/variants]

Each seed generates a dataset like the demo's, tracks every animal with SAM-2, fine-tunes on whole frames (unguided) and
on crops (guided) of the animals without annotation, embeds, and scores all variants on shared folds grouped by animal.
Differences are paired by seed; their intervals are Student's t over seeds. The other variants change one setting of
guided; `labels` is trained with the true labels of the animals without annotation, as an upper bound. The report also
shows how far each backbone moved from its start. Scores are written to FOLDER/scores.json as well.
"""

import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np
import tyro
from numpy.typing import NDArray
from scipy.stats import t as student

from benchmarks import finetune_ceiling
from jobs.recipes import meadow
from sheep.config import AdvancedFinetuneConfig, EmbedConfig, StudyConfig, View, seed_for
from sheep.crop import stage as crop_stage
from sheep.embed import stage as embed_stage
from sheep.embed.vectors import vectors_of
from sheep.execution.base import TrainingContext, TrainingJob
from sheep.execution.local import LocalExecutor
from sheep.finetune import stage as finetune_stage
from sheep.finetune.job import FinetuneJob
from sheep.inputs import StudyInputs
from sheep.io import storage
from sheep.io.manifest import Manifest, is_finished, read_manifest
from sheep.models.weights import backbone_uri
from sheep.search import stage as search_stage
from sheep.study import Study
from sheep.synthetic.archive import MeadowConfig, write_archive
from sheep.variants import Variant

VariantName = Literal["unguided", "guided", "outline", "dim", "swap", "inside", "whole", "sharp", "far", "labels"]
TUNED: Mapping[str, Mapping[str, object]] = {
    "unguided": {"view": "frame"},
    "guided": {},
    "outline": {"silhouette_weight": 10.0},
    "dim": {"background": "dim"},
    "swap": {"background": "swap"},
    "inside": {"advanced": AdvancedFinetuneConfig(mask_inside=0.8)},
    "whole": {"num_local": 0},
    "sharp": {"num_prototypes": 128, "advanced": AdvancedFinetuneConfig(teacher_temperature=0.04)},
    "far": {"learning_rate": 1e-2, "advanced": AdvancedFinetuneConfig(layer_decay=1.0)},
}
"""Fine-tuning on crops with these settings changed."""
SUPERVISED = "labels"
"""The upper bound, see `finetune_ceiling`."""
WITH_FRAMES = ("frozen", "unguided", "guided")
"""Backbones also embedded from whole frames; the others from crops only."""
CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One seed's work."""

    seed: int
    """Seed of dataset and study."""
    folder: str
    """Where everything is written."""
    steps: int
    """Steps of fine-tuning."""
    start: str
    """Weights that training starts from: pocket, untrained, or a folder."""
    annotated: int
    """Animals with annotation."""
    unlabelled: int
    """Animals without annotation."""
    frames: int
    """Frames of each video."""
    variants: tuple[VariantName, ...]
    """Backbones to train."""
    inputs: tuple[View, ...]
    """Views to embed."""
    readout_every: int
    """Steps between teachers that are kept and scored; 0 for none."""
    reuse: bool
    """Whether to use the crops that an earlier run left."""

    @property
    def root(self) -> Path:
        """Folder of this seed."""
        return Path(self.folder) / f"seed-{self.seed}"

    def config(self) -> StudyConfig:
        """Configure the study."""
        recipe = meadow()
        start = str(self.root / "start") if self.start == "untrained" else self.start
        heads = min(25, self.steps // 4)
        return replace(
            recipe,
            seed=self.seed,
            out=str(self.root / "out"),
            archive=replace(recipe.archive, root=str(self.root / "archive")),
            finetune=replace(recipe.finetune, backbone=start, steps=self.steps, head_steps=heads, workers=1),
            embed=replace(recipe.embed, backbone=start),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedResult:
    """Scores and measures of one seed."""

    macros: dict[str, float]
    """Variant -> macro average precision."""
    moved: dict[str, tuple[float, float]]
    """Backbone -> relative distance of its weights from the start, and similarity of its features (linear CKA,
    crops)."""
    kept: dict[str, int]
    """Fine-tuned backbone -> step whose weights model selection chose."""


@dataclass(frozen=True)
class KeepReadouts(LocalExecutor):
    """Trains in this process and keeps the teacher at regular steps, in folders beside the selected weights."""

    every: int
    """Steps between the teachers kept; 0 for none."""

    def train(self, job: TrainingJob) -> None:
        """Train as the local executor does."""
        assert isinstance(job, FinetuneJob)
        backbone, out = job.config.backbone, job.out

        def save(written: str) -> None:
            from sheep.finetune import checkpoint
            from sheep.models import dinov2

            network = dinov2.load(backbone)
            network.model.load_state_dict(checkpoint.teacher_backbone(Path(written)), strict=True)
            network.save(readout_uri(out, checkpoint.read_state(Path(written)).step))
            shutil.rmtree(written)

        saving = {"save": save, "save_every": self.every} if self.every else {}
        job.train(TrainingContext(folder=out, report=job.show, **saving))  # type: ignore[arg-type]


def readout_uri(backbone: str, step: int) -> str:
    """Folder of the teacher after a step.

    Args:
        backbone: folder of the selected weights.
        step: number of steps.
    """
    return f"{backbone}-{step}"


def crops_of(case: Case, config: StudyConfig) -> Manifest:
    """Generate and crop the dataset, or return what an earlier run left.

    Args:
        case: size of the dataset; with `reuse` the crops of an earlier run are returned, whatever its settings were.
        config: the study.
    """
    if case.reuse and is_finished(storage.join(config.out, "crop")):
        for name in ("finetune", "embed", "search"):
            shutil.rmtree(Path(config.out) / name, ignore_errors=True)
        return read_manifest(storage.join(config.out, "crop"))
    shutil.rmtree(case.root, ignore_errors=True)
    # The demo's frame rate. The annotated animals are the same for any number of animals without annotation.
    num_animals = case.annotated + case.unlabelled
    dataset = MeadowConfig(seed=case.seed, num_annotated=case.annotated, num_animals=num_animals)
    scene = replace(dataset.scene, num_frames=case.frames, fps_hz=3.0)
    write_archive(replace(dataset, scene=scene), config.archive.root)
    return crop_stage.run(Study(config))


def backbones(case: Case, config: StudyConfig, cropped: Manifest) -> Iterator[tuple[str, str]]:
    """Fine-tune one backbone after the other.

    Args:
        case: which backbones.
        config: the study.
        cropped: its crop stage.

    Yields:
        Name and folder of each backbone; readouts are named `<variant>@<step>`.
    """
    videos = StudyInputs(config).roles(cropped).training_videos
    for name in case.variants:
        out = storage.join(config.out, "finetune", name)
        if name == SUPERVISED:
            finetune_ceiling.train(cropped, videos, config, backbone_uri(out))
        else:
            settings = replace(config.finetune, **{"view": "crop", **TUNED[name]})  # type: ignore[arg-type]
            executor = KeepReadouts(case.readout_every)
            finetune_stage.finetune(cropped, videos, settings, out, seed=config.seed, executor=executor)
        for step in range(case.readout_every, case.steps, case.readout_every) if case.readout_every else ():
            kept = readout_uri(backbone_uri(out), step)
            if Path(kept).is_dir():
                yield f"{name}@{step}", kept
        yield name, backbone_uri(out)


def embed_configs(case: Case, config: StudyConfig, folders: Mapping[str, str]) -> dict[str, EmbedConfig]:
    """List what is embedded: every backbone and view, and the baselines.

    Args:
        case: views.
        config: the study.
        folders: backbone -> folder.

    Returns:
        Source of a variant, `<encoder>-<view>` -> settings.
    """
    untrained = seed_for(case.seed, "untrained", "weights")
    configs = {
        f"{name}-{view}": replace(config.embed, backbone=folder, view=view)
        for name, folder in folders.items()
        for view in (case.inputs if "@" not in name else ("crop",))
        if view != "frame" or name in WITH_FRAMES
    }
    configs["untrained-crop"] = replace(
        config.embed, backbone="pocket", advanced=replace(config.embed.advanced, untrained_seed=untrained)
    )
    configs["pixels-crop"] = replace(config.embed, backbone="pixels")
    configs["geometry-track"] = replace(config.embed, backbone="geometry", view="track", dtype="float32")
    return configs


def work(case: Case) -> SeedResult:
    """Run one seed: dataset, crops, backbones, embeddings, search."""
    import torch

    from sheep.models import dinov2

    torch.set_num_threads(1)
    config = case.config()
    cropped = crops_of(case, config)
    if case.start == "untrained":
        dinov2.untrained("pocket", seed_for(case.seed, "untrained", "start")).save(config.finetune.backbone)
    inputs = StudyInputs(config)
    # Only annotated animals are scored, so only they are embedded.
    scored = {row["video"] for row in inputs.cohort.to_pylist() if row["animal"] in inputs.annotated}
    shown = replace(cropped, entries=tuple(entry for entry in cropped.entries if entry.key in scored))
    folders = {"frozen": config.finetune.backbone, **dict(backbones(case, config, cropped))}
    configs = embed_configs(case, config, folders)
    targets = {storage.join(config.out, "embed", name): settings for name, settings in configs.items()}
    embedded = dict(zip(configs, embed_stage.embed(shown, targets).values(), strict=True))
    variants = [
        Variant(source.rpartition("-")[0], settings.view, temporal)
        for source, settings in configs.items()
        for temporal in ((False,) if "@" in source else (False, True))
    ]
    out = storage.join(config.out, "search")
    labels = inputs.label_frames(cropped)
    searched = search_stage.search(embedded, labels, variants, config.search, out, seed=config.seed)
    tuned = {name: read_manifest(storage.join(config.out, "finetune", name)) for name in folders if name in TUNED}
    return SeedResult(
        macros={variant.name: searched.facts[variant.name]["scores"]["macro"]["value"] for variant in variants},
        moved={name: moved(folders, embedded, name) for name in folders if name != "frozen" and "crop" in case.inputs},
        kept={name: stage.facts["validation"]["weights_step"] for name, stage in tuned.items()},
    )


def moved(folders: Mapping[str, str], embedded: Mapping[str, Manifest], name: str) -> tuple[float, float]:
    """Measure how far a backbone moved from its start, see `SeedResult.moved`.

    Args:
        folders: backbone -> folder; `frozen` is the start.
        embedded: source -> its embed stage.
        name: the backbone.
    """
    from sheep.models import dinov2

    start, now = (dinov2.load(folders[one]).model.state_dict() for one in ("frozen", name))
    distance = sum(float((now[key] - value).square().sum()) for key, value in start.items())
    norm = sum(float(value.square().sum()) for value in start.values())
    features = [vectors_of(embedded[f"{one}-crop"].read("embeddings")) for one in ("frozen", name)]
    return float(np.sqrt(distance / norm)), linear_cka(*features)


def linear_cka(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Compute the linear CKA: 1 where one is the other rotated or scaled. Source: arXiv 1905.00414, section 3.

    Args:
        first: (F, D).
        second: (F, D').
    """
    a, b = ((one - one.mean(axis=0)).astype(np.float64) for one in (first, second))
    return float(np.linalg.norm(a.T @ b) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)))


def difference(first: Sequence[float], second: Sequence[float]) -> tuple[float, float, float]:
    """Compute the mean of paired differences and its interval.

    Args:
        first: one value per seed.
        second: one value per seed.

    Returns:
        Mean, lower and upper limit; the limits are nan for one seed.
    """
    values = np.asarray(first) - np.asarray(second)
    if len(values) < 2:
        return float(values.mean()), float("nan"), float("nan")
    reach = student.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(values.mean() - reach), float(values.mean() + reach)


def show_scores(results: Sequence[SeedResult]) -> None:
    """Print every variant's scores, and how far the backbones moved."""
    print(f"\nmacro average precision over {len(results)} seeds: mean (standard deviation)")
    for name in results[0].macros:
        values = [one.macros[name] for one in results]
        each = " ".join(f"{value:.3f}" for value in values)
        print(f"  {name:26}{np.mean(values):.3f} ({np.std(values):.3f})   {each}")
    print("\ndistance from the start: weights (relative), similarity of features (linear CKA, crops), step selected")
    for name in results[0].moved:
        distance, similarity = np.mean([one.moved[name] for one in results], axis=0)
        steps = " ".join(str(one.kept[name]) for one in results if name in one.kept)
        print(f"  {name:26}{distance:.3f}  {similarity:.3f}  {steps}")


def show_differences(results: Sequence[SeedResult], trained: Sequence[str], views: Sequence[View]) -> None:
    """Print the paired differences between variants.

    Args:
        results: by seed.
        trained: fine-tuned backbones.
        views: embedded views.
    """
    print(f"\npaired differences, {CONFIDENCE:.0%} interval over seeds")
    for view in views:
        names = [name for name in trained if view != "frame" or name in WITH_FRAMES]
        pairs = [(name, "frozen") for name in names]
        pairs += [("guided", "unguided")] if {"guided", "unguided"} <= set(names) else []
        pairs += [(name, "guided") for name in names if "guided" in names and name not in WITH_FRAMES]
        for kind in ("single", "window"):
            for first, second in pairs:
                both = [[one.macros[f"{name}-{view}-{kind}"] for one in results] for name in (first, second)]
                mean, low, high = difference(*both)
                print(f"  {view:7}{kind:7}{first:>9} - {second:9}{mean:+.3f} ({low:+.3f} to {high:+.3f})")


def main(
    seeds: int = 5,
    first_seed: int = 0,
    steps: int = 100,
    start: str = "pocket",
    annotated: int = 16,
    unlabelled: int = 8,
    frames: int = 60,
    variants: tuple[VariantName, ...] = ("unguided", "guided"),
    inputs: tuple[View, ...] = ("frame", "crop", "masked"),
    readout_every: int = 0,
    reuse: bool = False,
    workers: int = 2,
    folder: str = "runs/variants",
) -> None:
    """Measure and print.

    Args:
        seeds: datasets.
        first_seed: the first of consecutive seeds.
        steps: of fine-tuning.
        start: weights that training starts from: pocket, untrained, or a folder.
        annotated: animals with annotation; even.
        unlabelled: animals without annotation; even.
        frames: of each video.
        variants: backbones to train.
        inputs: views to embed.
        readout_every: steps between readouts, which score the teacher; 0 for none.
        reuse: use the crops that are in the folder.
        workers: processes, one seed each.
        folder: where everything is written.
    """
    shared = {"steps": steps, "start": start, "annotated": annotated, "unlabelled": unlabelled, "frames": frames}
    shared |= {"variants": variants, "inputs": inputs, "readout_every": readout_every, "reuse": reuse, "folder": folder}
    cases = [Case(seed=seed, **shared) for seed in range(first_seed, first_seed + seeds)]  # type: ignore[arg-type]
    results: list[SeedResult] = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for case, result in zip(cases, pool.map(work, cases), strict=True):
            scores = " ".join(f"{name}={value:.3f}" for name, value in result.macros.items())
            print(f"seed {case.seed}: {scores}", flush=True)
            results.append(result)
            plain = {done.seed: dataclasses.asdict(one) for done, one in zip(cases, results, strict=False)}
            (Path(folder) / "scores.json").write_text(json.dumps({"asked": shared, "seeds": plain}, indent=1))
    show_scores(results)
    show_differences(results, variants, inputs)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
