"""The whole way, every arm: videos, prompts, annotations and cohort -> the report.

python -m jobs.study <recipe> [--field value ...]
ray job submit --working-dir . -- python -m jobs.study <recipe> --archive.root s3://... --out s3://...
"""

from jobs.command import run
from sheep.config import StudyConfig


def study(config: StudyConfig) -> str:
    """Run every stage that is not there yet; returns the tables, then the page's URI."""
    # torch and Ray load here, so that --help and refused flags answer at once
    from sheep import serial
    from sheep.onray.session import session
    from sheep.onray.way import way_over

    serial.check(config)
    with session(config.cluster):
        outcome = serial.study(config, way_over(config.cluster))
    return f"{outcome.text}\n{outcome.report}"


if __name__ == "__main__":
    run(study)
