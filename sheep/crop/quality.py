"""Tracks -> flags on frames that may be wrong, and a list of the frames where a new prompt would help most.

Flags depend on earlier frames only, and their state is plain JSON, so a track written in parts has the same flags as a
track written as a whole. A flag is a reason to check a frame, not a verdict: docs/decisions.md
("Flags") has precision and recall.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pycocotools import mask as coco

from sheep.crop.rows import Box, TrackRow, track_rows
from sheep.io.typed_json import from_json, object_json

RISKY = 0.5
"""Identity risk from which a frame should be checked (docs/decisions.md, "Flags")."""
_DOUBLE_S = 20.0  # an animal that walks up to the camera may double its area in this time
_LOST_S = 0.5  # shorter gaps are interpolated by `sheep.crop.layout`
_LONG_LOST_S = 2.0
_APART_S = 1.0  # of two frames closer than this, one prompt repairs both
_HALF_S = 10.0
HEADER = (
    "video", "animal", "frame", "kind", "x", "y", "x0", "y0", "x1", "y1", "time_s", "reason", "score",
)  # fmt: skip
"""Columns of the re-prompt list: those of the prompt file, and three that its reader ignores."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reprompt:
    """A frame for which a new prompt is suggested, and a box to correct."""

    video: str
    animal: str
    frame: int
    box: Box
    time_s: float
    reason: str
    """`lost`, `reappeared`, `jump` or `risk`."""
    score: float
    """How much a prompt would help, 0 to 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Seen:
    """State of one animal: the last frame in which it was seen."""

    box: Box
    time_s: float
    usual_px: float
    """Its usual area [px]."""
    lost: bool
    """Whether it has been lost since."""


class Flagger:
    """Flags the rows of one video, frame by frame.

    Of each animal in each frame:

    * lost: its mask is empty.
    * reappeared: the first frame in which it is seen after one or more in which it was lost.
    * jump: its box's centre moved by more than the longer side of its last seen box.
    * edge: its box touches the frame's border.
    * identity_risk, 0 to 1: the risk that the mask is on another animal, or not on one whole animal. 0 where the animal
      is lost, otherwise the largest of

      - overlap: pixels that its mask shares with another tracked animal's, as a share of the smaller mask;
      - nearness: half the area that its box shares with another's, as a share of the smaller box;
      - doubt: 1 - (smaller area / larger area) * min(predicted_iou, 1 / (1 + exp(-object_score))). The two areas are
        its own and its usual one: that of the first frame it was seen in, which then follows the seen area by at most a
        factor of two in 20 s. A median over the last frames adapts to a wrong animal's size too soon
        (docs/decisions.md).
    """

    def __init__(self, state: Mapping[str, object] | None = None) -> None:
        """Start a video, or resume it.

        Args:
            state: the result of `state` after the last processed frame, also after a round trip through JSON; None at
                the start.
        """
        self._seen = {
            animal: from_json(_Seen, values, f"flags of {animal}") for animal, values in (state or {}).items()
        }

    def state(self) -> dict[str, object]:
        """Return the state of each animal seen so far as plain JSON: its box, time, usual area and `lost`."""
        return object_json(self._seen)

    def flag(self, rows: Sequence[TrackRow]) -> list[TrackRow]:
        """Set the flags of the next frame.

        Args:
            rows: all rows of that frame, one for each animal.

        Returns:
            The same rows with `lost`, `reappeared`, `jump`, `edge` and `identity_risk` set.
        """
        shown = [number for number, row in enumerate(rows) if row.box is not None]
        closeness = np.zeros(len(rows))
        if len(shown) > 1:
            closeness[shown] = _closeness([rows[number] for number in shown])
        return [self._flag(row, float(close)) for row, close in zip(rows, closeness, strict=True)]

    def _flag(self, row: TrackRow, closeness: float) -> TrackRow:
        last = self._seen.get(row.animal)
        box = row.box
        if box is None:
            if last is not None:
                self._seen[row.animal] = replace(last, lost=True)
            return replace(row, lost=True)
        usual_px = row.area_px if last is None else last.usual_px
        pace = 1.0 if last is None else 2 ** ((row.time_s - last.time_s) / _DOUBLE_S)
        self._seen[row.animal] = _Seen(
            box=(float(box[0]), float(box[1]), float(box[2]), float(box[3])),
            time_s=row.time_s,
            usual_px=min(max(row.area_px, usual_px / pace), usual_px * pace),
            lost=False,
        )
        return replace(
            row,
            lost=False,
            reappeared=last is not None and last.lost,
            jump=last is not None and _moved(last.box, box) > 1,
            edge=bool(box[0] <= 0 or box[1] <= 0 or box[2] >= row.width_px or box[3] >= row.height_px),
            identity_risk=max(closeness, _doubt(row, usual_px)),
        )


def _moved(last: Box, box: Box) -> float:
    """Distance between the centres of two boxes, in longer sides of the first."""
    dx, dy = ((box[side] + box[side + 2] - last[side] - last[side + 2]) / 2 for side in (0, 1))
    return math.hypot(dx, dy) / max(last[2] - last[0], last[3] - last[1])


def _doubt(row: TrackRow, usual_px: float) -> float:
    """Change of area, times SAM-2's own confidence; 0 to 1."""
    alike = min(row.area_px, usual_px) / max(row.area_px, usual_px)
    presence = 1 / (1 + math.exp(-min(max(row.object_score, -60.0), 60.0)))  # math.exp overflows above 709
    return float(min(max(1 - alike * min(row.predicted_iou, presence), 0.0), 1.0))


