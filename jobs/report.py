"""A finished study -> one page that explains itself, and its numbers as JSON; needs no Ray.

python -m jobs.report <recipe> [--field value ...]
"""

import sys

from sheep.cli import main

if __name__ == "__main__":
    main(["report", *sys.argv[1:]])
