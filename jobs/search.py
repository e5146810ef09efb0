"""Embeddings and labels -> tuned probes and out-of-fold scores, for every arm whose embeddings are there.

python -m jobs.search <recipe> [--field value ...]
"""

from jobs.command import run
from sheep.config import StudyConfig


def search(config: StudyConfig) -> str:
    """Run the stage; returns its folder."""
    # torch and Ray load here, so that --help and refused flags answer at once
    from sheep import serial
    from sheep.onray.session import session
    from sheep.onray.way import way_over

    with session(config.cluster):
        return serial.search(config, way_over(config.cluster)).uri


if __name__ == "__main__":
    run(search)
