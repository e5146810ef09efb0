"""Predicted bouts -> a BORIS project, BORIS's tabular events and a plain table, for a person to correct.

python -m jobs.export <recipe> [--field value ...]
"""

import sys

from sheep.cli import main

if __name__ == "__main__":
    main(["export", *sys.argv[1:]])
