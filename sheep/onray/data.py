"""Ray Data carries units of work over a pool of actors: for cropping, embedding and prediction alike.

Only keys go out and only ledger entries come back; the actors read and write storage themselves (`sheep/ledger.py` says why).
A worker that dies is restarted and its unit tried again; a unit that keeps killing its workers becomes an error row.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import ray
import ray.data

from sheep import log
from sheep.config import ClusterConfig
from sheep.ledger import Entry
from sheep.stages import Carry, Job
from sheep.units import CropJob, EmbedJob, Unit


class _Actor:
    """Opens the job once, then does one unit per call."""

    def __init__(self, job: Job, units: Mapping[str, Unit]) -> None:
        log.setup()
        self._work = job.open()
        self._units = units

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        entries = [self._work(self._units[key]) for key in batch["key"].tolist()]
        return {"entry": np.array([entry.to_json() for entry in entries], dtype=object)}


def carry_over(cluster: ClusterConfig) -> Carry:
    """Return a `Carry` that spreads units over this many actors."""

    def carry(job: Job, units: Sequence[Unit]) -> Iterator[Entry]:
        num_workers, num_gpus = _size(job, cluster)
        keys = [{"key": unit.key} for unit in units]
        dataset = ray.data.from_items(keys, override_num_blocks=len(keys)).map_batches(
            _Actor,
            fn_constructor_args=(job, {unit.key: unit for unit in units}),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(num_workers, len(keys)), max_tasks_in_flight_per_actor=1),
            num_cpus=cluster.cpus,
            num_gpus=num_gpus,
        )
        for row in dataset.iter_rows():
            yield Entry.from_json(row["entry"])

    return carry


def _size(job: Job, cluster: ClusterConfig) -> tuple[int, float]:
    if isinstance(job, CropJob):
        return cluster.crop_workers, cluster.gpus
    if isinstance(job, EmbedJob):
        return cluster.embed_workers, cluster.gpus
    return cluster.predict_workers, 0.0
