"""Bouts -> files that a person opens, corrects and returns: a BORIS project, BORIS's tabular events, a plain table.

What is written here is read back by `sheep/annotations/readers` to the same labels, frame by frame.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sheep.annotations.ethogram import Ethogram

PLAYERS = 8
"""Players of a BORIS observation; all but the first are empty here."""
_TABULAR = (
    "Observation id", "Observation date", "Description", "Observation duration", "Observation type", "Source",
    "Time offset (s)", "Media duration (s)", "FPS", "Subject", "Behavior", "Behavioral category", "Behavior type",
    "Time", "Media file name", "Image index", "Image file path", "Comment",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Bout:
    """One bout of one animal."""

    video: str
    """Key of the video, which is its path in the video folder."""
    animal: str
    label: str
    start_s: float
    stop_s: float
    """Half-open; > `start_s`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Media:
    """What BORIS needs to know about a video."""

    length_s: float
    fps_hz: float
    animals: tuple[str, ...]


def boris_project(
    bouts: Iterable[Bout], media: Mapping[str, Media], ethogram: Ethogram, *, name: str, date: str
) -> bytes:
    """Write a BORIS project with one observation per video.

    Args:
        bouts: of any videos in `media`.
        media: video -> its length, frame rate and animals; a video without bouts becomes an observation without events.
        ethogram: the labels, and which exclude each other.
        name: of the project, for display.
        date: ISO 8601, of project and observations.

    Source: BORIS 9, project format 7.0 (`config.EMPTY_PROJECT`).
    """
    by_video: dict[str, list[Bout]] = {video: [] for video in media}
    for bout in bouts:
        by_video[bout.video].append(bout)
    animals = sorted({animal for one in media.values() for animal in one.animals})
    observations = {
        f"{name}: {video}": _observation(video, media[video], by_video[video], date) for video in sorted(media)
    }
    project = {
        "time_format": "hh:mm:ss",
        "project_date": date,
        "project_name": name,
        "project_description": "",
        "project_format_version": "7.0",
        "subjects_conf": {
            str(place): {"key": "", "name": animal, "description": ""} for place, animal in enumerate(animals)
        },
        "behaviors_conf": _behaviours(ethogram),
        "observations": observations,
        "behavioral_categories": [],
        "behavioral_categories_config": {},
        "independent_variables": {},
        "coding_map": {},
        "behaviors_coding_map": [],
        "converters": {},
    }
    return json.dumps(project, indent=1).encode()


def boris_tabular(bouts: Iterable[Bout], media: Mapping[str, Media], *, name: str, date: str) -> bytes:
    """Write BORIS's tabular events (tab-separated): a START and a STOP row for each bout.

    Args:
        bouts: of any videos in `media`.
        media: video -> its length and frame rate.
        name: starts every observation's id.
        date: ISO 8601.
    """
    rows: list[tuple[str, int, str, tuple[object, ...]]] = []
    for bout in bouts:
        about = media[bout.video]
        length = f"{about.length_s:.3f}"
        source = ("Media file(s)", f"player #1:{bout.video}", "0.0", length, f"{about.fps_hz:.3f}")
        head = (f"{name}: {bout.video}", date, "", length, *source, bout.animal, bout.label, "")
        # Where one bout ends as the next begins, BORIS has the STOP first; the second item sorts it so.
        for time_s, status, order in ((bout.start_s, "START", 1), (bout.stop_s, "STOP", 0)):
            frame = round(time_s * about.fps_hz)
            cells = (*head, status, f"{time_s:.3f}", bout.video, frame, "NA", "")
            rows.append((f"{bout.video}\0{time_s:015.6f}", order, f"{bout.animal}\0{bout.label}", cells))
    return _table(_TABULAR, [cells for *_, cells in sorted(rows, key=lambda row: row[:3])], "\t")


def plain(bouts: Iterable[Bout]) -> bytes:
    """Write a table with video, animal, label, start_s and stop_s.

    Args:
        bouts: in the order of the file.
    """
    rows = [(one.video, one.animal, one.label, f"{one.start_s:.6f}", f"{one.stop_s:.6f}") for one in bouts]
    return _table(("video", "animal", "label", "start_s", "stop_s"), rows, ",")


def _observation(video: str, media: Media, bouts: Sequence[Bout], date: str) -> dict[str, object]:
    events = []
    for bout in bouts:
        for time_s, order in ((bout.start_s, 1), (bout.stop_s, 0)):
            event = [round(time_s, 3), bout.animal, bout.label, "", "", round(time_s * media.fps_hz)]
            events.append((round(time_s, 3), order, bout.label, bout.animal, event))
    return {
        "file": {str(player): [video] if player == 1 else [] for player in range(1, PLAYERS + 1)},
        "type": "MEDIA",
        "date": date,
        "description": "",
        "time offset": 0.0,
        "events": [event for *_, event in sorted(events, key=lambda one: one[:4])],
        "observation time interval": [0, 0],
        "independent_variables": {},
        "media_info": {
            "length": {video: media.length_s},
            "fps": {video: media.fps_hz},
            "hasVideo": {video: True},
            "hasAudio": {video: False},
            "offset": {"1": 0.0},
        },
    }


def _behaviours(ethogram: Ethogram) -> dict[str, dict[str, object]]:
    """Return the labels as BORIS's ethogram; a label excludes the others of its group."""
    excluded = {
        label: ",".join(other for other in group if other != label) for group in ethogram.exclusive for label in group
    }
    return {
        str(place): {
            "type": "State event",
            "key": "",
            "code": label,
            "description": "",
            "category": "",
            "modifiers": {},
            "excluded": excluded.get(label, ""),
            "coding map": "",
        }
        for place, label in enumerate(ethogram.labels)
    }


def _table(header: Sequence[str], rows: Iterable[Sequence[object]], delimiter: str) -> bytes:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n", delimiter=delimiter)
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue().encode()
