"""Videos, prompts, annotations, cohort and settings -> what has to be corrected, in one list; needs no Ray.

python -m jobs.check <recipe> [--field value ...]
"""

import sys

from sheep.cli import main

if __name__ == "__main__":
    main(["check", *sys.argv[1:]])
