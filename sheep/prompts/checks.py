"""What a prompt has to be, alone, beside others, and in its video."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from pycocotools import mask as coco

from sheep.errors import ConfigError
from sheep.schemas import Prompt

COORDINATES = {"point": ("x", "y"), "box": ("x0", "y0", "x1", "y1")}
_SAYS_MORE = {"point": 0, "box": 1, "mask": 2}


class Given(NamedTuple):
    """A prompt, and where a person wrote it."""

    where: str
    prompt: Prompt


def coordinates(video: str, animal: str, frame: int, kind: str, xy: tuple[float, ...], where: str) -> Given:
    """Make a point or a box.

    Raises:
        ConfigError: no name, a frame below 0, a coordinate that is no number, a box without area; `where` begins the
            message.
    """
    _require_names(video, animal, frame, where)
    if not all(math.isfinite(value) for value in xy):
        raise ConfigError(f"{where}: coordinates {xy}, expected finite numbers. Correct the line.")
    if kind == "box" and not (xy[0] < xy[2] and xy[1] < xy[3]):
        raise ConfigError(f"{where}: box {xy}, expected x0 < x1 and y0 < y1. Swap the corners, or draw it anew.")
    return Given(
        where, Prompt(video=video, animal=animal, frame=frame, kind="box" if kind == "box" else "point", xy=xy)
    )


def outlined(video: str, animal: str, frame: int, counts: bytes, size_px: tuple[int, int], where: str) -> Given:
    """Make a mask prompt.

    Args:
        video: its key.
        animal: its name.
        frame: number in the file.
        counts: COCO compressed run lengths.
        size_px: (height, width) they are for.
        where: begins every message.

    Raises:
        ConfigError: no name, a frame below 0, run lengths that do not fill the size, or an empty mask.
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
    return Given(
        where, Prompt(video=video, animal=animal, frame=frame, kind="mask", xy=xy, mask=counts, size_px=size_px)
    )


def _runs(counts: bytes) -> list[int]:
    """Lengths of the runs of COCO's compressed counts, which pycocotools expands without looking where it writes.

    Six bits a character from 48, the sixth saying that more follow; from the fourth run on, the difference to the run
    before last.
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


def settle(given: Iterable[Given]) -> list[Prompt]:
    """Keep one prompt per animal, video and frame: of several kinds the one that says most (mask, box, point).

    Returns:
        Sorted by video, animal and frame.

    Raises:
        ConfigError: an animal has two prompts of one kind on one frame, which contradict.
    """
    kept: dict[tuple[str, str, int], dict[str, Given]] = {}
    for one in given:
        prompt = one.prompt
        others = kept.setdefault((prompt.video, prompt.animal, prompt.frame), {})
        if prompt.kind in others:
            raise ConfigError(
                f"{one.where}: {prompt.animal!r} in {prompt.video} has more than one prompt of kind {prompt.kind} on "
                f"frame {prompt.frame}, the other in "
                f"{others[prompt.kind].where}; expected one, as they contradict. Delete one."
            )
        others[prompt.kind] = one
    return [kept[key][max(kept[key], key=_SAYS_MORE.__getitem__)].prompt for key in sorted(kept)]


def by_video(prompts: Iterable[Prompt], videos: Sequence[str], *, name: str) -> dict[str, list[Prompt]]:
    """Match prompts with videos.

    Returns:
        Every video -> its prompts, at least one.

    Raises:
        ConfigError: a prompt for a video that is not there, or a video without a prompt.
    """
    matched: dict[str, list[Prompt]] = {video: [] for video in videos}
    prompts = list(prompts)
    strangers = sorted({prompt.video for prompt in prompts if prompt.video not in matched})
    if strangers:
        raise ConfigError(
            f"{name}: prompts for {len(strangers)} videos that are not there, first {strangers[0]!r}; the archive "
            f"has {videos[0]!r} ... Correct the names."
        )
    for prompt in prompts:
        matched[prompt.video].append(prompt)
    silent = [video for video, found in matched.items() if not found]
    if silent:
        raise ConfigError(
            f"{name}: {len(silent)} of {len(videos)} videos have no prompt, first {silent[0]!r}, expected one for "
            "each. Add a click or a box, or move them away."
        )
    return matched


def check_inside(prompts: Iterable[Prompt], sizes_px: Mapping[str, tuple[int, int]], *, name: str) -> None:
    """Check that prompts lie in the picture.

    Args:
        prompts: any number.
        sizes_px: video -> (height, width); videos left out (unreadable ones) are not checked.
        name: named in errors.

    Raises:
        ConfigError: a coordinate is outside its frame, or a mask is of another size.
    """
    for prompt in prompts:
        if prompt.video not in sizes_px:
            continue
        height, width = sizes_px[prompt.video]
        if prompt.kind == "mask" and prompt.size_px != (height, width):
            raise ConfigError(
                f"{name}: mask of {prompt.animal!r} in {prompt.video}, frame {prompt.frame}, is {prompt.size_px[1]} "
                f"x {prompt.size_px[0]} px, expected the "
                f"video's {width} x {height}. Export it at the video's size, upright as players show it."
            )
        if any(not 0 <= x <= width for x in prompt.xy[0::2]) or any(not 0 <= y <= height for y in prompt.xy[1::2]):
            raise ConfigError(
                f"{name}: {prompt.kind} {prompt.xy} of {prompt.animal!r} in {prompt.video} is outside the frame, "
                f"expected x in 0..{width}, y in 0..{height}. "
                "Correct the prompt; pixels count from the top left of the picture as players show it."
            )


def start_frame(prompts: Sequence[Prompt], stride: int) -> int:
    """First frame that can be tracked: the earliest prompt's.

    Raises:
        ConfigError: a prompt lies on a frame that the stride leaves out.
    """
    skipped = [prompt for prompt in prompts if prompt.frame % stride]
    if skipped:
        raise ConfigError(
            f"prompt of {skipped[0].animal!r} in {skipped[0].video}: frame {skipped[0].frame}, expected a multiple "
            f"of crop.stride_frames = {stride}, as "
            "other frames are not tracked. Prompt a neighbouring frame, or change the stride."
        )
    return min(prompt.frame for prompt in prompts)


def identity(prompts: Iterable[Prompt]) -> list[list[object]]:
    """Plain values that differ where prompts do, for a digest."""
    return [[p.animal, p.frame, p.kind, *p.xy, *([p.mask.decode("ascii")] if p.mask else [])] for p in prompts]


def compressed(mask: "np.ndarray[tuple[int, int], np.dtype[np.bool_]]") -> bytes:
    """Encode a mask (H, W) as COCO compressed run lengths."""
    counts: bytes = coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]
    return counts
