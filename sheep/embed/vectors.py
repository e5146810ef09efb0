"""The embeddings table as a matrix."""

import numpy as np
import pyarrow as pa


def vectors_of(rows: pa.Table) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    """Take the embeddings of a table as (F, D) float32."""
    column = rows.column("embedding").combine_chunks()
    return (
        column.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(column), column.type.list_size)
    )
