"""Tracks -> what is to be doubted in them, frame by frame, and the frames where a person's new prompt would help most.

Flags look back only and carry what they remember as plain JSON, so a track cut into parts has the flags of the whole.
They are a reason to look, not a verdict: docs/decisions.md ("Flags") says how often they are right.
"""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pycocotools import mask as coco

Row = dict[str, Any]
Box = tuple[float, float, float, float]

RISKY = 0.5
"""An identity risk of this or more is worth a look (docs/decisions.md, "Flags")."""
_DOUBLE_S = 20.0  # an animal that walks up to the camera may double its area so fast
_LOST_S = 0.5  # shorter gaps are blinks of the tracker, bridged when crops are laid
_LONG_LOST_S = 2.0
_APART_S = 1.0  # of two frames closer than this, one prompt mends both
_HALF_S = 10.0
_COLUMNS = ("video", "animal", "frame", "time_s", "x0", "y0", "x1", "y1", "lost", "reappeared", "jump", "identity_risk")
HEADER = (
    "video", "animal", "frame", "kind", "x", "y", "x0", "y0", "x1", "y1", "time_s", "reason", "score",
)  # fmt: skip
"""Of `reprompts`: the prompt file's, and three that it passes over."""


class Flags:
    """Judges one video, frame by frame.

    Of each animal in each frame:

    * lost: its mask is empty.
    * reappeared: the first frame in which it is seen after one or more in which it was lost.
    * jump: its box's centre moved by more than the longer side of the box last seen.
    * edge: its box touches the frame's border.
    * identity_risk, 0 to 1: that this is another animal, or not one whole animal. 0 where it is lost, else the largest
      of

      - overlap: pixels that its mask shares with another tracked animal's, as a share of the smaller mask;
      - nearness: half the area that its box shares with another's, as a share of the smaller box;
      - doubt: 1 - (smaller area / larger area) * min(predicted_iou, 1 / (1 + exp(-object_score))). The two areas are
        its own and its usual one: that of the first frame it was seen in, which then follows what is seen by at most a
        factor of two in 20 s. A median over the last frames forgot a switched animal's own size too soon
        (docs/decisions.md).
    """

    def __init__(self, carry: Mapping[str, Any] | None = None) -> None:
        """Begin a video, or go on with what `carry` gave."""
        self._of: dict[str, Row] = {animal: dict(one) for animal, one in (carry or {}).items()}

    def carry(self) -> dict[str, Any]:
        """What has to be remembered, plain JSON.

        For each animal seen so far its box, time, usual area, and whether it is lost.
        """
        return {animal: dict(one) for animal, one in self._of.items()}

    def step(self, rows: Sequence[Mapping[str, Any]]) -> list[Row]:
        """Judge the next frame.

        Args:
            rows: of the tracks table, all of one frame, one for each animal. Read are `animal`, `time_s`, `x0` to `y1`
                (None where lost), `height_px`, `width_px`, `mask`, `area_px`, `object_score` and `predicted_iou`.

        Returns:
            For each row its five flags by name.
        """
        boxes = [_box(row) for row in rows]
        seen = [number for number, box in enumerate(boxes) if box is not None]
        meeting = np.zeros(len(rows))
        if len(seen) > 1:
            meeting[seen] = _meeting([rows[number] for number in seen], [boxes[number] for number in seen])
        return [self._judge(row, box, float(met)) for row, box, met in zip(rows, boxes, meeting, strict=True)]

    def _judge(self, row: Mapping[str, Any], box: Box | None, meeting: float) -> Row:
        known = self._of.get(row["animal"])
        if box is None:
            if known is not None:
                known["lost"] = True
            return {"lost": True, "reappeared": False, "jump": False, "edge": False, "identity_risk": 0.0}
        usual = row["area_px"] if known is None else known["usual_px"]
        pace = 1.0 if known is None else 2 ** ((row["time_s"] - known["time_s"]) / _DOUBLE_S)
        self._of[row["animal"]] = {
            "box": [float(side) for side in box],
            "time_s": row["time_s"],
            "usual_px": min(max(row["area_px"], usual / pace), usual * pace),
            "lost": False,
        }
        return {
            "lost": False,
            "reappeared": known is not None and known["lost"],
            "jump": known is not None and _moved(known["box"], box) > 1,
            "edge": bool(box[0] <= 0 or box[1] <= 0 or box[2] >= row["width_px"] or box[3] >= row["height_px"]),
            "identity_risk": max(meeting, _doubt(row, usual)),
        }


def _box(row: Mapping[str, Any]) -> Box | None:
    return None if row["x0"] is None else (row["x0"], row["y0"], row["x1"], row["y1"])


def _moved(last: Sequence[float], box: Sequence[float]) -> float:
    """Way of the centre, in longer sides of the last box."""
    dx, dy = ((box[side] + box[side + 2] - last[side] - last[side + 2]) / 2 for side in (0, 1))
    return math.hypot(dx, dy) / max(last[2] - last[0], last[3] - last[1])


def _doubt(row: Mapping[str, Any], usual_px: float) -> float:
    alike = min(row["area_px"], usual_px) / max(row["area_px"], usual_px)
    sure = 1 / (1 + math.exp(-min(max(row["object_score"], -60.0), 60.0)))
    return float(min(max(1 - alike * min(row["predicted_iou"], sure), 0.0), 1.0))


