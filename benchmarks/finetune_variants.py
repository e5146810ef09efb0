"""When does fine-tuning on SAM-2's crops help? Every variant over several meadows, with the input held fixed.

    python -m benchmarks.finetune_variants [--seeds 5] [--first-seed 0] [--steps 100] [--start pocket | untrained | FOLDER] [--unlabelled 8]
        [--variants unguided guided ...] [--inputs frame crop masked] [--readout-every 0] [--reuse] [--workers 2] [--folder runs/variants]

Each seed draws a meadow as the demo does, follows every animal with SAM-2, fine-tunes on whole frames (unguided) and on crops (guided)
of animals without annotation, embeds and judges all variants on shared folds grouped by animal. Differences are paired by seed;
their intervals are Student's t over seeds. Further variants change one thing of guided; `labels` is told what those animals do, as a ceiling.
How far each backbone went from its start is shown beside. Scores are also written to FOLDER/scores.json.
"""

import argparse
import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from benchmarks import finetune_ceiling
from jobs.recipes import meadow
from sheep.config import StudyConfig, View, seed_for
from sheep.crop import stage as crop_stage
from sheep.embed import stage as embed_stage
from sheep.embed.encoders import ENCODERS
from sheep.embed.vectors import vectors_of
from sheep.execution.base import TrainingJob
from sheep.execution.local import LocalExecutor
from sheep.finetune import stage as finetune_stage
from sheep.finetune.job import FinetuneJob
from sheep.inputs import StudyInputs
from sheep.io import storage
from sheep.io.ledger import Manifest, is_finished, read_manifest
from sheep.models.weights import backbone_uri
from sheep.search import stage as search_stage
from sheep.study import Study
from sheep.synthetic.archive import MeadowConfig, write_archive
from sheep.variants import Variant

