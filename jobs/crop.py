"""Videos and prompts -> tracks, crops and contact sheets.

python -m jobs.crop <recipe> [--field value ...]
"""

from jobs.command import run
from sheep.config import StudyConfig


def crop(config: StudyConfig) -> str:
    """Run the stage; returns its folder."""
    # torch and Ray load here, so that --help and refused flags answer at once
    from sheep.crop import stage
    from sheep.execution.ray.executor import RayExecutor
    from sheep.execution.ray.session import session
    from sheep.study import Study

    study = Study(config, RayExecutor(config.cluster))
    _ = study.inputs.prompts  # refused before a machine is asked for
    with session(config.cluster):
        return stage.run(study).uri


if __name__ == "__main__":
    run(crop)
