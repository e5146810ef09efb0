"""Label Studio: an export as JSON with timeline labels of videos.

Source: Label Studio documentation, "TimelineLabels" and "Export annotations": `ranges` hold the first and the last
frame of a region, both included, and frames count from 1 as its player shows them. Frames 25 to 50 are 24 to 49 here.
"""

import re
from urllib.parse import parse_qs, unquote, urlsplit

from sheep.annotations.coding import Coding
from sheep.annotations.intervals import Interval, join
from sheep.annotations.readers.base import SourceFile
from sheep.annotations.readers.json_files import Object, load, reading
from sheep.errors import ConfigError

TOOL = "Label Studio (timeline labels)"
_UPLOAD = re.compile(r"^[0-9a-f]{8}-")
"""Label Studio puts this before the name of an uploaded file."""


def read(file: SourceFile) -> list[Coding] | None:
    """Read an export of tasks with their annotations.

    Each annotation of a task is an observer's. Behaviours that it never marks were absent throughout the video.
    Predictions and skipped annotations are left out.

    Args:
        file: any file.

    Returns:
        One coding for each annotation, without an animal; None if it is not such an export.

    Raises:
        ConfigError: a task names no video, an annotation holds no timeline labels but other regions, or a range is no
            range of frames.
    """
    found = load(file)
    tasks = found if isinstance(found, list) else [found]
    if not tasks or not all(isinstance(one, dict) and {"data", "annotations"} <= set(one) for one in tasks):
        return None
    with reading(file, "an export of Label Studio as JSON"):
        return [coding for number, task in enumerate(tasks, start=1) for coding in _codings(number, task, file)]


def _codings(number: int, task: Object, file: SourceFile) -> list[Coding]:
    title = f"task {task.get('id', number)}"
    where = f"{file.name}, {title}"
    video = _video(task["data"], where)
    kept = [one for one in task["annotations"] if not one.get("was_cancelled")]
    if len(kept) < len(task["annotations"]):
        file.note(f"{title}: skipped annotations left out")
    if not kept:
        file.note(f"{title}: no annotation")
    return [
        Coding(
            where=where if len(kept) == 1 else f"{where}, annotation {annotation.get('id', place)}",
            media=video,
            observer=str(annotation.get("completed_by", "")) or f"annotation {place}",
            unit="frame",
            bouts=_bouts(annotation["result"], where),
        )
        for place, annotation in enumerate(kept, start=1)
    ]


def _video(data: Object, where: str) -> str:
    """Return the video's path: of a local file, an upload, or an address."""
    texts = [data["video"]] if "video" in data else [one for one in data.values() if isinstance(one, str)]
    if len(texts) != 1 or not isinstance(texts[0], str):
        raise ConfigError(f"{where}: data {sorted(data)}, expected the video in `video`. Export it again.")
    split = urlsplit(texts[0]) if "://" in texts[0] or "?" in texts[0] else None
    path = unquote(split.path) if split else texts[0]
    if split and "d" in (query := parse_qs(split.query)):
        path = query["d"][0]  # /data/local-files/?d=<path below the storage>
    folder, slash, name = path.replace("\\", "/").rpartition("/")
    if "/upload/" in f"/{folder}/":
        return _UPLOAD.sub("", name)  # its folders are Label Studio's
    return (name if split and split.netloc else f"{folder}{slash}{name}") or path


def _bouts(result: list[Object], where: str) -> dict[str, tuple[Interval, ...]]:
    timeline = [one["value"] for one in result if one.get("type") == "timelinelabels"]
    if result and not timeline:
        raise ConfigError(
            f"{where}: regions of type {', '.join(sorted({str(one.get('type')) for one in result}))}, expected "
            "timelinelabels. Mark behaviours with TimelineLabels."
        )
    bouts: dict[str, list[Interval]] = {}
    for value in timeline:
        for one in value["ranges"]:
            first, last = float(one["start"]), float(one["end"])
            if not 1 <= first <= last < float("inf"):
                raise ConfigError(f"{where}: frames {first:g} to {last:g}, expected a range from 1 on. Correct it.")
            for label in value["timelinelabels"]:
                bouts.setdefault(str(label), []).append((first - 1, last))
    return {label: join(intervals) for label, intervals in bouts.items()}
