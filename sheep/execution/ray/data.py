"""Ray Data runs units on a pool of actors, for cropping, embedding and prediction.

Ray transfers only unit numbers and ledger entries; the actors read and write storage themselves (`sheep.io.ledger`
explains why). A worker that dies is restarted and its unit run again; a unit that keeps killing its workers is recorded
as failed.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import ray
import ray.data
from numpy.typing import NDArray

from sheep.config import ClusterConfig
from sheep.errors import ConfigError, ContractError
from sheep.execution.base import Job, Unit, Work, Worker, pool_size
from sheep.io import logs
from sheep.io.manifest import Entry

_REFUSALS: dict[str, type[Exception]] = {"ConfigError": ConfigError, "ContractError": ContractError}


class _Actor:
    """Opens each job once, at its first unit, and runs one unit per call."""

    def __init__(self, work: Sequence[Work]) -> None:
        logs.setup()
        self._work = work
        self._opened: dict[Job, Worker] = {}

    def __call__(self, batch: dict[str, NDArray[np.int64]]) -> dict[str, NDArray[np.object_]]:
        rows = [self._do(*self._work[number]) for number in batch["number"].tolist()]
        return {name: np.array([row[name] for row in rows], dtype=object) for name in ("entry", "refusal", "reason")}

    def _do(self, job: Job, unit: Unit) -> dict[str, str]:
        """Return an entry, or the error that stops the whole job: as a row, because Ray would wrap an exception.

        Args:
            job: opened at its first unit.
            unit: of that job.
        """
        try:
            if job not in self._opened:
                self._opened[job] = job.open()
            return {"entry": self._opened[job](unit).to_json(), "refusal": "", "reason": ""}
        except (ConfigError, ContractError) as error:
            return {"entry": "", "refusal": type(error).__name__, "reason": str(error)}


def run_units(work: Sequence[Work], cluster: ClusterConfig) -> Iterator[Entry]:
    """Spread units over the actors of their pool.

    A pool of fixed size requests all its machines at once, starts on the first one available and releases idle actors
    when no unit is left. A pool that grows from a single actor requests one machine at a time (docs/decisions.md).

    Args:
        work: at least one unit; jobs of one pool.
        cluster: size of the pool, CPUs and GPUs of each actor.

    Raises:
        ConfigError: raised by a job in a worker.
        ContractError: raised by a job in a worker.
    """
    num_workers, num_gpus = pool_size(work[0][0].pool, cluster)
    numbers = [{"number": number} for number in range(len(work))]
    dataset = ray.data.from_items(numbers, override_num_blocks=len(work)).map_batches(
        _Actor,
        fn_constructor_args=(list(work),),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(num_workers, len(work)), max_tasks_in_flight_per_actor=1),
        num_cpus=cluster.cpus,
        num_gpus=num_gpus,
    )
    for row in dataset.iter_rows():
        if row["refusal"]:
            raise _REFUSALS[row["refusal"]](row["reason"])
        yield Entry.from_json(row["entry"])
