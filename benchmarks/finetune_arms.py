"""Does fine-tuning on SAM-2's crops help? Every arm over several meadows, with the input held fixed.

    python -m benchmarks.finetune_arms [--seeds 5] [--first-seed 0] [--steps 100] [--start pocket] [--variants outline ...] [--folder runs/arms]

Each seed draws a meadow as the demo does, follows every animal with SAM-2, fine-tunes on whole frames (unguided) and on crops (guided)
of animals without annotation, embeds and judges all arms on shared folds grouped by animal. Differences are paired by seed;
their intervals are Student's t over seeds. Variants are further guided arms. Two processes, one seed each.
"""

import argparse
import dataclasses
import shutil
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import combinations
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from jobs.recipes import meadow
from sheep import arms, serial, stages, storage, training
from sheep.arms import BACKBONES, CONTROLS, SHOWN_VIEWS, Arm
from sheep.config import FinetuneConfig, StudyConfig
from sheep.meadow.archive import MeadowConfig, write_archive

VARIANTS: Mapping[str, Mapping[str, object]] = {
    "outline": {"silhouette_weight": 10.0},
    "dim": {"background": "dim"},
    "swap": {"background": "swap"},
    "inside": {"mask_inside": 0.8},
}
"""Guided fine-tuning with one thing changed."""
CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One seed's work."""

    seed: int
    folder: str
    steps: int
    start: str
    variants: tuple[str, ...]


def config_of(case: Case) -> StudyConfig:
    base = meadow()
    settings = replace(base.finetune, backbone=case.start, steps=case.steps, head_steps=case.steps // 4, workers=1)
    root = Path(case.folder) / f"seed-{case.seed}"
    return replace(
        base,
        seed=case.seed,
        out=str(root / "out"),
        archive=replace(base.archive, root=str(root / "archive")),
        finetune=settings,
        embed=replace(base.embed, backbone=case.start),
    )


def macros(case: Case) -> dict[str, float]:
    """Go the way for one seed; returns macro average precision by arm."""
    import torch

    torch.set_num_threads(1)
    config = config_of(case)
    shutil.rmtree(Path(config.out).parent, ignore_errors=True)
    drawn = MeadowConfig(seed=case.seed)
    scene = replace(drawn.scene, num_frames=60, fps_hz=3.0)  # as the Makefile draws the demo
    write_archive(replace(drawn, scene=scene), config.archive.root)
    cropped = serial.crop(config)
    serial.finetune(config, "frame")
    serial.finetune(config, "crop")
    sources = [(name, view) for name in BACKBONES for view in SHOWN_VIEWS]
    embedded = {f"{name}-{view}": found for (name, view), found in serial.embed(config, [*sources, *CONTROLS]).items()}
    answers = stages.read_answers(config.archive)
    videos, _ = serial.training_videos(answers, cropped)
    extra: list[Arm] = []
    for name in case.variants:
        settings: FinetuneConfig = replace(config.finetune, view="crop", **VARIANTS[name])
        out = storage.join(config.out, "finetune", name)
        tuned = training.finetune(cropped, videos, settings, out, seed=config.seed)
        for view in ("crop", "masked"):
            target = storage.join(config.out, "embed", f"{name}-{view}")
            shown = replace(config.embed, backbone=training.backbone_uri(tuned.uri), view=view)
            embedded[f"{name}-{view}"] = stages.embed(cropped, {target: shown})[target]
            extra += [Arm(name, view, temporal) for temporal in (False, True)]
    every = [*arms.arms_of(True), *extra]
    out = storage.join(config.out, "search")
    searched = arms.run(embedded, answers.truth(cropped), every, config.search, out, seed=config.seed)
    return {arm.name: searched.facts[arm.name]["scores"]["macro"]["value"] for arm in every}


def difference(first: Sequence[float], second: Sequence[float]) -> tuple[float, float, float]:
    """Mean of the paired differences and its interval over seeds (nan for one seed)."""
    values = np.asarray(first) - np.asarray(second)
    if len(values) < 2:
        return float(values.mean()), float("nan"), float("nan")
    reach = student.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(values.mean() - reach), float(values.mean() + reach)


def show(found: Sequence[Mapping[str, float]], variants: Iterable[str]) -> None:
    print(f"\nmacro average precision over {len(found)} seeds: mean (standard deviation)")
    for name in found[0]:
        values = [one[name] for one in found]
        print(
            f"  {name:26}{np.mean(values):.3f} ({np.std(values):.3f})   {' '.join(f'{value:.3f}' for value in values)}"
        )
    print(f"\npaired differences, {CONFIDENCE:.0%} interval over seeds")
    for view in SHOWN_VIEWS:
        names = ["guided", "unguided", "frozen", *(variants if view != "frame" else ())]
        pairs = [(a, b) for a, b in combinations(names, 2) if b not in variants or a == "guided"]
        for kind in ("single", "window"):
            for first, second in pairs:
                if second in variants:
                    first, second = second, first
                each = [[one[f"{name}-{view}-{kind}"] for one in found] for name in (first, second)]
                mean, low, high = difference(*each)
                print(f"  {view:7}{kind:7}{first:>9} - {second:9}{mean:+.3f} ({low:+.3f} to {high:+.3f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--start", default="pocket")
    parser.add_argument("--variants", nargs="*", default=[], choices=list(VARIANTS))
    parser.add_argument("--folder", default="runs/arms")
    asked = parser.parse_args()
    cases = [
        Case(seed=seed, folder=asked.folder, steps=asked.steps, start=asked.start, variants=tuple(asked.variants))
        for seed in range(asked.first_seed, asked.first_seed + asked.seeds)
    ]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = []
        for case, one in zip(cases, pool.map(macros, cases), strict=True):
            print(f"seed {case.seed}: " + " ".join(f"{name}={value:.3f}" for name, value in one.items()), flush=True)
            found.append(one)
    show(found, asked.variants)


if __name__ == "__main__":
    main()
