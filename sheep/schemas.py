"""The contract between stages: every table's columns, types, units and key.

Keys: `video` is the URI relative to the archive's video folder (POSIX), `animal` a name unique in the cohort, `frame`
the frame's number in the file (0 is the first that decodes). Time is `time_s`, seconds since the start of the
presentation, as a player shows it. Intervals are half-open [start, stop). Boxes are x0, y0, x1, y1 in pixels of the
displayed frame (upright, square pixels), origin top left, x1 and y1 exclusive. Images are uint8 RGB, HWC outside torch.
Missing is null, never 0; unscored is not absent. Rows of one video are in the order of (frame, animal).

Shapes in docstrings and comments: B batch, F frames, A animals, W windows, H height, W width (beside H), P patches,
D embedding, K prototypes, L labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sheep.errors import ContractError

KEY = ("video", "animal", "frame")

_KEY_FIELDS = [
    pa.field("video", pa.string(), nullable=False),
    pa.field("animal", pa.string(), nullable=False),
    pa.field("frame", pa.int64(), nullable=False),
    pa.field("time_s", pa.float64(), nullable=False),
]

TRACKS = pa.schema(
    [
        *_KEY_FIELDS,
        pa.field("x0", pa.float32()),  # box of the mask's largest piece [px]; null where the mask is empty
        pa.field("y0", pa.float32()),
        pa.field("x1", pa.float32()),
        pa.field("y1", pa.float32()),
        pa.field("height_px", pa.int32(), nullable=False),  # of the decoded frame
        pa.field("width_px", pa.int32(), nullable=False),
        # SAM-2's mask unchanged, specks included; COCO run lengths (compressed counts), column-major
        pa.field("mask", pa.binary(), nullable=False),
        pa.field("object_score", pa.float32(), nullable=False),  # SAM-2's logit; <= 0 means absent
        pa.field("predicted_iou", pa.float32(), nullable=False),  # SAM-2's own estimate of its mask's overlap, 0 to 1
        pa.field("area_px", pa.int64(), nullable=False),  # of the whole mask
        pa.field("lost", pa.bool_(), nullable=False),  # empty mask
        pa.field("edge", pa.bool_(), nullable=False),  # the largest piece touches the frame's border
        # the centre moved by more than the box's longer side since the last frame in which it was seen
        pa.field("jump", pa.bool_(), nullable=False),
        pa.field("reappeared", pa.bool_(), nullable=False),  # first frame in which it is seen again
        # 0 to 1: that this is another animal, or not one whole animal (`sheep/crop/quality.py`)
        pa.field("identity_risk", pa.float32(), nullable=False),
    ]
)

CROPS = pa.schema(
    [
        *_KEY_FIELDS,
        pa.field("crop", pa.binary(), nullable=False),  # JPEG, square, around the animal
        # the mask's largest piece, slightly dilated, in the crop's pixels; run lengths as in TRACKS, empty where held
        pa.field("crop_mask", pa.binary(), nullable=False),
        pa.field("frame_image", pa.binary(), nullable=False),  # JPEG, square, the whole frame letterboxed
        pa.field("crop_x0", pa.float32(), nullable=False),  # crop window in the frame [px]; may reach outside it
        pa.field("crop_y0", pa.float32(), nullable=False),
        pa.field("crop_side_px", pa.float32(), nullable=False),
        # the animal is lost here, and the window stays where it was last seen
        pa.field("held", pa.bool_(), nullable=False),
    ]
)

BOUTS = pa.schema(
    [
        pa.field("video", pa.string(), nullable=False),
        pa.field("animal", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("start_s", pa.float64(), nullable=False),
        pa.field("stop_s", pa.float64(), nullable=False),
        pa.field("probability", pa.float32(), nullable=False),  # mean over the bout's frames
    ]
)

PROMPTS = pa.schema(
    [
        pa.field("video", pa.string(), nullable=False),
        pa.field("animal", pa.string(), nullable=False),
        pa.field("frame", pa.int64(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),  # point (x, y), box (the next four) or mask (the last three)
        pa.field("x", pa.float32()),
        pa.field("y", pa.float32()),
        pa.field("x0", pa.float32()),
        pa.field("y0", pa.float32()),
        pa.field("x1", pa.float32()),
        pa.field("y1", pa.float32()),
        pa.field("mask", pa.binary()),  # COCO compressed run lengths of the whole upright frame
        pa.field("height_px", pa.int32()),  # of the mask, and so of the video
        pa.field("width_px", pa.int32()),
    ]
)

COHORT = pa.schema(
    [
        pa.field("video", pa.string(), nullable=False),
        pa.field("animal", pa.string(), nullable=False),
        pa.field("group", pa.string(), nullable=False),
    ]
)

ERRORS = pa.schema(
    [
        pa.field("video", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("error", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """Where one animal is in one frame: a click on it, a box around it, or its mask."""

    video: str
    animal: str
    frame: int
    """Frame of the video, from 0; the animal is followed from there on."""
    kind: Literal["point", "box", "mask"]
    xy: tuple[float, ...]
    """(x, y) for a point, (x0, y0, x1, y1) for a box, and for a mask the box around it [px]."""
    mask: bytes = b""
    """The mask as COCO compressed run lengths, of the whole upright frame; empty unless the kind is mask."""
    size_px: tuple[int, int] = (0, 0)
    """(height, width) of the image that it was drawn on; zeros where the file does not state it."""


def embeddings(dim: int, dtype: str) -> pa.Schema:
    """Schema of the embeddings table: the key and one vector of `dim` values of float16 or float32."""
    value = {"float16": pa.float16(), "float32": pa.float32()}[dtype]
    return pa.schema([*_KEY_FIELDS, pa.field("embedding", pa.list_(value, dim), nullable=False)])


def label_frames(labels: Sequence[str]) -> pa.Schema:
    """Schema of labels by frame: the key and for each label 0 or 1; null is unscored.

    Args:
        labels: the study's, in the order of its ethogram.
    """
    return pa.schema([*_KEY_FIELDS, *[pa.field(label, pa.int8()) for label in labels]])


def predictions(labels: Sequence[str]) -> pa.Schema:
    """Schema of predictions: the key, the outer fold whose probe predicted, and for each label a probability in [0, 1].

    The fold is -1 for animals that trained no probe: the mean over the probes of all folds predicts them.

    Args:
        labels: the study's, in the order of its ethogram.
    """
    probabilities = [pa.field(label, pa.float32(), nullable=False) for label in labels]
    return pa.schema([*_KEY_FIELDS, pa.field("fold", pa.int32(), nullable=False), *probabilities])


def labels_of(table: pa.Table) -> tuple[str, ...]:
    """Return the labels of a table of `label_frames` or `predictions`, in the order of its columns."""
    return tuple(name for name in table.column_names if name not in (*KEY, "time_s", "fold"))


def validate(table: pa.Table, schema: pa.Schema, where: str) -> pa.Table:
    """Check that a table keeps its promise.

    Args:
        table: any number of rows.
        schema: what was promised.
        where: named in the error, e.g. the stage and video.

    Returns:
        The same table.

    Raises:
        ContractError: columns or types differ, a non-null column holds nulls, or rows share a (video, animal, frame)
            key.
    """
    if not table.schema.equals(schema):
        raise ContractError(
            f"{where}: table has {_brief(table.schema)}, expected {_brief(schema)}. This is a bug: report it."
        )
    for field in schema:
        if not field.nullable and table.column(field.name).null_count:
            raise ContractError(
                f"{where}: column {field.name!r} holds {table.column(field.name).null_count} nulls, expected none."
            )
    if set(KEY) <= set(schema.names) and "time_s" in schema.names:
        _require_unique(table, where)
    return table


def _brief(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)


def _require_unique(table: pa.Table, where: str) -> None:
    counts = table.select(list(KEY)).group_by(list(KEY)).aggregate([([], "count_all")])
    repeated = counts.filter(pc.greater(counts.column("count_all"), 1))
    if repeated.num_rows:
        first = repeated.slice(0, 1).to_pylist()[0]
        raise ContractError(
            f"{where}: {repeated.num_rows} keys occur more than once, first {first}, expected each once."
        )


def targets_of(labels: pa.Table) -> NDArray[np.float64]:
    """Return the labels of a `label_frames` table as (F, L) float64: 0 or 1, nan where unscored."""
    columns = [labels.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False) for name in labels_of(labels)]
    return np.stack(columns, axis=1)


def row_keys(table: pa.Table) -> list[tuple[str, str, int]]:
    """Return (video, animal, frame) of every row of a table that has these columns, in the order of the rows."""
    return list(zip(*(table.column(name).to_pylist() for name in KEY), strict=True))


def key_columns(table: pa.Table) -> list[pa.Array]:
    """Return the columns video, animal, frame and time_s, each as one array: the first four of most tables."""
    return [table.column(name).combine_chunks() for name in (*KEY, "time_s")]
