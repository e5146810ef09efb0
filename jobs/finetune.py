"""Stored images -> a fine-tuned backbone; `--finetune.view crop` is guided by SAM-2, `frame` is the unguided control.

python -m jobs.finetune <recipe> [--finetune.view frame] [--field value ...]
"""

from jobs.command import run
from sheep.config import StudyConfig


def finetune(config: StudyConfig) -> str:
    """Run the stage; returns its folder."""
    # torch and Ray load here, so that --help and refused flags answer at once
    from sheep import serial
    from sheep.onray.session import session
    from sheep.onray.way import way_over

    with session(config.cluster):
        return serial.finetune(config, config.finetune.view, way_over(config.cluster)).uri


if __name__ == "__main__":
    run(finetune)
