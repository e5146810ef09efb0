"""Embeddings and probes -> probabilities per frame, and bouts.

python -m jobs.predict <recipe> [--field value ...]
"""

import sys

from sheep.cli import main

if __name__ == "__main__":
    main(["predict", *sys.argv[1:]])
