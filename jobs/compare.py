"""Predictions and cohort -> differences between groups, with the animal as the unit; needs no Ray.

python -m jobs.compare <recipe> [--field value ...]
"""

from jobs.command import run
from sheep.config import StudyConfig


def compare(config: StudyConfig) -> str:
    """Run the stage; returns its folder."""
    # torch and Ray load here, so that --help and refused flags answer at once
    from sheep.compare import stage
    from sheep.study import Study

    return stage.run(Study(config)).uri


if __name__ == "__main__":
    run(compare)
