"""Bouts by hand, and the predictions table."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from sheep.config import AdvancedPredictConfig, PredictConfig
from sheep.errors import ContractError
from sheep.predict.bouts import bouts
from sheep.schemas import BOUTS
from sheep.search.predictions import probabilities_of, tabulate
from sheep.synthetic.behaviour import LABELS

SHORT = PredictConfig(advanced=AdvancedPredictConfig(threshold=0.5, min_bout_s=0.2))


def predictions(
    probability: Sequence[float], times: Sequence[float] | None = None, video: str = "v", animal: str = "a"
) -> pa.Table:
    """Predictions of one animal at 10 frames per second, with these probabilities of eating."""
    times = [frame / 10 for frame in range(len(probability))] if times is None else times
    keys = {"video": [video] * len(times), "animal": [animal] * len(times), "frame": list(range(len(times)))}
    values = np.zeros((len(times), len(LABELS)), dtype=np.float32)
    values[:, LABELS.index("eating")] = probability
    return tabulate(pa.table(keys | {"time_s": np.asarray(times, dtype=float)}), values, LABELS, 0)


def rows_of(table: pa.Table) -> list[tuple[float, float, float]]:
    return [(row["start_s"], row["stop_s"], row["probability"]) for row in table.to_pylist()]


def test_bout_is_half_open_and_threshold_counts() -> None:
    (bout,) = bouts(predictions([0.1, 0.5, 0.9, 0.7, 0.4, 0.2]), SHORT).to_pylist()
    assert bout["start_s"] == pytest.approx(0.1)
    assert bout["stop_s"] == pytest.approx(0.4)  # the frame after the last
    assert bout["probability"] == pytest.approx(0.7)
    assert (bout["video"], bout["animal"], bout["label"]) == ("v", "a", "eating")


def test_short_gaps_close_before_short_bouts_drop() -> None:
    # one frame each: alone all three are too short, with the 0.1 s gaps closed they are one bout of 0.5 s
    assert rows_of(bouts(predictions([1, 0, 1, 0, 1, 0, 0, 1, 0]), SHORT)) == [pytest.approx((0.0, 0.5, 0.6))]
    # a gap of exactly min_bout_s stays open, a bout of exactly min_bout_s stays
    assert [row[:2] for row in rows_of(bouts(predictions([1, 1, 0, 0, 1, 1]), SHORT))] == [
        pytest.approx((0.0, 0.2)),
        pytest.approx((0.4, 0.6)),
    ]


def test_last_frame_lasts_the_median_step_and_a_dropped_frame_counts_by_time() -> None:
    found = rows_of(bouts(predictions([1, 0, 1, 1], times=[0.0, 0.1, 0.9, 1.0]), SHORT))
    assert found == [pytest.approx((0.9, 1.1, 1.0))]  # steps 0.1, 0.8, 0.1; the gap of 0.8 s is not short
    assert rows_of(bouts(predictions([1], times=[0.0]), SHORT)) == []


def test_never_across_animals_or_videos_and_rows_in_any_order() -> None:
    parts = [predictions([0, 0, 1], animal="a"), predictions([1, 0, 0], animal="b"), predictions([1, 1, 1], video="w")]
    table = pa.concat_tables(parts)
    found = bouts(table.take([8, 0, 4, 2, 6, 1, 3, 5, 7]), SHORT)
    assert [(row["video"], row["animal"], row["label"]) for row in found.to_pylist()] == [("w", "a", "eating")]


def test_no_bout_is_an_empty_table() -> None:
    found = bouts(predictions([0, 0, 0]), SHORT)
    assert found.schema.equals(BOUTS)
    assert found.num_rows == 0


def test_tabulate_refuses_what_is_no_probability() -> None:
    keys = predictions([0.5]).select(["video", "animal", "frame", "time_s"])
    for value in (np.nan, 1.5):
        with pytest.raises(ContractError, match="outside"):
            tabulate(keys, np.full((1, len(LABELS)), value), LABELS)
    with pytest.raises(ContractError, match=r"expected \(1, 6\)"):
        tabulate(keys, np.zeros((2, 6)), LABELS)
    with pytest.raises(ContractError, match="more than once"):
        tabulate(pa.concat_tables([keys, keys]), np.zeros((2, 6)), LABELS)
    assert tabulate(keys, np.zeros((1, 6)), LABELS)["fold"].to_pylist() == [-1]


def test_probabilities_come_back_in_the_order_of_labels() -> None:
    found = probabilities_of(predictions([0.25, 0.75]))
    assert found.shape == (2, len(LABELS))
    assert found[:, LABELS.index("eating")].tolist() == [0.25, 0.75]
    assert found.sum() == 1.0
