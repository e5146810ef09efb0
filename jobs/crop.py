"""Videos and prompts -> tracks, crops and contact sheets.

python -m jobs.crop <recipe> [--field value ...]
"""

import sys

from sheep.cli import main

if __name__ == "__main__":
    main(["crop", *sys.argv[1:]])
