"""Prompt file -> where each animal is: one click or one box per animal and video.

In: `prompts.csv` with the header video,animal,frame,kind,x,y,x0,y0,x1,y1 (kind point uses x, y; kind box the other four).
Out: `Prompt`s by video. Everything a person can get wrong here is found before any model is loaded.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence

from sheep.errors import ConfigError
from sheep.tables import Prompt

_HEADER = ("video", "animal", "frame", "kind", "x", "y", "x0", "y0", "x1", "y1")
_COORDINATES = {"point": ("x", "y"), "box": ("x0", "y0", "x1", "y1")}


def parse(text: str, *, name: str) -> list[Prompt]:
    """Read a prompt file.

    Args:
        text: its content.
        name: named in errors.

    Returns:
        One prompt per (video, animal), sorted. Where an animal has a point and a box on one frame the box is kept: it says more.

    Raises:
        ConfigError: wrong header, kind or number, an upside-down box, or several prompts that contradict.
    """
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
    missing = [column for column in _HEADER if column not in (reader.fieldnames or [])]
    if missing:
        raise ConfigError(
            f"{name}: columns {missing} are missing, got {reader.fieldnames}, expected {','.join(_HEADER)}. Correct the first line."
        )
    given: dict[tuple[str, str], dict[str, Prompt]] = {}
    for row in reader:
        where = f"{name}, line {reader.line_num}"
        prompt = _prompt(row, where)
        others = given.setdefault((prompt.video, prompt.animal), {})
        if prompt.kind in others or any(other.frame != prompt.frame for other in others.values()):
            raise ConfigError(
                f"{where}: {prompt.animal!r} in {prompt.video} has more than one prompt, expected one per animal (a point and a box on "
                "the same frame may stand together). Delete one."
            )
        others[prompt.kind] = prompt
    return [given[key].get("box") or given[key]["point"] for key in sorted(given)]


def by_video(prompts: Iterable[Prompt], videos: Sequence[str], *, name: str) -> dict[str, list[Prompt]]:
    """Match prompts with videos.

    Returns:
        Every video -> its prompts, at least one.

    Raises:
        ConfigError: a prompt for a video that is not there, or a video without a prompt.
    """
    matched: dict[str, list[Prompt]] = {video: [] for video in videos}
    strangers = sorted({prompt.video for prompt in prompts if prompt.video not in matched})
    if strangers:
        raise ConfigError(
            f"{name}: prompts for {len(strangers)} videos that are not there, first {strangers[0]!r}; the archive has {videos[0]!r} ... Correct the names."
        )
    for prompt in prompts:
        matched[prompt.video].append(prompt)
    silent = [video for video, found in matched.items() if not found]
    if silent:
        raise ConfigError(
            f"{name}: {len(silent)} of {len(videos)} videos have no prompt, first {silent[0]!r}, expected one for each. Add a click or a box, or move them away."
        )
    return matched


def check_inside(prompts: Iterable[Prompt], sizes_px: Mapping[str, tuple[int, int]], *, name: str) -> None:
    """Check that prompts lie in the picture.

    Args:
        prompts: any number.
        sizes_px: video -> (height, width); videos left out (unreadable ones) are not checked.
        name: named in errors.

    Raises:
        ConfigError: a coordinate is outside its frame.
    """
    for prompt in prompts:
        if prompt.video not in sizes_px:
            continue
        height, width = sizes_px[prompt.video]
        if any(not 0 <= x <= width for x in prompt.xy[0::2]) or any(not 0 <= y <= height for y in prompt.xy[1::2]):
            raise ConfigError(
                f"{name}: {prompt.kind} {prompt.xy} of {prompt.animal!r} in {prompt.video} is outside the frame, expected x in 0..{width}, y in 0..{height}. "
                "Correct the prompt; pixels count from the top left of the picture as players show it."
            )


def _prompt(row: Mapping[str, str], where: str) -> Prompt:
    kind = row["kind"]
    if kind not in _COORDINATES:
        raise ConfigError(f"{where}: kind {kind!r}, expected point or box. Correct it.")
    try:
        xy = tuple(float(row[column]) for column in _COORDINATES[kind])
        frame = int(row["frame"])
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{where}: {error}, expected an integer frame and numbers in {', '.join(_COORDINATES[kind])}. Correct the line."
        ) from error
    if frame < 0 or not all(math.isfinite(value) for value in xy):
        raise ConfigError(
            f"{where}: frame {frame}, coordinates {xy}, expected a frame of 0 or more and finite numbers. Correct the line."
        )
    if kind == "box" and not (xy[0] < xy[2] and xy[1] < xy[3]):
        raise ConfigError(f"{where}: box {xy}, expected x0 < x1 and y0 < y1. Swap the corners.")
    if not row["video"] or not row["animal"]:
        raise ConfigError(
            f"{where}: video {row['video']!r}, animal {row['animal']!r}, expected a name in both. Fill it in."
        )
    return Prompt(
        video=row["video"], animal=row["animal"], frame=frame, kind="box" if kind == "box" else "point", xy=xy
    )


def start_frame(prompts: Sequence[Prompt], stride: int) -> int:
    """First frame that can be tracked: the earliest prompt's.

    Raises:
        ConfigError: a prompt lies on a frame that the stride leaves out.
    """
    skipped = [prompt for prompt in prompts if prompt.frame % stride]
    if skipped:
        raise ConfigError(
            f"prompt of {skipped[0].animal!r} in {skipped[0].video}: frame {skipped[0].frame}, expected a multiple of crop.stride_frames = {stride}, as "
            "other frames are not tracked. Prompt a neighbouring frame, or change the stride."
        )
    return min(prompt.frame for prompt in prompts)
