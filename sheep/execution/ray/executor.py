"""The executor for a connected Ray session: Ray Data runs units, Ray Train trains, Ray Tune runs trials."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from sheep.config import ClusterConfig
from sheep.execution.base import Result, Shared, TrainingJob, Trial, Work
from sheep.execution.ray import data, train, tune
from sheep.io.manifest import Entry
from sheep.io.progress import Progress


@dataclass(frozen=True, slots=True)
class RayExecutor:
    """Runs work on the workers that the cluster's configuration defines."""

    cluster: ClusterConfig
    save_every: int = train.SAVE_EVERY
    """Steps between checkpoints of a training, the most that a worker's death costs; >= 1."""
    progress: Progress = field(default_factory=Progress, kw_only=True)

    def run_units(self, work: Sequence[Work]) -> Iterator[Entry]:
        """Spread units over a pool of Ray Data actors."""
        return data.run_units(work, self.cluster)

    def train(self, job: TrainingJob) -> None:
        """Train on data-parallel Ray Train workers."""
        with self.progress.task("finetune", job.num_steps, "steps") as task:
            train.run(job, self.cluster, self.save_every, on_step=task.reach)

    def run_trials(
        self, objective: Callable[[Trial, Shared], Result], trials: Sequence[Trial], shared: Shared
    ) -> list[Result]:
        """Run trials as one Ray Tune experiment.

        Args:
            objective: a function of a module, called with a trial and `shared`.
            trials: any number.
            shared: what every trial reads; sent to the object store once.
        """
        with self.progress.task("search", len(trials), "trials") as task:
            return tune.run_trials(objective, trials, shared, self.cluster, on_trial=lambda: task.advance(1))
