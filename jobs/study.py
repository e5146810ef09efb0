"""The full pipeline, every variant: videos, prompts, annotations and cohort -> the report.

python -m jobs.study <recipe> [--field value ...]
ray job submit --working-dir . -- python -m jobs.study <recipe> --archive.root s3://... --out s3://...
"""

import sys

from sheep.cli import main

if __name__ == "__main__":
    main(["study", *sys.argv[1:]])
