"""What goes into an animal's share of time, by hand."""

import math

import numpy as np
import pyarrow as pa
import pytest

from sheep import schemas
from sheep.compare.shares import animal_shares, durations
from sheep.errors import ContractError

LABELS = ("lying", "eating")
Row = tuple[str, str, float, float, float | None]
"""Video, animal, time [s], probability and label of both labels."""


def tables(rows: list[Row]) -> tuple[pa.Table, pa.Table]:
    keys = {
        "video": [row[0] for row in rows],
        "animal": [row[1] for row in rows],
        "frame": [sum(other[:2] == row[:2] and other[2] < row[2] for other in rows) for row in rows],
        "time_s": [row[2] for row in rows],
    }
    predictions = pa.table(keys | {"fold": [0] * len(rows)} | {label: [row[3] for row in rows] for label in LABELS})
    labels = pa.table(keys | {label: pa.array([row[4] for row in rows], pa.int8()) for label in LABELS})
    return predictions.cast(schemas.predictions(LABELS)), labels.cast(schemas.label_frames(LABELS))


def test_a_frame_lasts_until_the_next_but_at_most_two_median_steps() -> None:
    assert durations(np.array([0.0, 1.0, 2.0, 3.0, 1003.0, 1004.0])).tolist() == [1, 1, 1, 2, 1, 1]
    assert durations(np.array([0.0, 3.0, 4.0])).tolist() == [3, 1, 2]
    assert durations(np.array([5.0])).tolist() == [0]


def test_one_frame_before_a_hole_does_not_decide_the_share() -> None:
    rows: list[Row] = [("v", "a", float(second), 0.0, None) for second in range(100)]
    rows[99] = ("v", "a", 99.0, 1.0, None)
    rows += [("v", "a", 1099.0 + second, 0.0, None) for second in range(98)]
    [row], _ = animal_shares(*tables(rows), {"a": "control"})
    assert row.shares["lying"] == pytest.approx(2 / 199)  # by the plain time to the next frame: .84


def test_videos_count_by_their_time() -> None:
    # an hour at .1 and 20 s at .9: .104; the plain mean over videos is .5
    rows: list[Row] = [("v", "a", 10.0 * step, 0.1, None) for step in range(360)]
    rows += [("w", "a", 10.0 * step, 0.9, None) for step in range(2)]
    [row], _ = animal_shares(*tables(rows[::-1]), {"a": "control"})
    assert row.shares["eating"] == pytest.approx((3600 * 0.1 + 20 * 0.9) / 3620, rel=1e-6)
    assert (row.group, row.num_videos, row.duration_s) == ("control", 2, 3620.0)


def test_the_correction_is_the_mean_error_over_scored_time() -> None:
    rows: list[Row] = [
        ("v", "a", 0.0, 0.8, 1),  # 2 s
        ("v", "a", 2.0, 0.4, 0),  # 1 s
        ("v", "a", 3.0, 0.2, None),  # 1 s
        ("v", "a", 4.0, 0.6, None),  # the median step, 1 s
    ]
    [row], _ = animal_shares(*tables(rows), {"a": "control"})
    assert row.scored_s["lying"] == 3.0
    assert row.scored["lying"] == pytest.approx(2 / 3)
    assert row.shares_where_scored["lying"] == pytest.approx(2.0 / 3)
    assert row.shares["lying"] == pytest.approx((1.6 + 0.4 + 0.2 + 0.6) / 5)
    assert row.corrected["lying"] == pytest.approx(2.8 / 5)
    [row], _ = animal_shares(*tables([(*row[:4], None) for row in rows]), {"a": "control"})
    assert row.scored_s["lying"] == 0
    assert math.isnan(row.corrected["lying"])
    whole: list[Row] = [("v", "a", float(second), 0.3, int(second < 2)) for second in range(10)]
    [row], _ = animal_shares(*tables(whole), {"a": "control"})
    assert row.corrected["eating"] == pytest.approx(0.2)


def test_labels_of_frames_that_were_not_predicted_are_ignored_and_order_does_not_matter() -> None:
    rows: list[Row] = [("v", "a", float(second), 0.3, int(second < 2)) for second in range(10)]
    predictions, labels = tables(rows)
    [row], _ = animal_shares(predictions.slice(0, 5), labels.take(list(range(9, -1, -1))), {"a": "control"})
    assert row.scored["lying"] == pytest.approx(2 / 5)
    [row], _ = animal_shares(predictions, labels.slice(0, 4), {"a": "control"})
    assert (row.scored["lying"], row.scored_s["lying"]) == pytest.approx((2 / 4, 4.0))


def test_an_animal_of_one_frame_is_named_and_a_video_of_one_frame_counts_nothing() -> None:
    rows: list[Row] = [("v", "a", 0.0, 0.9, None), ("w", "a", 0.0, 0.9, None)]
    rows += [("v", "b", 0.0, 0.9, None), ("w", "b", 0.0, 0.2, None), ("w", "b", 1.0, 0.2, None)]
    table, left_out = animal_shares(*tables(rows), {"a": "control", "b": "control"})
    assert left_out == ["a"]
    assert [row.animal for row in table] == ["b"]
    assert table[0].shares["lying"] == pytest.approx(0.2)


def test_other_labels_are_refused() -> None:
    predictions, labels = tables([("v", "a", 0.0, 0.9, None)])
    with pytest.raises(ContractError, match=r"labels of \['lying'\], predictions of \['lying', 'eating'\]"):
        animal_shares(predictions, labels.drop_columns(["eating"]), {"a": "control"})
