"""Train or judge the pocket models that ship in `sheep/weights/`, from seeds and on the meadow only.

python -m jobs.pocket sam2 --out runs/pocket_sam2 [--resume] [--config.num-scenes 600]
python -m jobs.pocket dinov2 --out runs/pocket_dinov2 [--resume]
python -m jobs.pocket judge [--seeds 100 101 102]
"""

import json
import sys
from pathlib import Path

import tyro

from sheep.errors import ConfigError
from sheep.io import logs
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


def judge(
    sam2: str = "pocket",
    dinov2: str = "pocket",
    seeds: tuple[int, ...] = (100, 101, 102),
    num_videos: int = 24,
    num_frames: int = 60,
) -> None:
    """Score both on scenes of fresh seeds, beside trivial baselines and controls; SAM-2 on those of the first seed."""
    import torch

    from sheep.synthetic.pocket import dinov2 as pocket_dinov2
    from sheep.synthetic.pocket import dinov2_supervised, sam2_score

    torch.set_num_threads(1)  # times are per core, and small networks gain nothing from more
    scores = sam2_score.evaluate(sam2, num_videos=num_videos, num_frames=num_frames, seed=seeds[0], thorough=True)
    print(f"SAM-2 {sam2}: {num_videos} unseen videos of {num_frames} frames, prompted in frame 0, seed {seeds[0]}")
    print(sam2_score.table(scores), end="\n\n")
    print(f"DINOv2 {dinov2}: frozen, crops at the true box x 1.3, no window, folds by animal, seeds {seeds}")
    print(pocket_dinov2.table([pocket_dinov2.evaluate(dinov2, seed) for seed in seeds]), end="\n\n")
    print(
        "Can that network learn the labels at all? Trained on labelled crops of other scenes, scored on the same sets"
    )
    print(dinov2_supervised.table(dinov2_supervised.compare(seeds)))


if __name__ == "__main__":
    logs.setup()
    try:
        tyro.extras.subcommand_cli_from_dict({"sam2": sam2, "dinov2": dinov2, "judge": judge})
    except ConfigError as error:
        sys.exit(f"ConfigError: {error}")
