"""Stored images -> a fine-tuned backbone; `--finetune.view crop` is guided by SAM-2, `frame` is the unguided control.

python -m jobs.finetune <recipe> [--finetune.view frame] [--field value ...]
"""

import sys

from sheep.cli import main

if __name__ == "__main__":
    main(["finetune", *sys.argv[1:]])
