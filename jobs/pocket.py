"""Train or score the pocket models that ship in `sheep/weights/`, from seeds and on synthetic scenes only.

python -m jobs.pocket sam2 --out runs/pocket_sam2 [--resume] [--config.num-scenes 600]
python -m jobs.pocket dinov2 --out runs/pocket_dinov2 [--resume]
python -m jobs.pocket score [--seeds 100 101 102]
"""

import sys

from sheep.cli import main

if __name__ == "__main__":
    main(["pocket", *sys.argv[1:]])