def _closeness(rows: Sequence[TrackRow]) -> NDArray[np.float64]:
    """Overlap or nearness of each animal with the one closest to it, (rows,); two or more rows, none of them lost."""
    size = [rows[0].height_px, rows[0].width_px]
    masks = [{"size": size, "counts": row.mask} for row in rows]
    boxes = np.array([row.box for row in rows], dtype=np.float64)
    boxes[:, 2:] -= boxes[:, :2]  # x, y, width, height, the form that pycocotools takes
    crowd = [1] * len(rows)  # with this flag pycocotools divides the shared area by the first one's area
    shared = [np.asarray(coco.iou(one, one, crowd)) for one in (masks, boxes)]
    overlap, nearness = (np.maximum(share, share.T) for share in shared)
    risk = np.maximum(overlap, nearness / 2)
    np.fill_diagonal(risk, 0)
    closest: NDArray[np.float64] = risk.max(axis=1)
    return closest


def reprompts(tracks: pa.Table) -> list[Reprompt]:
    """List the frames for which a new prompt is suggested, worst first.

    Each has the track's own box, to be corrected, or the last seen box where the animal is lost. Of several
    frames of one animal less than a second apart, the worst is kept. Reasons, and their scores from 0 to 1:

    * reappeared: seen again after being lost for 0.5 s or more; 1 - 0.5 ** (seconds / 10).
    * lost: for 2 s or more, at the first such frame; the same score.
    * jump: 1 - 0.5 ** (distance in longer sides of the last seen box).
    * risk: the first frame after a stretch with an identity risk of 0.5 or more, or the stretch's last frame where the
      track ends or the animal is lost then; the highest risk of the stretch. Stretches less than 0.5 s apart count as
      one.

    Args:
        tracks: any number of videos and animals, rows of each animal by frame; the mask column may be missing.
    """
    animals = tracks.select(["video", "animal"]).group_by(["video", "animal"], use_threads=False).aggregate([])
    chosen: list[Reprompt] = []
    for animal in animals.to_pylist():
        same = (pc.equal(tracks.column(name), animal[name]) for name in ("video", "animal"))
        track = tracks.filter(pc.and_(*same))
        chosen += _spaced([*_losses_and_jumps(track), *_risks(track)])
    return sorted(chosen, key=_rank)


