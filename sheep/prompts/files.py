"""Prompt files of three formats, read; the CSV format, written.

CSV: header video,animal,frame,kind,x,y,x0,y0,x1,y1 (kind point uses x, y; kind box the other four). Parquet: the same
columns, and for kind mask `mask`, `height_px` and `width_px` (`schemas.PROMPTS`). COCO JSON: see
`sheep/prompts/coco.py`. Further columns are ignored.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from sheep.errors import ConfigError
from sheep.io.tables import require_table
from sheep.prompts import coco
from sheep.prompts.checks import COORDINATES, Located, coordinates, outlined, settle
from sheep.schemas import PROMPTS, Prompt

HEADER = ("video", "animal", "frame", "kind", "x", "y", "x0", "y0", "x1", "y1")


def read(data: bytes, *, name: str) -> list[Prompt]:
    """Read a prompt file of any format, by the ending of its name.

    Args:
        data: its content.
        name: ends in .csv, .parquet or .json; starts every message.

    Returns:
        Prompts sorted by video, animal and frame, one for each. Of several kinds for an animal on one frame, the most
        precise one is kept: mask, then box, then point.

    Raises:
        ConfigError: another ending, or as `parse`.
    """
    ending = name.rpartition(".")[2].lower()
    if ending == "parquet":
        return settle(_parquet(data, name))
    if ending not in ("csv", "json"):
        raise ConfigError(f"{name}: expected a prompt file ending in .csv, .parquet or .json. Rename or export it.")
    if ending == "csv":
        return settle(_csv(data, name))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: not UTF-8 ({error}), expected JSON in it. Export it again as UTF-8.") from error
    return settle(coco.read_annotations(text, name=name))


def parse(text: str, *, name: str) -> list[Prompt]:
    """Read a CSV prompt file.

    Args:
        text: its content.
        name: starts every message.

    Returns:
        As `read`.

    Raises:
        ConfigError: wrong header, kind or number, a box with swapped corners, or two prompts that contradict each
            other.
    """
    return settle(_csv(text.encode(), name))


def to_csv(prompts: Sequence[Prompt], more: Mapping[str, Sequence[object]] | None = None) -> bytes:
    """Write points and boxes as a prompt file.

    Args:
        prompts: in the order of the file; of a mask its box is written, since the CSV format has no masks.
        more: further columns, one value for each prompt, which readers ignore.
    """
    more = more or {}
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*HEADER, *more])
    for prompt, *values in zip(prompts, *more.values(), strict=True):
        xy = [f"{value:g}" for value in prompt.xy]
        kind = "point" if prompt.kind == "point" else "box"
        place = [*xy, "", "", "", ""] if kind == "point" else ["", "", *xy]
        writer.writerow([prompt.video, prompt.animal, prompt.frame, kind, *place, *values])
    return buffer.getvalue().encode()


def _csv(data: bytes, name: str) -> Iterator[Located]:
    table = require_table(data, name, HEADER[:4], HEADER[4:])
    for row in table.rows:
        kind = row["kind"]
        if kind not in COORDINATES:
            raise ConfigError(
                f"{row.where}: kind {kind!r}, expected point or box. Correct it; masks are read from Parquet or COCO."
            )
        xy = tuple(table.number(row, column, times=False) for column in COORDINATES[kind])
        frame = table.number(row, "frame", times=False)
        if not frame.is_integer():
            raise ConfigError(f"{row.where}: frame {row['frame']!r}, expected a whole number. Correct the line.")
        yield coordinates(row["video"], row["animal"], int(frame), kind, xy, row.where)


def _parquet(data: bytes, name: str) -> Iterator[Located]:
    try:
        table = pq.read_table(pa.BufferReader(data))
    except pa.ArrowInvalid as error:
        raise ConfigError(f"{name}: cannot be read ({error}), expected Parquet. Write it again.") from error
    present = [field for field in PROMPTS if field.name in table.column_names]
    _require_columns([field.name for field in present], ("video", "animal", "frame", "kind"), name, "Add them.")
    try:
        table = pa.table({field.name: table.column(field.name).cast(field.type) for field in present})
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        expected = ", ".join(f"{field.name}: {field.type}" for field in present)
        raise ConfigError(f"{name}: {error}, expected {expected}. Write the columns with these types.") from error
    for number, row in enumerate(table.to_pylist(), start=1):
        yield _row(row, f"{name}, row {number}")


def _row(row: Mapping[str, object], where: str) -> Located:
    kind, frame = row["kind"], row["frame"]
    if kind == "mask":
        wanted: Iterable[str] = ("frame", "mask", "height_px", "width_px")
    elif kind in COORDINATES:
        wanted = ("frame", *COORDINATES[str(kind)])
    else:
        raise ConfigError(f"{where}: kind {kind!r}, expected point, box or mask. Correct it.")
    missing = [column for column in wanted if row.get(column) is None]
    if missing:
        raise ConfigError(f"{where}: {kind} without {', '.join(missing)}, expected all of them. Fill them in.")
    key = (str(row["video"] or ""), str(row["animal"] or ""), int(str(frame)))
    if kind == "mask":
        size_px = (int(str(row["height_px"])), int(str(row["width_px"])))
        return outlined(*key, bytes(row["mask"]), size_px, where)  # type: ignore[call-overload]
    return coordinates(*key, str(kind), tuple(float(str(row[column])) for column in COORDINATES[str(kind)]), where)


def _require_columns(found: Sequence[str], wanted: Sequence[str], name: str, advice: str) -> None:
    missing = [column for column in wanted if column not in found]
    if missing:
        raise ConfigError(
            f"{name}: columns {missing} are missing, got {list(found)}, expected {','.join(wanted)}. {advice}"
        )
