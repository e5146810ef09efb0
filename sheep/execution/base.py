"""The interface between stages and executors. It depends on no stage and not on Ray.

A stage that works video by video defines a `Job` (plain data that is sent to workers; `open` loads the model once per
worker) and its units. Fine-tuning defines a `TrainingJob`, the search a list of trials. An `Executor` runs all three:
`execution.local` in this process, `execution.ray` on a cluster. Workers write their results to storage themselves
(`sheep.io.ledger`) and return only ledger entries and scores.
"""

import logging
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sheep.config import ClusterConfig
from sheep.errors import MediaError
from sheep.io.ledger import StageFolder, unchanged
from sheep.io.manifest import Entry, Manifest, Part
from sheep.io.progress import Progress

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """The work that is committed as a whole: one video, one variant or one backbone."""

    key: str
    """Its name within the stage."""
    input: str
    """Identity of everything it reads; a unit whose identity changed is due again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableUnit(Unit):
    """A unit that reads what an earlier stage wrote for the same key."""

    parts: tuple[Part, ...]


Worker = Callable[[Any], Entry]
"""Does one unit of its job and commits it."""


class Job(Hashable, Protocol):
    """Everything a worker needs to run a stage's units. Plain data, so that it can be sent to workers."""

    @property
    def stage(self) -> StageFolder:
        """The folder it writes to."""
        ...

    @property
    def pool(self) -> str:
        """The worker pool of `ClusterConfig` that runs it: crop, embed or predict."""
        ...

    def open(self) -> Worker:
        """Load the model, once per worker."""
        ...


Work = tuple[Job, Unit]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingContext:
    """Rank of one training worker, and its functions for reporting, saving and resuming."""

    folder: str
    """Empty local folder for the result."""
    rank: int = 0
    world: int = 1
    all_reduce: Callable[[Any], Any] | None = None
    """Mean of a tensor over workers; None for a single worker."""
    report: Callable[[dict[str, float]], None]
    """Called after each step with its measures."""
    save: Callable[[str], None] | None = None
    """Takes a local folder with a checkpoint; None where no checkpoints are saved."""
    save_every: int = 50
    """Steps between checkpoints; >= 1."""
    resume_dir: str | None = None
    """Local folder of the checkpoint to resume from."""


class TrainingJob(Protocol):
    """A training on one or more workers. Plain data, so that it can be sent to workers."""

    @property
    def out(self) -> str:
        """URI of the folder for the result; checkpoints go beside it."""
        ...

    @property
    def workers(self) -> tuple[int, int]:
        """Fewest and most data-parallel workers."""
        ...

    @property
    def run_id(self) -> str:
        """Equal for trainings that may resume from each other's checkpoints."""
        ...

    @property
    def num_steps(self) -> int:
        """Number of optimiser steps; >= 1."""
        ...

    def train(self, context: TrainingContext) -> None:
        """Train as one of the workers; rank 0 writes the result to `context.folder`."""
        ...

    def show(self, measures: dict[str, float]) -> None:
        """Log a step."""
        ...


Trial = TypeVar("Trial")
Shared = TypeVar("Shared")
Result = TypeVar("Result")


class Executor(Protocol):
    """Runs the work of stages."""

    @property
    def progress(self) -> Progress:
        """Receives its progress."""
        ...

    def run_units(self, work: Sequence[Work]) -> Iterable[Entry]:
        """Run every unit, in any order, and yield each ledger entry once committed. All jobs are of one pool."""
        ...

    def train(self, job: TrainingJob) -> None:
        """Train and write the result to `job.out`."""
        ...

    def run_trials(
        self, objective: Callable[[Trial, Shared], Result], trials: Sequence[Trial], shared: Shared
    ) -> list[Result]:
        """Call `objective` with each trial.

        Args:
            objective: a function of a module, called with a trial and `shared`.
            trials: any number.
            shared: what every trial reads; sent to the workers once.

        Returns:
            The results, in the order of `trials`.
        """
        ...


def pool_size(pool: str, cluster: ClusterConfig) -> tuple[int, float]:
    """Return the number of workers of a pool, and the GPUs of each.

    Args:
        pool: crop, embed or predict.
        cluster: the sizes.
    """
    sizes = {
        "crop": (cluster.crop_workers, cluster.gpus),
        "embed": (cluster.embed_workers, cluster.gpus),
        "predict": (cluster.predict_workers, 0.0),
    }
    return sizes[pool]


def recorded(stage: StageFolder, unit: Unit, work: Callable[[], Entry]) -> Entry:
    """Run one unit; a MediaError is committed as the unit's entry, and the other units continue.

    Args:
        stage: the folder that the unit writes to.
        unit: the unit.
        work: runs it and commits its entry.
    """
    try:
        entry = work()
    except MediaError as error:
        entry = stage.fail(unit.key, unit.input, error)
        log.warning("%s video=%s error=%s", stage.name, unit.key, error)
    return entry


def run_units(
    asked: Sequence[tuple[Job, Mapping[str, Unit]]], executor: Executor, *, max_error_frac: float = 0.0
) -> list[Manifest]:
    """Run the due units of several jobs of one pool together, and write each job's manifest.

    Args:
        asked: jobs with all their units, by key; finished units are not run again.
        executor: runs them.
        max_error_frac: share of a job's units that may fail; 0 to 1.

    Returns:
        A manifest for each job, in order.

    Raises:
        ConfigError: raised by a job when it is opened.
        ContractError: a larger share of a job's units failed.
    """
    finished = {job: unchanged(job.stage, inputs_of(units)) for job, units in asked}
    work: list[Work] = []
    for job, units in asked:
        due = [] if finished[job] is not None else job.stage.todo(inputs_of(units))
        log.debug("%s out=%s units=%d due=%d", job.stage.name, job.stage.uri, len(units), len(due))
        work += [(job, units[key]) for key in due]
    if work:
        what = "videos" if len(asked) == 1 else f"videos for {len(asked)} encoders and views"
        with executor.progress.task(asked[0][0].stage.name, len(work), what, rate_unit="rows") as task:
            for entry in executor.run_units(work):
                names = {part.table for part in entry.parts}
                rows = [sum(part.rows for part in entry.parts if part.table == name) for name in names]
                task.advance(max(rows, default=0))
    manifests = [
        finished[job] or job.stage.finish(inputs_of(units), max_error_frac=max_error_frac) for job, units in asked
    ]
    for manifest in manifests:
        _warn_of_errors(manifest)
    return manifests


def inputs_of(units: Mapping[str, Unit]) -> dict[str, str]:
    """Return unit key -> input identity, the form that the ledger takes."""
    return {key: unit.input for key, unit in units.items()}


def _warn_of_errors(manifest: Manifest) -> None:
    """Warn of failed units, now and at the job's end: the job itself succeeds."""
    num_failed = sum(bool(entry.error) for entry in manifest.entries)
    if num_failed:
        log.warning(
            "%s: %d of %d videos could not be used. They are listed with the reasons in %s",
            *(manifest.stage, num_failed, len(manifest.entries), manifest.errors_uri),
            extra={"at_end": True},
        )
