"""Checks of prompts: each by itself, against other prompts, and against its video."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from pycocotools import mask as coco

from sheep.annotations.matching import VideoNames
from sheep.errors import ConfigError
from sheep.schemas import Prompt

COORDINATES = {"point": ("x", "y"), "box": ("x0", "y0", "x1", "y1")}
_PRECISION = {"point": 0, "box": 1, "mask": 2}
"""Of several kinds on one frame the highest is kept."""


class Located(NamedTuple):
    """A prompt and its place in the prompt file."""

    where: str
    """Such as `prompts.csv, line 2`."""
    prompt: Prompt


def coordinates(
    video: str,
    animal: str,
    frame: int,
    kind: str,
    xy: tuple[float, ...],
    where: str,
    size_px: tuple[int, int] = (0, 0),
) -> Located:
    """Check a point or a box.

    Args:
        video: its key.
        animal: its name.
        frame: number in the file.
        kind: `point` or `box`.
        xy: (x, y) or (x0, y0, x1, y1) [px].
        where: starts every message.
        size_px: (height, width) of the image that they were drawn on; zeros where the file does not state it.

    Raises:
        ConfigError: a name is missing, the frame is below 0, a coordinate is not finite, or the box has no area.
    """
    _require_names(video, animal, frame, where)
    if not all(math.isfinite(value) for value in xy):
        raise ConfigError(f"{where}: coordinates {xy}, expected finite numbers. Correct the line.")
    if kind == "box" and not (xy[0] < xy[2] and xy[1] < xy[3]):
        raise ConfigError(f"{where}: box {xy}, expected x0 < x1 and y0 < y1. Swap the corners, or draw it again.")
    known: Literal["point", "box"] = "box" if kind == "box" else "point"
    return Located(where, Prompt(video=video, animal=animal, frame=frame, kind=known, xy=xy, size_px=size_px))


def outlined(video: str, animal: str, frame: int, counts: bytes, size_px: tuple[int, int], where: str) -> Located:
    """Check a mask.

    Args:
        video: its key.
        animal: its name.
        frame: number in the file.
        counts: COCO compressed run lengths.
        size_px: (height, width) of the mask.
        where: starts every message.

    Raises:
        ConfigError: a name is missing, the frame is below 0, the run lengths do not fill the size, or the mask is
            empty.
    """
    _require_names(video, animal, frame, where)
    height, width = size_px
    runs = _runs(counts)
    if height < 1 or width < 1 or min(runs, default=-1) < 0 or sum(runs) != height * width:
        raise ConfigError(
            f"{where}: mask of {sum(runs)} px for a frame {width} x {height}, expected run lengths that fill it. "
            "Export the masks again."
        )
    rle = {"counts": counts, "size": [height, width]}
    if not int(coco.area(rle)):
        raise ConfigError(f"{where}: the mask is empty, expected at least one pixel. Draw it, or delete the prompt.")
    x, y, w, h = (float(value) for value in coco.toBbox(rle))
    xy = (x, y, x + w, y + h)
    return Located(
        where, Prompt(video=video, animal=animal, frame=frame, kind="mask", xy=xy, mask=counts, size_px=size_px)
    )


def _runs(counts: bytes) -> list[int]:
    """Decode the run lengths of COCO's compressed counts; empty if they are malformed.

    pycocotools writes past its buffer when run lengths do not fill the mask, so they are checked here first. Each
    character less 48 holds six bits: five of the value and one that tells whether more follow. From the fourth run on,
    the value is the difference from the run before last (pycocotools, `rleToString`).
    """
    runs: list[int] = []
    value = shift = 0
    for code in counts:
        bits = code - 48
        if not 0 <= bits < 64:
            return []
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs if not shift else []


def _require_names(video: str, animal: str, frame: int, where: str) -> None:
    if not video or not animal:
        raise ConfigError(f"{where}: video {video!r}, animal {animal!r}, expected a name in both. Fill it in.")
    if frame < 0:
        raise ConfigError(f"{where}: frame {frame}, expected 0 or more. Correct it.")


def settle(given: Iterable[Located]) -> list[Prompt]:
    """Keep one prompt per animal, video and frame: of several kinds the most precise one (mask, box, point).

    Args:
        given: in the order of the file.

    Returns:
        Sorted by video, animal and frame.

    Raises:
        ConfigError: an animal has two prompts of one kind on one frame, which contradict each other.
    """
    kept: dict[tuple[str, str, int], dict[str, Located]] = {}
    for one in given:
        prompt = one.prompt
        others = kept.setdefault((prompt.video, prompt.animal, prompt.frame), {})
        if prompt.kind in others:
            raise ConfigError(
                f"{one.where}: {prompt.animal!r} in {prompt.video} has more than one prompt of kind {prompt.kind} "
                f"on frame {prompt.frame}, the other in {others[prompt.kind].where}; expected one, as they "
                "contradict. Delete one."
            )
        others[prompt.kind] = one
    return [kept[key][max(kept[key], key=_PRECISION.__getitem__)].prompt for key in sorted(kept)]


def by_video(prompts: Iterable[Prompt], videos: Sequence[str], *, name: str) -> dict[str, list[Prompt]]:
    """Match prompts with videos.

    Args:
        prompts: any number.
        videos: keys of all videos of the archive, at least one.
        name: the prompt file, for messages.

    Returns:
        Every video -> its prompts, at least one.

    Raises:
        ConfigError: a prompt is for a video that the archive does not have, or a video has no prompt.
    """
    matched: dict[str, list[Prompt]] = {video: [] for video in videos}
    names = VideoNames(videos)
    prompts = [replace(prompt, video=names.key(prompt.video)) for prompt in prompts]
    _refuse_normalised(prompts, name)
    unknown = sorted({prompt.video for prompt in prompts if prompt.video not in matched})
    if unknown:
        raise ConfigError(
            f"{name}: prompts for {len(unknown)} videos that are not there, first {unknown[0]!r}; the archive "
            f"has {videos[0]!r} ... Correct the names."
        )
    for prompt in prompts:
        matched[prompt.video].append(prompt)
    missing = [video for video, of_video in matched.items() if not of_video]
    if missing:
        raise ConfigError(
            f"{name}: {len(missing)} of {len(videos)} videos have no prompt, first {missing[0]!r}, expected one for "
            "each. Add a click or a box, or move them away."
        )
    return matched


def _refuse_normalised(prompts: Sequence[Prompt], name: str) -> None:
    """Refuse a file whose coordinates are shares of the picture: as pixels all would be one corner.

    Args:
        prompts: at least one; masks have no coordinates of their own.
        name: the prompt file, for messages.

    Raises:
        ConfigError: no coordinate of any point or box is above 1.
    """
    drawn = [value for prompt in prompts if prompt.kind != "mask" for value in prompt.xy]
    if drawn and max(drawn) <= 1:
        raise ConfigError(
            f"{name}: no coordinate is above 1, the largest is {max(drawn):g}, expected pixels. Multiply x by the "
            "video's width and y by its height."
        )


def check_inside(prompts: Iterable[Prompt], sizes_px: Mapping[str, tuple[int, int]], *, name: str) -> None:
    """Check that prompts lie inside the frame.

    Args:
        prompts: any number.
        sizes_px: video -> (height, width); prompts of other videos (unreadable ones) are not checked.
        name: the prompt file, for messages.

    Raises:
        ConfigError: a coordinate is outside the frame, or the prompt was drawn on an image of another size.
    """
    for prompt in prompts:
        if prompt.video not in sizes_px:
            continue
        height, width = sizes_px[prompt.video]
        if prompt.size_px not in ((height, width), (0, 0)):
            raise ConfigError(
                f"{name}: {prompt.kind} of {prompt.animal!r} in {prompt.video}, frame {prompt.frame}, is of an image "
                f"of {prompt.size_px[1]} x {prompt.size_px[0]} px, expected the video's {width} x {height}. Export it "
                "at the video's size, upright as players show it."
            )
        if any(not 0 <= x <= width for x in prompt.xy[0::2]) or any(not 0 <= y <= height for y in prompt.xy[1::2]):
            raise ConfigError(
                f"{name}: {prompt.kind} {prompt.xy} of {prompt.animal!r} in {prompt.video} is outside the frame, "
                f"expected x in 0..{width}, y in 0..{height}. "
                "Correct the prompt; pixels count from the top left of the picture as players show it."
            )


def start_frame(prompts: Sequence[Prompt], stride: int) -> int:
    """Return the first frame that is tracked: that of the earliest prompt.

    Args:
        prompts: of one video, at least one.
        stride: every stride-th frame is tracked; >= 1.

    Raises:
        ConfigError: a prompt is on a frame that the stride skips.
    """
    skipped = [prompt for prompt in prompts if prompt.frame % stride]
    if skipped:
        raise ConfigError(
            f"prompt of {skipped[0].animal!r} in {skipped[0].video}: frame {skipped[0].frame}, expected a multiple "
            f"of crop.stride_frames = {stride}, as other frames are not tracked. Prompt a neighbouring frame, or "
            "change the stride."
        )
    return min(prompt.frame for prompt in prompts)


def identity(prompts: Iterable[Prompt]) -> list[list[object]]:
    """Return plain values for a digest; they differ where prompts differ."""
    return [[p.animal, p.frame, p.kind, *p.xy, *([p.mask.decode("ascii")] if p.mask else [])] for p in prompts]
