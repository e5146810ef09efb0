"""Videos -> the archive's prompt file, without a click in every video: by motion, by one exemplar, or by a phrase.

python -m jobs.prompt <recipe> --prompt.how motion [--field value ...]
"""

import sys

from sheep.cli import main

if __name__ == "__main__":
    main(["prompt", *sys.argv[1:]])
