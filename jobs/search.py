"""Embeddings and labels -> tuned probes and out-of-fold scores, for every variant whose embeddings are there.

python -m jobs.search <recipe> [--field value ...]
"""

import sys

from sheep.cli import main

if __name__ == "__main__":
    main(["search", *sys.argv[1:]])
