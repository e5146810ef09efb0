"""What a worker does with one video: embeddings in, probabilities and bouts out."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sheep import schemas
from sheep.config import PredictConfig
from sheep.embed.vectors import vectors_of
from sheep.execution.base import TableUnit, Worker, recorded
from sheep.io.ledger import StageFolder
from sheep.io.manifest import Entry, read_manifest, read_part
from sheep.predict import bouts
from sheep.search import predictions
from sheep.search.probe_files import Probes, WindowedProbe, read_probes
from sheep.search.windows import slide


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictJob:
    """Embeddings -> probabilities and bouts, each animal by probes that were not fitted on it.

    An animal that was held out is predicted by its fold's probe. One that trained no probe is predicted by the mean
    over the probes of all folds, so that predictions of scored and unscored animals come from the same kind of probe,
    which the correction of the group comparison assumes.
    """

    stage: StageFolder
    source: str
    """URI of the embed stage."""
    probes: str
    """URI of the search stage."""
    config: PredictConfig
    exclusive: tuple[tuple[str, ...], ...] = ()
    """Groups of labels of which at most one holds at a time."""

    @property
    def pool(self) -> str:
        """Name of the worker pool."""
        return "predict"

    def open(self) -> Worker:
        """Read the probes and return the worker.

        Raises:
            ConfigError: the search stage is not finished, or has no such variant.
        """
        probes = read_probes(read_manifest(self.probes), self.config.variant)

        def work(unit: TableUnit) -> Entry:
            return recorded(self.stage, unit, lambda: self._predict(probes, unit))

        return work

    def _predict(self, probes: Probes, unit: TableUnit) -> Entry:
        attempt = self.stage.attempt(unit.key, unit.input)
        rows = pa.concat_tables([read_part(self.source, part) for part in unit.parts])
        vectors, animals = vectors_of(rows), np.array(rows.column("animal").to_pylist())
        time_s = rows.column("time_s").to_numpy()
        probability = np.zeros((rows.num_rows, len(probes.labels)), dtype=np.float32)
        folds = np.full(rows.num_rows, predictions.FINAL_FOLD, dtype=np.int32)
        # Animal by animal: each has its own probe, and a temporal window must not reach from one animal into another.
        for animal in np.unique(animals):
            of_animal = animals == animal
            folds[of_animal] = probes.fold_for(animal)
            probability[of_animal] = _mean(probes.predicting(animal), vectors[of_animal], time_s[of_animal])
        table = predictions.tabulate(rows, probability, probes.labels, folds)
        attempt.write("predictions", table, table.schema)
        attempt.write("bouts", bouts.bouts(table, self.config, self.exclusive), schemas.BOUTS)
        return attempt.commit()


def _mean(
    probes: Sequence[WindowedProbe], vectors: NDArray[np.floating], time_s: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Average the probabilities of several probes for one animal in one video.

    Args:
        probes: at least one, each with its own window.
        vectors: (F, D).
        time_s: (F,) increasing [s].

    Returns:
        (F, L) in [0, 1].
    """
    predicted = [one.probe.predict_proba(slide(vectors, time_s, one.window)) for one in probes]
    mean: NDArray[np.float32] = np.mean(predicted, axis=0, dtype=np.float32)
    return mean
