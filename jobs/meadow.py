"""Draw a study on the meadow: videos, prompts, annotations and cohort as a lab would have them, and the truth apart.

python -m jobs.meadow [--root runs/meadow] [--workers 2] [--meadow.standing-frac-treated 0.65]
"""

import logging
import sys

import tyro

from sheep.errors import ConfigError
from sheep.io import logs
from sheep.synthetic.archive import MeadowConfig, clips, write_archive


def draw(root: str = "runs/meadow", workers: int = 2, meadow: MeadowConfig = MeadowConfig()) -> None:  # noqa: B008
    """Draw a study.

    Args:
        root: where to write; a plain path, file:// or s3://.
        workers: processes that draw.
        meadow: the study.
    """
    logs.setup()
    logging.getLogger("jobs.meadow").info(
        "meadow root=%s videos=%d frames_each=%d", root, len(clips(meadow)), meadow.scene.num_frames
    )
    write_archive(meadow, root, workers=workers)
    print(root)


if __name__ == "__main__":
    try:
        tyro.cli(draw)
    except ConfigError as error:
        sys.exit(f"ConfigError: {error}")
