"""Verbs without a recipe: clean-up, the synthetic dataset, and the pocket models."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro

log = logging.getLogger(__name__)


def cleanup(arguments: list[str], prog: str) -> None:
    """List files that a study no longer needs, and delete them on request.

    Args:
        arguments: the command's flags.
        prog: name of the command, for its help.
    """
    tyro.cli(_cleanup, args=arguments, prog=prog)


def _cleanup(
    out: Annotated[str, tyro.conf.Positional], states: bool = False, older_hours: float = 24.0, delete: bool = False
) -> None:
    """List files that a study no longer needs, and delete them on request.

    Args:
        out: the study's folder, or one stage's.
        states: also the checkpoints of finished stages, from which a corrected prompt resumes.
        older_hours: younger files are kept, since a running attempt may use them.
        delete: delete the files.
    """
    from sheep.io import cleanup

    leftovers = cleanup.leftovers(out, states=states, older_h=older_hours)
    for why in ("unnamed", "state"):
        sizes = [one.bytes for one in leftovers if one.why == why]
        print(f"{why}: {len(sizes)} files, {sum(sizes) / 2**20:.1f} MiB")
    if delete:
        cleanup.delete(leftovers)
    print("deleted" if delete else "nothing was deleted: add --delete")


def init(arguments: list[str], prog: str) -> None:
    """Make the folder of a new study: every input file with its header and an example row.

    Args:
        arguments: the command's flags.
        prog: name of the command, for its help.
    """
    tyro.cli(_init, args=arguments, prog=prog)


def _init(root: Annotated[str, tyro.conf.Positional]) -> None:
    """Make the folder of a new study: every input file with its header and an example row.

    Args:
        root: the folder; a plain path, file:// or s3://. It may exist, without any of these files.
    """
    from sheep.cli import template

    template.write(root)
    print(root)


def meadow(arguments: list[str], prog: str) -> None:
    """Generate the synthetic demo dataset.

    Args:
        arguments: the command's flags.
        prog: name of the command, for its help.
    """
    from sheep.synthetic.archive import MeadowConfig, clips, write_archive

    default = MeadowConfig()

    def generate(root: str = "runs/meadow", workers: int = 2, meadow: MeadowConfig = default) -> None:
        """Generate a dataset: videos, prompts, annotations and cohort in a lab's layout, and the ground truth apart.

        Args:
            root: where to write; a plain path, file:// or s3://.
            workers: processes that render.
            meadow: the dataset.
        """
        num_videos, num_frames = len(clips(meadow)), meadow.scene.num_frames
        log.info("meadow root=%s videos=%d frames_each=%d", root, num_videos, num_frames)
        write_archive(meadow, root, workers=workers)
        print(root)

    tyro.cli(generate, args=arguments, prog=prog)


def pocket(arguments: list[str], prog: str) -> None:
    """Train or score the pocket models in `sheep/weights/`, on synthetic scenes only.

    Args:
        arguments: the command's flags.
        prog: name of the command, for its help.
    """
    from sheep.synthetic.pocket.dinov2 import PocketDinov2Config
    from sheep.synthetic.pocket.sam2 import PocketSam2Config

    def sam2(out: str, config: PocketSam2Config = PocketSam2Config(), resume: bool = False) -> None:  # noqa: B008
        """Train a pocket SAM-2; `out` becomes a folder that `--crop.sam2` takes."""
        from sheep.synthetic.pocket import sam2

        print(json.dumps(sam2.train(config, out, resume=resume), indent=1))

    def dinov2(out: str, config: PocketDinov2Config = PocketDinov2Config(), resume: bool = False) -> None:  # noqa: B008
        """Train a pocket DINOv2; `out`/weights becomes a folder that `--finetune.backbone` takes."""
        from sheep.synthetic.pocket import dinov2

        print(dinov2.train(config, out, resume_dir=str(Path(out) / "last") if resume else None))

    verbs: dict[str, Callable[..., None]] = {"sam2": sam2, "dinov2": dinov2, "score": _score}
    tyro.extras.subcommand_cli_from_dict(verbs, args=arguments, prog=prog)


def _score(
    sam2: str = "pocket",
    dinov2: str = "pocket",
    seeds: tuple[int, ...] = (100, 101, 102),
    num_videos: int = 24,
    num_frames: int = 60,
) -> None:
    """Score both on scenes of unseen seeds, beside trivial baselines; SAM-2 on those of the first seed.

    Args:
        sam2: weights, by the names of `--crop.sam2`.
        dinov2: weights, by the names of `--finetune.backbone`.
        seeds: of the scenes.
        num_videos: videos that SAM-2 tracks; >= 1.
        num_frames: frames of each; >= 1.
    """
    import torch

    from sheep.synthetic.pocket import dinov2 as pocket_dinov2
    from sheep.synthetic.pocket import dinov2_supervised, sam2_score

    torch.set_num_threads(1)  # times are per core, and small networks gain nothing from more
    scores = sam2_score.evaluate(sam2, num_videos=num_videos, num_frames=num_frames, seed=seeds[0], thorough=True)
    print(f"SAM-2 {sam2}: {num_videos} unseen videos of {num_frames} frames, prompted in frame 0, seed {seeds[0]}")
    print(sam2_score.table(scores), end="\n\n")
    print(f"DINOv2 {dinov2}: frozen, crops at the true box x 1.3, no window, folds by animal, seeds {seeds}")
    print(pocket_dinov2.table([pocket_dinov2.evaluate(dinov2, seed) for seed in seeds]), end="\n\n")
    print("Upper bound: the same network trained with labels on crops of other scenes, scored on the same sets")
    print(dinov2_supervised.table(dinov2_supervised.compare(seeds)))


TOOLS: dict[str, Callable[[list[str], str], None]] = {
    "init": init,
    "cleanup": cleanup,
    "meadow": meadow,
    "pocket": pocket,
}
