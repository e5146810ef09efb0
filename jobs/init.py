"""A folder for a new study: prompts, cohort, annotations and ethogram with their headers and an example row.

python -m jobs.init my_study
"""

import sys

from sheep.cli import main

if __name__ == "__main__":
    main(["init", *sys.argv[1:]])
