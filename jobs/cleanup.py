"""List what a study's folder no longer needs, and delete it if asked; needs no Ray.

python -m jobs.cleanup s3://bucket/run                      lists
python -m jobs.cleanup s3://bucket/run --delete             deletes files that no ledger names
python -m jobs.cleanup s3://bucket/run --delete --states    and tracker states that a corrected prompt would resume from
"""

import sys

from sheep.cli import main

if __name__ == "__main__":
    main(["cleanup", *sys.argv[1:]])
