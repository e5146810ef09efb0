"""Run everything in this process, in order.

Tests compare every distributed run with this executor.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from sheep.execution.base import Job, Result, Shared, TrainingContext, TrainingJob, Trial, Work, Worker
from sheep.io import storage
from sheep.io.manifest import Entry
from sheep.io.progress import Progress


@dataclass(frozen=True)
class LocalExecutor:
    """Runs units, training and trials in the calling process."""

    progress: Progress = field(default_factory=Progress, kw_only=True)

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
            with self.progress.task("finetune", job.num_steps, "steps") as task:

                def report(measures: dict[str, float]) -> None:
                    job.show(measures)
                    task.reach(measures["step"])

                job.train(TrainingContext(folder=folder, report=report))
            storage.upload_folder(folder, job.out)

    def run_trials(
        self, objective: Callable[[Trial, Shared], Result], trials: Sequence[Trial], shared: Shared
    ) -> list[Result]:
        """Run trials in order.

        Args:
            objective: called with a trial and `shared`.
            trials: any number.
            shared: what every trial reads.
        """
        results = []
        with self.progress.task("search", len(trials), "trials") as task:
            for trial in trials:
                results.append(objective(trial, shared))
                task.advance(1)
        return results


LOCAL = LocalExecutor()
