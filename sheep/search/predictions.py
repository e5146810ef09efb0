"""The predictions table: probabilities beside their keys and the fold of the probe that predicted them."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sheep import schemas
from sheep.errors import ContractError
from sheep.schemas import key_columns, labels_of, validate

FINAL_FOLD = -1
"""The fold of the final probe, which was fitted on every labelled animal; also of animals that trained no probe, which
the mean over the probes of all folds predicts."""


def tabulate(
    keys: pa.Table,
    probability: NDArray[np.floating],
    labels: Sequence[str],
    fold: NDArray[np.integer] | int = FINAL_FOLD,
) -> pa.Table:
    """Put probabilities beside their keys.

    Args:
        keys: video, animal, frame, time_s; other columns are ignored.
        probability: (F, L) in [0, 1], in the order of `keys`.
        labels: (L,) names.
        fold: (F,) outer fold whose probe predicted each row, or one for all.

    Returns:
        `schemas.predictions(labels)`.

    Raises:
        ContractError: shapes differ, a probability is outside [0, 1] or nan, or a key occurs twice.
    """
    if probability.shape != (keys.num_rows, len(labels)):
        raise ContractError(
            f"predictions: probability {probability.shape}, expected ({keys.num_rows}, {len(labels)}). "
            "This is a bug: report it."
        )
    if not ((probability >= 0) & (probability <= 1)).all():
        raise ContractError(
            "predictions: probabilities outside [0, 1] or nan, expected none. Check embeddings and probe."
        )
    folds = np.broadcast_to(np.asarray(fold, dtype=np.int32), (keys.num_rows,))
    columns = [*key_columns(keys), pa.array(folds, pa.int32())]
    columns += [pa.array(column.astype(np.float32), pa.float32()) for column in probability.T]
    schema = schemas.predictions(labels)
    return validate(pa.Table.from_arrays(columns, schema=schema), schema, "predictions")


def probabilities_of(predictions: pa.Table) -> NDArray[np.float64]:
    """Return the probabilities of a predictions table as (F, L)."""
    return np.stack(
        [predictions.column(label).to_numpy().astype(np.float64) for label in labels_of(predictions)], axis=1
    )
