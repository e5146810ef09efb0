"""The whole way, every variant: videos, prompts, annotations and cohort -> the report.

python -m jobs.study <recipe> [--field value ...]
ray job submit --working-dir . -- python -m jobs.study <recipe> --archive.root s3://... --out s3://...
"""

from jobs import command
from sheep.config import StudyConfig


def run_study(config: StudyConfig) -> str:
    """Run every stage that is not there yet; returns the tables, then the page's URI."""
    # torch and Ray load here, so that --help and refused flags answer at once
    from sheep import pipeline
    from sheep.execution.ray.executor import RayExecutor
    from sheep.execution.ray.session import session
    from sheep.study import Study

    study = Study(config, RayExecutor(config.cluster))
    study.inputs.check()
    with session(config.cluster):
        outcome = pipeline.run(study)
    return f"{outcome.text}\n{outcome.report}"


if __name__ == "__main__":
    command.run(run_study)
