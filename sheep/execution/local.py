"""Run everything in this process, one thing after the other.

The reference that every distributed run is compared with.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from sheep.execution.base import Job, Result, Shared, TrainingContext, TrainingJob, Trial, Work, Worker
from sheep.io import storage
from sheep.io.manifest import Entry


@dataclass(frozen=True)
class LocalExecutor:
    """No pool, no processes."""

    def run_units(self, work: Sequence[Work]) -> Iterator[Entry]:
        """Do units in order; each job is opened once."""
        opened: dict[Job, Worker] = {}
        for job, unit in work:
            if job not in opened:
                opened[job] = job.open()
            yield opened[job](unit)

    def train(self, job: TrainingJob) -> None:
        """Train as a single worker, without checkpoints."""
        with tempfile.TemporaryDirectory(prefix="sheep-") as folder:
            job.train(TrainingContext(folder=folder, report=job.show))
            storage.upload_folder(folder, job.out)

    def run_trials(
        self, objective: Callable[[Trial, Shared], Result], trials: Sequence[Trial], shared: Shared
    ) -> list[Result]:
        """Run trials in order."""
        return [objective(trial, shared) for trial in trials]


LOCAL = LocalExecutor()
