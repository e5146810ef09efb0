"""Is a planted difference between groups found, and none where none was planted? The whole way, several seeds of each.

    python -m benchmarks.group_difference [--seeds 3] [--first-seed 0] [--folder runs/groups]

Each seed draws a meadow twice, once with the demo's difference in standing and once with equal groups, follows every
animal with SAM-2, embeds its crops with the backbone as it came, tunes and fits the probe on the annotated animals and
compares the groups. Fine-tuning is left out: it changes how well labels are read, not how groups are compared. Two
processes, one study each.
"""

import argparse
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from jobs.recipes import meadow
from sheep.compare import stage as compare_stage
from sheep.compare.groups import Comparison, read_comparison
from sheep.crop import stage as crop_stage
from sheep.embed import stage as embed_stage
from sheep.predict import stage as predict_stage
from sheep.search import stage as search_stage
from sheep.study import Study
from sheep.synthetic.archive import MeadowConfig, write_archive

ARM = "frozen-crop-window"


def study(seed: int, planted: bool, folder: str) -> tuple[Comparison, ...]:
    """Draw one archive, go the way, and return the comparisons."""
    import torch

    torch.set_num_threads(1)
    base = MeadowConfig(seed=seed)
    mean = (base.standing_frac_control + base.standing_frac_treated) / 2
    drawn = base if planted else replace(base, standing_frac_control=mean, standing_frac_treated=mean)
    root = Path(folder) / f"{'planted' if planted else 'null'}-{seed}"
    shutil.rmtree(root, ignore_errors=True)
    write_archive(drawn, str(root / "archive"))
    config = meadow()
    config = replace(
        config,
        seed=seed,
        out=str(root / "out"),
        archive=replace(config.archive, root=str(root / "archive")),
        predict=replace(config.predict, variant=ARM),
    )
    study = Study(config)
    crop_stage.run(study)
    embed_stage.run(study, [("frozen", "crop")])
    search_stage.run(study)
    predict_stage.run(study)
    return read_comparison(compare_stage.run(study)).comparisons


def rows(seeds: range, folder: str) -> Iterator[tuple[int, bool, tuple[Comparison, ...]]]:
    """Every study, two at a time, in order."""
    cases = [(seed, planted) for seed in seeds for planted in (True, False)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        running = [(case, pool.submit(study, *case, folder)) for case in cases]
        for (seed, planted), one in running:
            yield seed, planted, one.result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--folder", default="runs/groups")
    asked = parser.parse_args()
    found = {True: 0, False: 0}
    anything = {True: 0, False: 0}
    print("seed  groups   standing: difference   interval           adjusted p  found  other labels found")
    for seed, planted, comparisons in rows(range(asked.first_seed, asked.first_seed + asked.seeds), asked.folder):
        one = next(row for row in comparisons if row.label == "standing")
        others = [row.label for row in comparisons if row.found and row.label != "standing"]
        found[planted] += one.found
        anything[planted] += one.found or bool(others)
        print(
            f"{seed:4d}  {'planted' if planted else 'null   '}  {one.difference:+.3f}                 "
            f"{one.low:+.3f} to {one.high:+.3f}   {one.p_adjusted:.4f}      {one.found!s:5}  "
            f"{', '.join(others) or '-'}",
            flush=True,
        )
    for planted, name in ((True, "planted"), (False, "null")):
        print(f"{name}: standing found in {found[planted]} of {asked.seeds} seeds, any label in {anything[planted]}")


if __name__ == "__main__":
    main()
