"""Videos and prompts -> tracks, crops and contact sheets.

python -m jobs.crop <recipe> [--field value ...]
"""

from jobs.command import run
from sheep.config import StudyConfig


def crop(config: StudyConfig) -> str:
    """Run the stage; returns its folder."""
    # torch and Ray load here, so that --help and refused flags answer at once
    from sheep import serial, stages
    from sheep.onray.session import session
    from sheep.onray.way import way_over

    stages.read_prompts(config.archive, config.crop)
    with session(config.cluster):
        return serial.crop(config, way_over(config.cluster)).uri


if __name__ == "__main__":
    run(crop)
