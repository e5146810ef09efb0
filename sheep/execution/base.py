"""What a stage and whoever runs its work promise each other. No stage and no Ray is known here.

A stage that works video by video hands out a `Job` (plain data that travels; `open` loads the model once per worker)
and its units. Fine-tuning hands out a `TrainingJob`, the search a list of trials. An `Executor` runs all three:
`execution.local` in this process, `execution.ray` on a cluster. Workers write their results to storage themselves
(`sheep.io.ledger`); only ledger entries and scores travel back.
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
    """What a worker needs to do a stage's units. Plain data, so that it travels."""

    @property
    def stage(self) -> StageFolder:
        """The folder it writes to."""
        ...

    @property
    def pool(self) -> str:
        """Which workers of `ClusterConfig` do it: crop, embed or predict."""
        ...

    def open(self) -> Worker:
        """Load the model, once per worker."""
        ...


Work = tuple[Job, Unit]


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingContext:
    """One training worker's place among the others, and how it reports, saves and resumes."""

    folder: str
    """Empty local folder for the result."""
    rank: int = 0
    world: int = 1
    all_reduce: Callable[[Any], Any] | None = None
    """Mean of a tensor over workers; None for a single worker."""
    report: Callable[[dict[str, float]], None]
    """Called after each step with its measures."""
    save: Callable[[str], None] | None = None
    """Takes a local folder with a checkpoint; None where nothing is saved on the way."""
    save_every: int = 50
    """Steps between checkpoints; >= 1."""
    resume_dir: str | None = None
    """Local folder of the checkpoint to resume from."""


class TrainingJob(Protocol):
    """A training that several workers take part in. Plain data, so that it travels."""

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
        """Same for trainings that may resume from each other's checkpoints."""
        ...

    @property
    def num_steps(self) -> int:
        """Steps in all; >= 1."""
        ...

    def train(self, context: TrainingContext) -> None:
        """Take part; the worker of rank 0 leaves the result in `context.folder`."""
        ...

    def show(self, measures: dict[str, float]) -> None:
        """Log a step."""
        ...


Trial = TypeVar("Trial")
Shared = TypeVar("Shared")
Result = TypeVar("Result")


class Executor(Protocol):
    """Who runs the work."""

    @property
    def progress(self) -> Progress:
        """Where it reports how far it is."""
        ...

    def run_units(self, work: Sequence[Work]) -> Iterable[Entry]:
        """Do every unit, in any order, anywhere; yield each ledger entry as it is committed. Jobs are of one pool."""
        ...

    def train(self, job: TrainingJob) -> None:
        """Train and leave the result at `job.out`."""
        ...

    def run_trials(
        self, objective: Callable[[Trial, Shared], Result], trials: Sequence[Trial], shared: Shared
    ) -> list[Result]:
        """Call `objective` (a module's function) with each trial.

        `shared` travels once. Results are in the order of trials.
        """
        ...


def pool_size(pool: str, cluster: ClusterConfig) -> tuple[int, float]:
    """Return how many workers a pool has, and how many GPUs each of them."""
    sizes = {
        "crop": (cluster.crop_workers, cluster.gpus),
        "embed": (cluster.embed_workers, cluster.gpus),
        "predict": (cluster.predict_workers, 0.0),
    }
    return sizes[pool]


def recorded(stage: StageFolder, unit: Unit, work: Callable[[], Entry]) -> Entry:
    """Do one unit; a video that cannot be used becomes an entry with its reason, and the archive continues."""
    try:
        entry = work()
    except MediaError as error:
        entry = stage.fail(unit.key, unit.input, error)
        log.warning("%s video=%s error=%s", stage.name, unit.key, error)
    return entry


def run_units(
    asked: Sequence[tuple[Job, Mapping[str, Unit]]], executor: Executor, *, max_error_frac: float = 0.0
) -> list[Manifest]:
    """Run the due units of some jobs of one pool together, and write each job's manifest.

    Args:
        asked: jobs with all their units, by key; finished units are not run again.
        executor: who runs them.
        max_error_frac: share of a job's units that may fail; 0 to 1.

    Returns:
        A manifest for each job, in order.

    Raises:
        ConfigError: raised by a job when it is opened.
        ContractError: more units failed than that.
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
    found = [finished[job] or job.stage.finish(inputs_of(units), max_error_frac=max_error_frac) for job, units in asked]
    for manifest in found:
        _tell_errors(manifest)
    return found


def inputs_of(units: Mapping[str, Unit]) -> dict[str, str]:
    """Return the input identity of every unit, as the ledger wants it."""
    return {key: unit.input for key, unit in units.items()}


def _tell_errors(manifest: Manifest) -> None:
    """Warn of units that have no result, now and at the job's end: the job itself succeeds."""
    num_failed = sum(bool(entry.error) for entry in manifest.entries)
    if num_failed:
        log.warning(
            "%s: %d of %d videos could not be used. They are listed with the reasons in %s",
            *(manifest.stage, num_failed, len(manifest.entries), manifest.errors_uri),
            extra={"at_end": True},
        )
