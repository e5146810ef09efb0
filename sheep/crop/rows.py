"""Typed rows of the tables that the crop stage writes: one animal in one frame each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1 [px], x1 and y1 exclusive."""

_BATCH_ROWS = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackRow:
    """A row of `schemas.TRACKS`, which has the units; the five flags are those of `sheep.crop.quality.Flagger`."""

    video: str
    animal: str
    frame: int
    time_s: float
    x0: float | None
    y0: float | None
    x1: float | None
    y1: float | None
    height_px: int
    width_px: int
    mask: bytes = b""
    """COCO run lengths of the frame; empty where the table was read without its masks."""
    object_score: float
    predicted_iou: float
    area_px: int
    lost: bool = False
    edge: bool = False
    jump: bool = False
    reappeared: bool = False
    identity_risk: float = 0.0

    @property
    def box(self) -> Box | None:
        """Box of the mask's largest piece; None where the animal is lost."""
        if self.x0 is None or self.y0 is None or self.x1 is None or self.y1 is None:
            return None
        return self.x0, self.y0, self.x1, self.y1


@dataclass(frozen=True, kw_only=True, slots=True)
class CropRow:
    """A row of `schemas.CROPS`, which has the units."""

    video: str
    animal: str
    frame: int
    time_s: float
    crop: bytes
    crop_mask: bytes
    frame_image: bytes
    crop_x0: float
    crop_y0: float
    crop_side_px: float
    held: bool


def to_table(rows: Sequence[TrackRow] | Sequence[CropRow], schema: pa.Schema) -> pa.Table:
    """Convert rows to a table.

    Args:
        rows: any number, of the class that belongs to the schema.
        schema: `schemas.TRACKS` or `schemas.CROPS`; every column is a field of the rows.
    """
    return pa.Table.from_pydict({name: [getattr(row, name) for row in rows] for name in schema.names}, schema=schema)


def track_rows(table: pa.Table) -> Iterator[TrackRow]:
    """Read rows of the tracks table, a thousand at a time.

    The table of a long video fits in memory, but its rows as Python objects do not.

    Args:
        table: all columns of `schemas.TRACKS`; `mask` may be missing.
    """
    for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
        for values in batch.to_pylist():
            yield TrackRow(**values)