TUNED: Mapping[str, Mapping[str, object]] = {
    "unguided": {"view": "frame"},
    "guided": {},
    "outline": {"silhouette_weight": 10.0},
    "dim": {"background": "dim"},
    "swap": {"background": "swap"},
    "inside": {"mask_inside": 0.8},
    "whole": {"num_local": 0},
    "sharp": {"num_prototypes": 128, "teacher_temperature": 0.04},
    "far": {"learning_rate": 1e-2, "layer_decay": 1.0},
}
"""Fine-tuning on crops unless said, with these things changed."""
LABELS = "labels"
FRAMED = ("frozen", "unguided", "guided")
"""Shown whole frames too; the rest is shown crops only."""
CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One seed's work."""

    seed: int
    folder: str
    steps: int
    start: str
    unlabelled: int
    variants: tuple[str, ...]
    inputs: tuple[View, ...]
    readout_every: int
    reuse: bool

    @property
    def root(self) -> Path:
        """Where all of it lies."""
        return Path(self.folder) / f"seed-{self.seed}"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What one seed gave."""

    macros: dict[str, float]
    """Variant -> macro average precision."""
    moved: dict[str, tuple[float, float]]
    """Backbone -> weights' distance from the start over the start's norm, and features' likeness to the start's (linear CKA, crops)."""
    kept: dict[str, int]
    """Fine-tuned backbone -> step whose weights the guard let through."""


def config_of(case: Case) -> StudyConfig:
    base = meadow()
    start = str(case.root / "start") if case.start == "untrained" else case.start
    heads = min(25, case.steps // 4)
    settings = replace(base.finetune, backbone=start, steps=case.steps, head_steps=heads, workers=1)
    return replace(
        base,
        seed=case.seed,
        out=str(case.root / "out"),
        archive=replace(base.archive, root=str(case.root / "archive")),
        finetune=settings,
        embed=replace(base.embed, backbone=start),
    )


def crops_of(case: Case, config: StudyConfig) -> Manifest:
    """Draw and crop; or take what an earlier run left, whatever its settings were."""
    if case.reuse and is_finished(storage.join(config.out, "crop")):
        for name in ("finetune", "embed", "search"):
            shutil.rmtree(Path(config.out) / name, ignore_errors=True)
        return read_manifest(storage.join(config.out, "crop"))
    shutil.rmtree(case.root, ignore_errors=True)
    drawn = MeadowConfig(seed=case.seed)
    scene = replace(drawn.scene, num_frames=60, fps_hz=3.0)  # as the Makefile draws the demo
    num_animals = (
        drawn.num_annotated + case.unlabelled
    )  # the annotated ones are the same, however many there are besides
    write_archive(replace(drawn, scene=scene, num_animals=num_animals), config.archive.root)
    return crop_stage.run(Study(config))


def fit_and_keep(job: FinetuneJob, every: int) -> None:
    """Train as the local executor does, and keep the teacher of every so many steps beside the one that is chosen."""
    from sheep.finetune import checkpoint
    from sheep.finetune.trainer import fit
    from sheep.models import dinov2

    def save(written: str) -> None:
        network = dinov2.load(job.config.backbone)
        network.model.load_state_dict(checkpoint.teacher_backbone(Path(written)), strict=True)
        network.save(f"{job.out}-{checkpoint.read_facts(Path(written))['step']}")
        shutil.rmtree(written)

    kept = {"save": save, "save_every": every} if every else {}
    fit(job.images(), job.config.backbone, job.config, job.seed, job.out, **kept)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Keeping(LocalExecutor):
    """Trains in this process and keeps readouts on the way."""

    every: int

    def train(self, job: TrainingJob) -> None:
        assert isinstance(job, FinetuneJob)
        fit_and_keep(job, self.every)


def backbones(case: Case, config: StudyConfig, cropped: Manifest) -> Iterator[tuple[str, str]]:
    """Fine-tune one after the other; yields the name and folder of each backbone, readouts named `<variant>@<step>`."""
    videos = StudyInputs(config).roles(cropped).training_videos
    for name in case.variants:
        out = storage.join(config.out, "finetune", name)
        if name == LABELS:
            finetune_ceiling.learn(cropped, videos, config, backbone_uri(out))
        else:
            settings = replace(config.finetune, **{"view": "crop", **TUNED[name]})  # type: ignore[arg-type]
            executor = Keeping(case.readout_every)
            finetune_stage.finetune(cropped, videos, settings, out, seed=config.seed, executor=executor)
        for step in range(case.readout_every, case.steps, case.readout_every) if case.readout_every else ():
            kept = f"{backbone_uri(out)}-{step}"
            if Path(kept).is_dir():
                yield f"{name}@{step}", kept
        yield name, backbone_uri(out)


def work(case: Case) -> Found:
    """Go the way for one seed."""
    import torch

    from sheep.models import dinov2

    torch.set_num_threads(1)
    config = config_of(case)
    cropped = crops_of(case, config)
    if case.start == "untrained":
        dinov2.untrained("pocket", seed_for(case.seed, "untrained", "start")).save(config.finetune.backbone)
    inputs = StudyInputs(config)
    # Only annotated animals are scored, so only they are embedded.
    named = {row["video"] for row in inputs.cohort.to_pylist() if row["animal"] in inputs.annotated}
    shown = replace(cropped, entries=tuple(entry for entry in cropped.entries if entry.key in named))
    folders = {"frozen": config.finetune.backbone, **dict(backbones(case, config, cropped))}
    asked = {
        f"{name}-{view}": replace(config.embed, backbone=folder, view=view)
        for name, folder in folders.items()
        for view in (case.inputs if "@" not in name else ("crop",))
        if view != "frame" or name in FRAMED
    }
    asked |= {name: replace(config.embed, **settings) for name, settings in controls(case).items()}  # type: ignore[arg-type]
    targets = {storage.join(config.out, "embed", name): settings for name, settings in asked.items()}
    embedded = dict(zip(asked, embed_stage.embed(shown, targets).values(), strict=True))
    every: list[Variant] = []
    for name, view in (source.split("-") for source in embedded):
        every += [Variant(name, view, temporal) for temporal in ((False,) if "@" in name else (False, True))]  # type: ignore[arg-type]
    out = storage.join(config.out, "search")
    searched = search_stage.search(embedded, inputs.label_frames(cropped), every, config.search, out, seed=config.seed)
    tuned = {name: read_manifest(storage.join(config.out, "finetune", name)) for name in folders if name in TUNED}
    return Found(
        macros={variant.name: searched.facts[variant.name]["scores"]["macro"]["value"] for variant in every},
        moved={name: moved(folders, embedded, name) for name in folders if name != "frozen" and "crop" in case.inputs},
        kept={name: stage.facts["guard"]["weights_step"] for name, stage in tuned.items()},
    )


def controls(case: Case) -> dict[str, dict[str, object]]:
    """What has to be beaten: settings of `embed` by name."""
    seed = seed_for(case.seed, "untrained", "weights")
    return {
        "untrained-crop": {"backbone": "pocket", "untrained_seed": seed},
        "pixels-crop": {"backbone": "pixels"},
        "geometry-track": {"backbone": "geometry", "view": "track", "dtype": "float32"},
    }


def moved(folders: Mapping[str, str], embedded: Mapping[str, Manifest], name: str) -> tuple[float, float]:
    """How far a backbone went from its start: see `Found.moved`."""
    from sheep.models import dinov2

    start, now = (dinov2.load(folders[one]).model.state_dict() for one in ("frozen", name))
    far = sum(float((now[key] - value).square().sum()) for key, value in start.items())
    norm = sum(float(value.square().sum()) for value in start.values())
    features = [vectors_of(embedded[f"{one}-crop"].read("embeddings")) for one in ("frozen", name)]
    return float(np.sqrt(far / norm)), likeness(*features)


def likeness(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Linear CKA of (F, D) features: 1 where one is the other turned or scaled. Source: arXiv 1905.00414, section 3."""
    a, b = ((one - one.mean(axis=0)).astype(np.float64) for one in (first, second))
    return float(np.linalg.norm(a.T @ b) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)))


