"""Stored images -> a fine-tuned backbone; `--finetune.view crop` is guided by SAM-2, `frame` is the unguided control.

python -m jobs.finetune <recipe> [--finetune.view frame] [--field value ...]
"""

from jobs.command import run
from sheep.config import StudyConfig


def finetune(config: StudyConfig) -> str:
    """Run the stage; returns its folder."""
    # torch and Ray load here, so that --help and refused flags answer at once
    from sheep.execution.ray.executor import RayExecutor
    from sheep.execution.ray.session import session
    from sheep.finetune import stage
    from sheep.study import Study

    with session(config.cluster):
        [found] = stage.run(Study(config, RayExecutor(config.cluster)), [config.finetune.view])
        return found.uri


if __name__ == "__main__":
    run(finetune)
