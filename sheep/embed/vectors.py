"""The embeddings table as a matrix."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def vectors_of(rows: pa.Table) -> NDArray[np.float32]:
    """Return the embeddings of a table as (F, D)."""
    column = rows.column("embedding").combine_chunks()
    values = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    vectors: NDArray[np.float32] = values.reshape(len(column), column.type.list_size)
    return vectors
