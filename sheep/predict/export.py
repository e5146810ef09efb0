"""Predicted bouts as files that a person opens and corrects: a BORIS project, BORIS's tabular events, a plain table.

Corrected files go into the archive's `annotations/`: those animals are then annotated, and the study is run again.
"""

import math
from collections.abc import Mapping

import pyarrow as pa

from sheep.annotations import writers
from sheep.annotations.writers import Bout, Media
from sheep.errors import ConfigError
from sheep.io import storage
from sheep.study import Study
from sheep.video.scan import scan

NAME = "predicted by sheep"
"""Starts the id of every observation, so that a person sees what it is."""


def run(study: Study, date: str) -> str:
    """Write the predicted bouts of a study.

    Args:
        study: its predict stage is finished.
        date: ISO 8601, recorded in BORIS's files.

    Returns:
        URI of the folder, `<out>/export`, with `predictions.boris`, `predictions.tsv` and `predictions.csv`.

    Raises:
        ConfigError: the predict stage is not finished, or has no predictions.
    """
    predicted = study.manifest("predict")
    bouts = bouts_of(predicted.read("bouts"))
    keys = predicted.read("predictions", columns=["video", "animal"])
    media = _media(study, keys)
    if not media:
        raise ConfigError(f"{predicted.uri}: no predictions, expected those of at least one video. Run jobs.predict.")
    folder = study.uri("export")
    files = {
        "predictions.boris": writers.boris_project(bouts, media, study.inputs.ethogram, name=NAME, date=date),
        "predictions.tsv": writers.boris_tabular(bouts, media, name=NAME, date=date),
        "predictions.csv": writers.plain(bouts),
    }
    for name, content in files.items():
        storage.write_bytes(storage.join(folder, name), content)
    return folder


def bouts_of(table: pa.Table) -> list[Bout]:
    """Return the rows of BOUTS, those without a duration left out.

    Args:
        table: BOUTS.
    """
    columns = ("video", "animal", "label", "start_s", "stop_s")
    rows = table.select(list(columns)).to_pylist()
    return [Bout(**row) for row in rows if row["start_s"] < row["stop_s"]]


def _media(study: Study, keys: pa.Table) -> Mapping[str, Media]:
    """Return what BORIS needs to know about every video that has predictions."""
    archive = study.config.archive
    animals: dict[str, set[str]] = {}
    for video, animal in zip(keys.column("video").to_pylist(), keys.column("animal").to_pylist(), strict=True):
        animals.setdefault(video, set()).add(animal)
    media = {}
    for video, names in animals.items():
        found = scan(storage.join(archive.root, archive.videos, video))
        length_s = found.last_s if math.isnan(found.length_s) else found.length_s
        rate_hz = 1.0 if math.isnan(found.rate_hz) else found.rate_hz
        media[video] = Media(length_s=length_s, fps_hz=rate_hz, animals=tuple(sorted(names)))
    return media