def _meeting(rows: Sequence[Mapping[str, Any]], boxes: Sequence[Any]) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Overlap or nearness of each animal with the one it is closest to."""
    size = [rows[0]["height_px"], rows[0]["width_px"]]
    counts = [{"size": size, "counts": row["mask"]} for row in rows]
    corners = np.array([[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in boxes], dtype=np.float64)
    crowd = [1] * len(rows)  # then pycocotools divides the shared part by the first one's area
    shared = [np.asarray(coco.iou(one, one, crowd)) for one in (counts, corners)]
    overlap, near = (np.maximum(share, share.T) for share in shared)
    risk = np.maximum(overlap, near / 2)
    np.fill_diagonal(risk, 0)
    closest: np.ndarray[Any, np.dtype[np.float64]] = risk.max(axis=1)
    return closest


def reprompts(tracks: pa.Table) -> list[Row]:
    """List frames that are worth a new prompt, worst first.

    Each has the track's own box, for a person to correct, or the box last seen where the animal is lost. Of proposals
    for one animal less than a second apart the worst is kept. Reasons, and their scores from 0 to 1:

    * reappeared: seen again after being lost for 0.5 s or more; 1 - 0.5 ** (seconds / 10).
    * lost: for 2 s or more, at the first such frame; the same.
    * jump: 1 - 0.5 ** (way in longer sides of the box last seen).
    * risk: the first frame after a stretch of identity risk of 0.5 or more, or its last one where the track ends or the
      animal is lost then; the highest risk of the stretch. Stretches less than 0.5 s apart are one.

    Args:
        tracks: any number of videos and animals, rows of each animal by frame; the tracks table less its masks is
            enough.

    Returns:
        Rows by `HEADER`; the first ten are what the prompt file takes.
    """
    chosen = tracks.select(_COLUMNS)
    animals = chosen.group_by(["video", "animal"], use_threads=False).aggregate([]).to_pylist()
    found: list[Row] = []
    for one in animals:
        same = (pc.equal(chosen.column(name), one[name]) for name in ("video", "animal"))
        found += _thin(_events(_Rows(chosen.filter(pc.and_(*same)))))
    return sorted(found, key=lambda one: (-one["score"], one["video"], one["animal"], one["frame"]))


def to_csv(rows: Sequence[Row]) -> bytes:
    """Write what `reprompts` gives as a file that can be appended to the prompts."""
    text = io.StringIO()
    writer = csv.DictWriter(text, HEADER, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


class _Rows:
    """Rows of a table as plain values, a thousand at a time.

    The track of an hours-long video fits, its rows as objects do not.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __iter__(self) -> Iterator[Row]:
        for batch in self._table.to_batches(max_chunksize=1000):
            yield from batch.to_pylist()

    def last(self) -> Row:
        row: Row = self._table.slice(self._table.num_rows - 1).to_pylist()[0]
        return row


def _events(rows: _Rows) -> list[Row]:
    found: list[Row] = []
    last: Row | None = None  # last seen
    gone: Row | None = None  # first lost since
    for row in rows:
        if row["lost"]:
            gone = gone or row
            continue
        if gone is not None and last is not None:
            away_s = row["time_s"] - gone["time_s"]
            found += _away(gone, last, away_s)
            if away_s >= _LOST_S:
                found.append(_event(row, row, "reappeared", 1 - 0.5 ** (away_s / _HALF_S)))
        if row["jump"] and last is not None:
            found.append(_event(row, row, "jump", 1 - 0.5 ** _moved(_corners(last), _corners(row))))
        last, gone = row, None
    if gone is not None and last is not None:
        found += _away(gone, last, rows.last()["time_s"] - gone["time_s"])
    return [*found, *_risks(rows)]


def _away(gone: Row, last: Row, away_s: float) -> list[Row]:
    return [_event(gone, last, "lost", 1 - 0.5 ** (away_s / _HALF_S))] if away_s >= _LONG_LOST_S else []


def _risks(rows: _Rows) -> list[Row]:
    found: list[Row] = []
    worst, last, after = 0.0, None, None
    for row in rows:
        if row["identity_risk"] >= RISKY:
            worst, last, after = max(worst, row["identity_risk"]), row, None
        elif last is not None:
            after = after or row
            if row["time_s"] - last["time_s"] >= _LOST_S:
                at = last if after["lost"] else after
                found.append(_event(at, at, "risk", worst))
                worst, last, after = 0.0, None, None
    if last is not None:
        at = last if after is None or after["lost"] else after
        found.append(_event(at, at, "risk", worst))
    return found


def _thin(events: Sequence[Row]) -> list[Row]:
    kept: list[Row] = []
    for one in sorted(events, key=lambda one: (-one["score"], one["frame"])):
        if all(abs(one["time_s"] - other["time_s"]) >= _APART_S for other in kept):
            kept.append(one)
    return kept


def _event(at: Row, place: Row, reason: str, score: float) -> Row:
    row = {name: at[name] for name in ("video", "animal", "frame", "time_s")}
    box = dict(zip(("x0", "y0", "x1", "y1"), _corners(place), strict=True))
    return {**row, "kind": "box", "x": None, "y": None, **box, "reason": reason, "score": round(score, 4)}


def _corners(row: Row) -> Box:
    return row["x0"], row["y0"], row["x1"], row["y1"]
