"""Does a study find a planted group difference, and no difference without one? Full pipeline, several seeds.

    python -m benchmarks.group_difference [--seeds 3] [--first-seed 0] [--animals 24] [--frames 100]
        [--folder runs/groups]

Each seed generates two synthetic datasets, one with the demo's difference in standing and one with equal groups. Every
animal is tracked with SAM-2, its crops are embedded with the frozen backbone, the probe is tuned and fitted on the
annotated animals, and the groups are compared. There is no fine-tuning: it affects how well labels are predicted, not
how groups are compared. Two processes, one study each.
"""

import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import tyro

from jobs.recipes import meadow
from sheep.compare import stage as compare_stage
from sheep.compare.results import Comparison, read_comparison
from sheep.config import StudyConfig
from sheep.crop import stage as crop_stage
from sheep.embed import stage as embed_stage
from sheep.predict import stage as predict_stage
from sheep.search import stage as search_stage
from sheep.study import Study
from sheep.synthetic.archive import MeadowConfig, write_archive

VARIANT = "frozen-crop-window"


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One study."""

    seed: int
    """Seed of dataset and study."""
    planted: bool
    """Whether the groups differ."""
    animals: int
    """Animals of the dataset, two thirds of them annotated."""
    frames: int
    """Frames of each video."""
    folder: str
    """Where dataset and results are written."""

    @property
    def root(self) -> Path:
        """Folder of this study."""
        return Path(self.folder) / f"{'planted' if self.planted else 'null'}-{self.seed}"

    def dataset(self) -> MeadowConfig:
        """Configure the dataset."""
        base = MeadowConfig(seed=self.seed, num_animals=self.animals, num_annotated=2 * (self.animals // 3))
        base = replace(base, scene=replace(base.scene, num_frames=self.frames))
        if self.planted:
            return base
        mean = (base.standing_frac_control + base.standing_frac_treated) / 2
        return replace(base, standing_frac_control=mean, standing_frac_treated=mean)

    def config(self) -> StudyConfig:
        """Configure the study."""
        recipe = meadow()
        return replace(
            recipe,
            seed=self.seed,
            out=str(self.root / "out"),
            archive=replace(recipe.archive, root=str(self.root / "archive")),
            predict=replace(recipe.predict, variant=VARIANT),
        )


def run(case: Case) -> tuple[Comparison, ...]:
    """Generate one dataset, run the stages, and return the comparisons."""
    import torch

    torch.set_num_threads(1)
    shutil.rmtree(case.root, ignore_errors=True)
    write_archive(case.dataset(), str(case.root / "archive"))
    study = Study(case.config())
    crop_stage.run(study)
    embed_stage.run(study, [("frozen", "crop")])
    search_stage.run(study)
    predict_stage.run(study)
    return read_comparison(compare_stage.run(study)).comparisons


def run_all(cases: list[Case]) -> Iterator[tuple[Case, tuple[Comparison, ...]]]:
    """Run the studies, two at a time; yields them in order."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        yield from zip(cases, pool.map(run, cases), strict=True)


def main(
    seeds: int = 3, first_seed: int = 0, animals: int = 24, frames: int = 100, folder: str = "runs/groups"
) -> None:
    """Measure and print.

    Args:
        seeds: datasets of each kind.
        first_seed: the first of consecutive seeds.
        animals: of each dataset; even.
        frames: of each video.
        folder: where datasets and results are written.
    """
    numbers = range(first_seed, first_seed + seeds)
    cases = [
        Case(seed=seed, planted=planted, animals=animals, frames=frames, folder=folder)
        for seed in numbers
        for planted in (True, False)
    ]
    standing = {True: 0, False: 0}
    anything = {True: 0, False: 0}
    print("seed  groups   standing: difference   interval           adjusted p  found  other labels found")
    for case, comparisons in run_all(cases):
        row = next(one for one in comparisons if one.label == "standing")
        others = [one.label for one in comparisons if one.found and one.label != "standing"]
        standing[case.planted] += row.found
        anything[case.planted] += row.found or bool(others)
        kind = "planted" if case.planted else "null   "
        interval = f"{row.low:+.3f} to {row.high:+.3f}"
        print(
            f"{case.seed:4d}  {kind}  {row.difference:+.3f}                 {interval}   {row.p_adjusted:.4f}      "
            f"{row.found!s:5}  {', '.join(others) or '-'}",
            flush=True,
        )
    for planted, name in ((True, "planted"), (False, "null")):
        print(f"{name}: standing found in {standing[planted]} of {seeds} seeds, any label in {anything[planted]}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
