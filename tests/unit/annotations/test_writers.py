"""Bouts that are written for BORIS and read back are the same labels in every frame, at any frame rate."""

import json
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from sheep.annotations import writers
from sheep.annotations.ethogram import Behaviour, Ethogram
from sheep.annotations.labelled import label_frames, resolve
from sheep.annotations.readers import read_files
from sheep.annotations.writers import Bout, Media

LABELS = ("lying", "standing", "eating")
ETHOGRAM = Ethogram(
    (Behaviour(name="lying", group="posture"), Behaviour(name="standing", group="posture"), Behaviour(name="eating"))
)
FRAMES = 200
VIDEOS = ("day1/pen3.mp4", "pen4.mp4")
ANIMALS = ("ewe 1", "ewe 2")


def keys(rate_hz: float) -> pa.Table:
    """Every frame of two animals in two videos."""
    rows = [
        {"video": video, "animal": animal, "frame": frame, "time_s": frame / rate_hz}
        for video in VIDEOS
        for frame in range(FRAMES)
        for animal in ANIMALS
    ]
    return pa.Table.from_pylist(rows)


def random_bouts(rate_hz: float, seed: int) -> list[Bout]:
    """Bouts from frame to frame: postures alternate, eating comes and goes."""
    rng = np.random.default_rng(seed)
    bouts = []
    for video in VIDEOS:
        for animal in ANIMALS:
            edges = [0, *sorted(rng.choice(np.arange(1, FRAMES), 7, replace=False).tolist()), FRAMES]
            for place, (start, stop) in enumerate(pairwise(edges)):
                label = LABELS[place % 2]
                bouts.append(
                    Bout(video=video, animal=animal, label=label, start_s=start / rate_hz, stop_s=stop / rate_hz)
                )
            start = int(rng.integers(1, FRAMES - 2))
            bouts.append(
                Bout(video=video, animal=animal, label="eating", start_s=start / rate_hz, stop_s=(start + 1) / rate_hz)
            )
    return bouts


def held(bouts: list[Bout], table: pa.Table) -> np.ndarray:
    """(F, 3) whether each label holds in each frame, by the definition of a half-open bout."""
    rows = table.to_pylist()
    found = np.zeros((len(rows), len(LABELS)), dtype=bool)
    for bout in bouts:
        for place, row in enumerate(rows):
            if (row["video"], row["animal"]) == (bout.video, bout.animal):
                found[place, LABELS.index(bout.label)] |= bout.start_s - 1e-9 <= row["time_s"] < bout.stop_s - 1e-9
    return found


WRITERS: dict[str, Callable[[list[Bout], dict[str, Media]], bytes]] = {
    "p.boris": lambda bouts, media: writers.boris_project(bouts, media, ETHOGRAM, name="p", date="2026-01-01T00:00:00"),
    "p.tsv": lambda bouts, media: writers.boris_tabular(bouts, media, name="p", date="2026-01-01T00:00:00"),
    "p.csv": lambda bouts, media: writers.plain(bouts),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("rate_hz", [3.0, 25.0, 29.97, 30.0, 59.94, 120.0])
def test_a_round_trip_is_exact_in_every_frame(name: str, rate_hz: float) -> None:
    bouts, table = random_bouts(rate_hz, seed=int(rate_hz)), keys(rate_hz)
    media = {video: Media(length_s=FRAMES / rate_hz, fps_hz=rate_hz, animals=ANIMALS) for video in VIDEOS}
    data = WRITERS[name](bouts, media)
    codings = read_files([name], lambda _: data).codings
    used = resolve(codings, lambda coding: coding.media, dict.fromkeys(VIDEOS, ANIMALS), ETHOGRAM)
    assert used.others == ()
    labels = label_frames(table, used.used, LABELS)
    found = np.stack([labels.column(label).to_numpy(zero_copy_only=False) for label in LABELS], axis=1)
    np.testing.assert_array_equal(found.astype(bool), held(bouts, table))


def test_an_exclusive_group_is_exclusive_in_boris_too() -> None:
    project = json.loads(writers.boris_project([], {}, ETHOGRAM, name="p", date="2026-01-01T00:00:00"))
    excluded = {one["code"]: one["excluded"] for one in project["behaviors_conf"].values()}
    assert excluded == {"lying": "standing", "standing": "lying", "eating": ""}