def difference(first: Sequence[float], second: Sequence[float]) -> tuple[float, float, float]:
    """Mean of the paired differences and its interval over seeds (nan for one seed)."""
    values = np.asarray(first) - np.asarray(second)
    if len(values) < 2:
        return float(values.mean()), float("nan"), float("nan")
    reach = student.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(values.mean() - reach), float(values.mean() + reach)


def show(found: Sequence[Found], tuned: Sequence[str], inputs: Sequence[View]) -> None:
    print(f"\nmacro average precision over {len(found)} seeds: mean (standard deviation)")
    for name in found[0].macros:
        values = [one.macros[name] for one in found]
        each = " ".join(f"{value:.3f}" for value in values)
        print(f"  {name:26}{np.mean(values):.3f} ({np.std(values):.3f})   {each}")
    print("\nway from the start: weights (relative), likeness of features (linear CKA, crops), step kept by the guard")
    for name in found[0].moved:
        far, like = np.mean([one.moved[name] for one in found], axis=0)
        steps = " ".join(str(one.kept[name]) for one in found if name in one.kept)
        print(f"  {name:26}{far:.3f}  {like:.3f}  {steps}")
    print(f"\npaired differences, {CONFIDENCE:.0%} interval over seeds")
    for view in inputs:
        shown = [name for name in tuned if view != "frame" or name in FRAMED]
        pairs = [(name, "frozen") for name in shown]
        pairs += [("guided", "unguided")] if {"guided", "unguided"} <= set(shown) else []
        pairs += [(name, "guided") for name in shown if "guided" in shown and name not in FRAMED]
        for kind in ("single", "window"):
            for first, second in pairs:
                both = [[one.macros[f"{name}-{view}-{kind}"] for one in found] for name in (first, second)]
                mean, low, high = difference(*both)
                print(f"  {view:7}{kind:7}{first:>9} - {second:9}{mean:+.3f} ({low:+.3f} to {high:+.3f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--start", default="pocket", help="where training starts: pocket, untrained, or a folder")
    parser.add_argument("--unlabelled", type=int, default=8, help="animals without annotation; even")
    parser.add_argument("--variants", nargs="+", default=["unguided", "guided"], choices=[*TUNED, LABELS])
    parser.add_argument("--inputs", nargs="+", default=ENCODERS["frozen"].views, choices=ENCODERS["frozen"].views)
    parser.add_argument("--readout-every", type=int, default=0, help="also judge the teacher after every so many steps")
    parser.add_argument("--reuse", action="store_true", help="take the crops that are in the folder")
    parser.add_argument("--workers", type=int, default=2, help="processes, a seed each")
    parser.add_argument("--folder", default="runs/variants")
    asked = vars(parser.parse_args())
    first, seeds, workers = asked.pop("first_seed"), asked.pop("seeds"), asked.pop("workers")
    asked |= {"variants": tuple(asked["variants"]), "inputs": tuple(asked["inputs"])}
    cases = [Case(seed=seed, **asked) for seed in range(first, first + seeds)]
    found: list[Found] = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for case, one in zip(cases, pool.map(work, cases), strict=True):
            print(
                f"seed {case.seed}: " + " ".join(f"{name}={value:.3f}" for name, value in one.macros.items()),
                flush=True,
            )
            found.append(one)
            plain = {done.seed: dataclasses.asdict(each) for done, each in zip(cases, found, strict=False)}
            (Path(case.folder) / "scores.json").write_text(json.dumps({"asked": asked, "seeds": plain}, indent=1))
    show(found, asked["variants"], asked["inputs"])


if __name__ == "__main__":
    main()
