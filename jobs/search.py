"""Embeddings and labels -> tuned probes and out-of-fold scores, for every variant whose embeddings are there.

python -m jobs.search <recipe> [--field value ...]
"""

from jobs.command import run
from sheep.config import StudyConfig


def search(config: StudyConfig) -> str:
    """Run the stage; returns its folder."""
    # torch and Ray load here, so that --help and refused flags answer at once
    from sheep.execution.ray.executor import RayExecutor
    from sheep.execution.ray.session import session
    from sheep.search import stage
    from sheep.study import Study

    with session(config.cluster):
        return stage.run(Study(config, RayExecutor(config.cluster))).uri


if __name__ == "__main__":
    run(search)
