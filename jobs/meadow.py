"""Generate the synthetic dataset.

Videos, prompts, annotations and cohort as a lab would have them, and the truth apart.

python -m jobs.meadow [--root runs/meadow] [--workers 2] [--meadow.standing-frac-treated 0.65]
"""

import sys

from sheep.cli import main

if __name__ == "__main__":
    main(["meadow", *sys.argv[1:]])
