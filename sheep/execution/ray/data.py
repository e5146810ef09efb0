"""Ray Data runs units on a pool of actors: for cropping, embedding and prediction alike.

Only numbers go out and only ledger entries come back; the actors read and write storage themselves (`sheep.io.ledger`
says why). A worker that dies is restarted and its unit tried again; a unit that keeps killing its workers becomes an
error row.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import ray
import ray.data

from sheep.config import ClusterConfig
from sheep.errors import ConfigError, ContractError
from sheep.execution.base import Job, Unit, Work, Worker, pool_size
from sheep.io import logs
from sheep.io.manifest import Entry

_REFUSALS: dict[str, type[Exception]] = {"ConfigError": ConfigError, "ContractError": ContractError}


class _Actor:
    """Opens each job once, when its first unit comes, then does one unit per call."""

    def __init__(self, work: Sequence[Work]) -> None:
        logs.setup()
        self._work = work
        self._opened: dict[Job, Worker] = {}

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        rows = [self._do(*self._work[number]) for number in batch["number"].tolist()]
        return {name: np.array([row[name] for row in rows], dtype=object) for name in ("entry", "refusal", "reason")}

    def _do(self, job: Job, unit: Unit) -> dict[str, str]:
        """An entry, or why the whole job must stop: as a row, because Ray would wrap the error in its own."""
        try:
            if job not in self._opened:
                self._opened[job] = job.open()
            return {"entry": self._opened[job](unit).to_json(), "refusal": "", "reason": ""}
        except (ConfigError, ContractError) as error:
            return {"entry": "", "refusal": type(error).__name__, "reason": str(error)}


def run_units(work: Sequence[Work], cluster: ClusterConfig) -> Iterator[Entry]:
    """Spread units over the actors of their pool.

    A pool of fixed size asks the cluster for all its machines at once, begins with the first that comes and releases
    idle actors when no unit is left; one that grows from a single actor asks for one machine at a time
    (docs/decisions.md).

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
