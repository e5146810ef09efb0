"""A finished study -> one page that explains itself, and its numbers as JSON; needs no Ray.

python -m jobs.report <recipe> [--field value ...]
"""

from jobs.command import run
from sheep.config import StudyConfig


def report(config: StudyConfig) -> str:
    """Write the report; returns the tables, then the page's URI."""
    # torch and Ray load here, so that --help and refused flags answer at once
    from sheep.report import stage
    from sheep.study import Study

    outcome = stage.run(Study(config))
    return f"{outcome.text}\n{outcome.report}"


if __name__ == "__main__":
    run(report)
