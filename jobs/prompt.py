"""Videos -> the archive's prompt file, without a click in every video: by motion, by one exemplar, or by a phrase.

python -m jobs.prompt <recipe> --prompt.how motion [--field value ...]
"""

from jobs.command import run
from sheep.config import StudyConfig


def prompt(config: StudyConfig) -> str:
    """Find the animals; returns the videos that need a person, then the file."""
    # networks load here, so that --help and refused flags answer at once
    from sheep.prompts import detect

    return detect.prompt(config.archive, config.crop, config.prompt).words()


if __name__ == "__main__":
    run(prompt)
