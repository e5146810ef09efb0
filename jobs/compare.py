"""Predictions and cohort -> differences between groups, with the animal as the unit; needs no Ray.

python -m jobs.compare <recipe> [--field value ...]
"""

import sys

from sheep.cli import main

if __name__ == "__main__":
    main(["compare", *sys.argv[1:]])
