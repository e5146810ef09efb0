"""Checks and decoding of prompts before they enter the network; prompts that cannot start a track are refused."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from sheep.errors import ConfigError
from sheep.schemas import Prompt


def check_prompts(prompts: Sequence[Prompt]) -> None:
    """Refuse prompts that cannot start a track.

    Raises:
        ConfigError: no prompt, two of one kind for an animal on one frame, or an empty mask.
    """
    if not prompts:
        raise ConfigError("prompts: got none, expected at least one for a video. Add a click, a box or a mask.")
    places = [(prompt.animal, prompt.frame, prompt.kind) for prompt in prompts]
    for prompt, place in zip(prompts, places, strict=True):
        where = f"prompt of {prompt.animal!r} in {prompt.video}, frame {prompt.frame}"
        if places.count(place) > 1:
            raise ConfigError(
                f"{where}: got more than one {prompt.kind}, expected one of each kind. Delete the wrong one."
            )
        if prompt.kind == "mask" and not decode(prompt).any():
            raise ConfigError(f"{where}: the mask is empty, expected the animal's pixels. Delete the prompt.")


def decode(prompt: Prompt) -> NDArray[np.bool_]:
    """Decode a mask prompt to (H, W).

    Raises:
        ConfigError: the run lengths do not fill the size.
    """
    try:
        mask: NDArray[np.bool_] = coco.decode({"counts": prompt.mask, "size": list(prompt.size_px)}).astype(bool)
    except ValueError as error:
        raise ConfigError(
            f"prompt of {prompt.animal!r} in {prompt.video}, frame {prompt.frame}: the mask's run lengths do not "
            f"fill {prompt.size_px} (height, width) pixels ({error}). Export the mask again."
        ) from error
    return mask


def check_inside(prompt: Prompt, height_px: int, width_px: int) -> None:
    """Refuse a prompt outside the frame.

    Args:
        prompt: a point, box or mask.
        height_px: of the frame.
        width_px: of the frame.

    Raises:
        ConfigError: a coordinate is outside, or a mask is of another size.
    """
    if prompt.kind == "mask":
        got, form = f"mask of {prompt.size_px}", f"one of {(height_px, width_px)} (height, width)"
        fits = prompt.size_px == (height_px, width_px)
    else:
        got, xy = f"{prompt.kind} {prompt.xy}", prompt.xy
        form, fits = ("x, y", len(xy) == 2) if prompt.kind == "point" else ("x0 < x1, y0 < y1", len(xy) == 4)
        form += f" inside {width_px} x {height_px} px"
        fits = fits and all(0 <= value <= limit for value, limit in zip(xy, (width_px, height_px) * 2, strict=False))
        fits = fits and (prompt.kind == "point" or (xy[0] < xy[2] and xy[1] < xy[3]))
    if not fits:
        raise ConfigError(
            f"prompt of {prompt.animal!r} in {prompt.video}, frame {prompt.frame}: got {got}, expected {form}. "
            "Correct the prompt file."
        )


def not_tracked(prompt: Prompt) -> ConfigError:
    """Return the error for a prompt on a frame that is not tracked."""
    what = f"prompt of {prompt.animal!r} in {prompt.video}: frame {prompt.frame}"
    return ConfigError(f"{what} is not among the tracked frames, expected one of them. Move it, or track more frames.")
