"""Flags and re-prompts, compared with values computed by hand."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from sheep import prompts
from sheep.crop.codec import to_rle
from sheep.crop.quality import HEADER, Flagger, Reprompt, merge_csv, reprompts, to_csv
from sheep.crop.rows import TrackRow, to_table
from sheep.schemas import TRACKS

HEIGHT_PX, WIDTH_PX = 100, 200
SURE = 1 / (1 + math.exp(-20))

Values = dict[str, Any]
Box = tuple[int, int, int, int]


def row(box: Box | None, time_s: float = 0.0, *, animal: str = "a", score: float = 20.0, iou: float = 1.0) -> TrackRow:
    """Return a row of a track whose mask fills its box."""
    mask = np.zeros((HEIGHT_PX, WIDTH_PX), bool)
    if box is not None:
        mask[box[1] : box[3], box[0] : box[2]] = True
    x0, y0, x1, y1 = box or (None, None, None, None)
    return TrackRow(
        video="v.mp4",
        animal=animal,
        frame=0,
        time_s=time_s,
        x0=x0,
        y0=y0,
        x1=x1,
        y1=y1,
        height_px=HEIGHT_PX,
        width_px=WIDTH_PX,
        mask=to_rle(mask),
        object_score=score,
        predicted_iou=iou,
        area_px=int(mask.sum()),
    )


def flags_of(boxes: list[Box | None], name: str) -> list[Any]:
    flagger = Flagger()
    return [getattr(flagger.flag([row(box, time_s)])[0], name) for time_s, box in enumerate(boxes)]


HERE, NEAR, FAR = (50, 40, 70, 50), (70, 40, 90, 50), (71, 40, 91, 50)


def test_lost_and_reappeared() -> None:
    boxes = [None, HERE, None, None, HERE, HERE, None]
    assert flags_of(boxes, "lost") == [True, False, True, True, False, False, True]
    assert flags_of(boxes, "reappeared") == [False, False, False, False, True, False, False]


def test_a_jump_is_longer_than_the_box_last_seen() -> None:
    assert flags_of([HERE, NEAR], "jump") == [False, False]  # 20 px, as long as the box
    assert flags_of([HERE, FAR], "jump") == [False, True]
    assert flags_of([HERE, None, FAR], "jump") == [False, False, True]
    assert flags_of([None, FAR], "jump") == [False, False]


@pytest.mark.parametrize(
    ("box", "edge"),
    [
        ((1, 1, 199, 99), False),
        ((0, 5, 9, 9), True),
        ((5, 0, 9, 9), True),
        ((5, 5, 200, 9), True),
        ((5, 5, 9, 100), True),
    ],
)
def test_edge(box: Box, edge: bool) -> None:
    assert flags_of([box], "edge") == [edge]


def test_doubt_combines_the_change_of_area_with_sam2s_confidence() -> None:
    def risk(*rows: TrackRow) -> float:
        flagger = Flagger()
        return [flagger.flag([one])[0].identity_risk for one in rows][-1]

    assert risk(row(HERE)) == pytest.approx(1 - SURE)
    assert risk(row(HERE, iou=0.7)) == pytest.approx(0.3)
    assert risk(row(HERE, score=0.0)) == pytest.approx(0.5)
    assert risk(row(HERE, score=-1000.0)) == pytest.approx(1)
    half = (50, 40, 60, 50)
    assert risk(row(HERE), row(half, 0.1)) == pytest.approx(1 - 0.5 * SURE)
    assert risk(row(half), row(HERE, 0.1, iou=0.8)) == pytest.approx(1 - 0.5 * 0.8)
    assert risk(row(HERE), row(None, 0.1)) == 0
    # the usual area changes by at most a factor of two in 20 s: 20 s after the first half, half is usual
    assert risk(row(HERE), row(half, 20.0)) == pytest.approx(1 - 0.5 * SURE)
    assert risk(row(HERE), row(half, 10.0), row(half, 20.0)) == pytest.approx(1 - SURE / math.sqrt(2))
    assert risk(row(HERE), row(half, 20.0), row(half, 20.1)) == pytest.approx(1 - SURE)
    assert risk(row(HERE), row(None, 10.0), row(half, 20.0), row(half, 20.1)) == pytest.approx(1 - SURE)


@pytest.mark.parametrize(
    ("other", "risk"),
    [
        ((100, 40, 120, 50), 0),  # no overlap
        ((60, 40, 80, 50), 0.5),  # half of each box
        ((60, 40, 65, 50), 1),  # inside: one mask has the pixels of the other
        ((65, 40, 105, 50), 0.25),  # a quarter of the smaller box
    ],
)
def test_overlap_counts_for_both(other: Box, risk: float) -> None:
    flagged = Flagger().flag([row(HERE), row(other, animal="b")])
    assert [one.identity_risk for one in flagged] == pytest.approx([max(risk, 1 - SURE)] * 2)


def test_boxes_that_overlap_without_a_shared_pixel_count_half() -> None:
    left, right = row((50, 40, 70, 60)), row((50, 40, 70, 60), animal="b")
    upper = np.zeros((HEIGHT_PX, WIDTH_PX), bool)
    upper[40:50, 50:70] = True
    lower = np.roll(upper, 10, axis=0)
    rows = [replace(left, mask=to_rle(upper), area_px=200), replace(right, mask=to_rle(lower), area_px=200)]
    assert [one.identity_risk for one in Flagger().flag(rows)] == pytest.approx([0.5, 0.5])


def test_the_closest_animal_counts_and_lost_ones_do_not() -> None:
    rows = [row(HERE), row(None, animal="b"), row((60, 40, 80, 50), animal="c"), row((75, 40, 95, 50), animal="d")]
    risks = [one.identity_risk for one in Flagger().flag(rows)]
    assert risks == pytest.approx([0.5, 0, 0.5, 0.25])


def test_a_track_flagged_in_parts_has_the_flags_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    frames = []
    for t in range(60):
        corners = rng.integers(0, 80, (2, 2))
        rows = [
            row((x, y, x + 20, y + 15), t / 10, animal=name)
            for name, (x, y) in zip("ab", corners.tolist(), strict=True)
        ]
        frames.append([row(None, t / 10, animal=one.animal) if rng.random() < 0.2 else one for one in rows])
    whole = Flagger()
    expected = [whole.flag(rows) for rows in frames]
    flagged: list[list[TrackRow]] = []
    state: Values = {}
    for start in range(0, 60, 7):
        part = Flagger(json.loads(json.dumps(state)))
        flagged += [part.flag(rows) for rows in frames[start : start + 7]]
        state = part.state()
    assert flagged == expected
    assert state == whole.state()
    assert any(one.jump for rows in expected for one in rows)
    assert any(one.reappeared for rows in expected for one in rows)


# --- re-prompts


def tracks(rows: list[Values], **changes: Any) -> pa.Table:
    """Return a track at 10 frames/s without masks: a sheep that does not move, except for the given values."""
    full = []
    for frame, values in enumerate(rows):
        box = None if values.get("lost") else (50, 40, 70, 50)
        full.append(replace(row(box, frame / 10), frame=frame, **changes, **values))
    return to_table(full, TRACKS).drop_columns(["mask"])


def summary(rows: list[Reprompt]) -> list[tuple[str, int, float]]:
    return [(one.reason, one.frame, one.score) for one in rows]


LOST: Values = {"lost": True}


def test_short_losses_are_not_listed() -> None:
    assert reprompts(tracks([{}] * 5 + [LOST] * 4 + [{}] * 5)) == []


def test_a_return_is_listed_where_it_happens() -> None:
    moved = {"x0": 90.0, "x1": 110.0}
    found = reprompts(tracks([{}] * 5 + [LOST] * 10 + [moved] * 5))
    assert summary(found) == [("reappeared", 15, round(1 - 0.5**0.1, 4))]
    assert found[0].box == pytest.approx((90, 40, 110, 50))


def test_a_long_loss_is_listed_at_its_start_with_the_last_box() -> None:
    found = reprompts(tracks([{"x0": 10.0}] * 5 + [LOST] * 100 + [{}] * 5))
    assert summary(found) == [("lost", 5, 0.5), ("reappeared", 105, 0.5)]
    assert found[0].box == pytest.approx((10, 40, 70, 50))
    to_the_end = reprompts(tracks([{}] * 5 + [LOST] * 101))
    assert summary(to_the_end) == [("lost", 5, 0.5)]
    assert reprompts(tracks([LOST] * 100)) == []  # never seen: there is no box to correct
    assert reprompts(tracks([LOST] * 100 + [{}] * 3)) == []


def test_a_jump_counts_its_length() -> None:
    moved = {"x0": 90.0, "x1": 110.0}
    found = reprompts(tracks([{}] * 5 + [{**moved, "jump": True}] + [moved] * 5))
    assert summary(found) == [("jump", 5, 0.75)]  # two box lengths


def test_a_risky_stretch_is_listed_at_its_end() -> None:
    def risk(*values: float) -> list[tuple[str, int, float]]:
        return summary(reprompts(tracks([{"identity_risk": value} for value in values])))

    assert risk(*[0.1] * 10, 0.6, 0.9, 0.5, *[0.1] * 10) == [("risk", 13, 0.9)]
    assert risk(*[0.1] * 10, 0.6, 0.1, 0.1, 0.8, *[0.1] * 10) == [("risk", 14, 0.8)]  # one stretch
    assert risk(*[0.1] * 10, 0.6, *[0.1] * 20, 0.8, *[0.1] * 10) == [("risk", 32, 0.8), ("risk", 11, 0.6)]
    assert risk(0.1, 0.6, 0.7) == [("risk", 2, 0.7)]  # the track ends in it
    assert risk(*[0.49] * 10) == []
    lost_after = [{}, {"identity_risk": 0.7}, *[LOST] * 6, *[{}] * 20]
    assert summary(reprompts(tracks(lost_after))) == [("risk", 1, 0.7)]  # 0.7 s before its return: one prompt for both


def test_animals_and_videos_are_listed_separately_worst_first() -> None:
    jump: list[Values] = [{}] * 5 + [{"x0": 70.0, "x1": 90.0, "jump": True}]
    rows = [tracks(jump), tracks(jump, animal="b"), tracks([{}] * 5 + [LOST] * 101, video="w.mp4")]
    found = reprompts(pa.concat_tables(rows))
    assert [(one.video, one.animal, one.reason, one.score) for one in found] == [
        ("v.mp4", "a", "jump", 0.5),
        ("v.mp4", "b", "jump", 0.5),
        ("w.mp4", "a", "lost", 0.5),
    ]


def test_the_list_can_be_read_as_prompts() -> None:
    found = reprompts(tracks([{}] * 5 + [LOST] * 100 + [{}] * 5))
    text = to_csv(found).decode()
    assert text.splitlines()[0] == ",".join(HEADER)
    read = prompts.parse(text, name="reprompts.csv")
    assert [(one.frame, one.kind, one.xy) for one in read] == [
        (5, "box", (50, 40, 70, 50)),
        (105, "box", (50, 40, 70, 50)),
    ]
    assert to_csv([]).decode().splitlines() == [",".join(HEADER)]


def test_lists_of_several_videos_are_merged_worst_first() -> None:
    one = reprompts(tracks([{}] * 5 + [{"x0": 70.1, "x1": 90.3, "jump": True}]))
    other = reprompts(tracks([{}] * 5 + [LOST] * 100 + [{}] * 5, video="w.mp4"))
    both = sorted([*one, *other], key=lambda row: (-row.score, row.video, row.animal, row.frame))
    assert merge_csv([to_csv(other), to_csv([]), to_csv(one)]) == both
    assert to_csv(merge_csv([to_csv(both)])) == to_csv(both)