def to_csv(rows: Sequence[Reprompt]) -> bytes:
    """Write re-prompts as a CSV file whose lines can be appended to the prompt file.

    Args:
        rows: in the order of the file.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, HEADER, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        values = asdict(row)
        values |= dict(zip(("x0", "y0", "x1", "y1"), values.pop("box"), strict=True))
        writer.writerow(values | {"kind": "box", "x": None, "y": None})
    return text.getvalue().encode()


def merge_csv(files: Sequence[bytes]) -> list[Reprompt]:
    """Read files that `to_csv` wrote and merge their rows, worst first."""
    rows = [row for data in files for row in csv.DictReader(io.StringIO(data.decode()))]
    return sorted((_parsed(row) for row in rows), key=_rank)


def _parsed(row: Mapping[str, str]) -> Reprompt:
    return Reprompt(
        video=row["video"],
        animal=row["animal"],
        frame=int(row["frame"]),
        box=(float(row["x0"]), float(row["y0"]), float(row["x1"]), float(row["y1"])),
        time_s=float(row["time_s"]),
        reason=row["reason"],
        score=float(row["score"]),
    )


def _rank(row: Reprompt) -> tuple[float, str, str, int]:
    return -row.score, row.video, row.animal, row.frame


def _losses_and_jumps(track: pa.Table) -> list[Reprompt]:
    """Find where one animal is lost for long, returns, or jumps."""
    found: list[Reprompt] = []
    last: TrackRow | None = None  # last row in which it is seen
    gone: TrackRow | None = None  # first lost row after that
    for row in track_rows(track):
        if row.lost:
            gone = gone or row
            continue
        if gone is not None and last is not None:
            away_s = row.time_s - gone.time_s
            found += _loss(gone, last, away_s)
            if away_s >= _LOST_S:
                found.append(_reprompt(row, row, "reappeared", 1 - 0.5 ** (away_s / _HALF_S)))
        if row.jump and last is not None:
            found.append(_reprompt(row, row, "jump", 1 - 0.5 ** _moved(_box(last), _box(row))))
        last, gone = row, None
    if gone is not None and last is not None:
        found += _loss(gone, last, track.column("time_s")[-1].as_py() - gone.time_s)
    return found


def _loss(gone: TrackRow, last: TrackRow, away_s: float) -> list[Reprompt]:
    return [_reprompt(gone, last, "lost", 1 - 0.5 ** (away_s / _HALF_S))] if away_s >= _LONG_LOST_S else []


def _risks(track: pa.Table) -> list[Reprompt]:
    """Find the stretches of one animal with a high identity risk."""
    found: list[Reprompt] = []
    worst = 0.0
    last: TrackRow | None = None  # last risky row of the present stretch
    after: TrackRow | None = None  # first row after it
    for row in track_rows(track):
        if row.identity_risk >= RISKY:
            worst, last, after = max(worst, row.identity_risk), row, None
        elif last is not None:
            after = after or row
            if row.time_s - last.time_s >= _LOST_S:
                at = last if after.lost else after
                found.append(_reprompt(at, at, "risk", worst))
                worst, last, after = 0.0, None, None
    if last is not None:
        at = last if after is None or after.lost else after
        found.append(_reprompt(at, at, "risk", worst))
    return found


def _spaced(rows: Sequence[Reprompt]) -> list[Reprompt]:
    """Drop rows of one animal that are close in time to a row with a higher score."""
    kept: list[Reprompt] = []
    for row in sorted(rows, key=lambda one: (-one.score, one.frame)):
        if all(abs(row.time_s - other.time_s) >= _APART_S for other in kept):
            kept.append(row)
    return kept


def _reprompt(at: TrackRow, seen: TrackRow, reason: str, score: float) -> Reprompt:
    """Suggest a frame, with the box of a row in which the animal is seen.

    Args:
        at: row of the frame.
        seen: row with the box.
        reason: see `Reprompt`.
        score: see `Reprompt`; 0 to 1.
    """
    return Reprompt(
        video=at.video,
        animal=at.animal,
        frame=at.frame,
        box=_box(seen),
        time_s=at.time_s,
        reason=reason,
        score=round(score, 4),
    )


def _box(row: TrackRow) -> Box:
    assert row.box is not None, "called for rows in which the animal is seen"
    return row.box
