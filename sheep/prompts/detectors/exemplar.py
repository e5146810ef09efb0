"""One prompted animal -> similar animals in frames of other videos, by DINOv2's patch tokens.

Each patch around the exemplar is on the animal or beside it. A linear discriminant between the two turns every patch of
another video into a similarity: 0 for the ground, 1 for the animal. Frames are processed in overlapping windows of the
exemplar's scale, since an animal of 40 pixels would be two patches of the whole frame.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import find_objects, label

from sheep.errors import ConfigError
from sheep.models.dinov2 import Backbone
from sheep.prompts.detectors.frames import Detection, SampledFrame, best_frame, shrink

_LONGEST_PX = 1280
_MAP_PX = 192  # longer side of the similarity map
_SHARES = (1.3, 1.8, 2.5)  # sides of the windows around the exemplar, in its own longer side
_SCALES = (0.7, 1.0, 1.5)  # sides of the windows in other frames, in 1.8 of the exemplar's
_SHRINKAGE = 0.1  # of the covariance towards a multiple of the identity
_BATCH = 32
_SIMILAR = 0.5  # similarity from which a place belongs to an animal


@dataclass(frozen=True, kw_only=True, slots=True)
class Exemplar:
    """The discriminant learnt from the prompted animal."""

    direction: NDArray[np.float32]
    """(D,), applied to unit patch tokens."""
    offset: float
    """similarity = tokens @ direction - offset."""
    side_frac: float
    """Side of a window around it, as a share of the frame's longer side."""
    area_frac: float
    """Area of its mask, as a share of the frame."""


def learn(model: Backbone, image: NDArray[np.uint8], mask: NDArray[np.bool_], *, image_px: int) -> Exemplar:
    """Learn to separate an animal from its surroundings.

    Args:
        model: DINOv2.
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) bool, the animal.
        image_px: side to which windows are scaled for the network; a multiple of its patch size.

    Raises:
        ConfigError: the mask is empty, so small that it covers no patch, or so large that it leaves none.
    """
    rows, columns = np.nonzero(mask)
    if not len(rows):
        raise ConfigError(
            "exemplar: the mask at the prompt is empty, expected an animal. Click on its body, or draw a box."
        )
    longer = max(np.ptp(rows), np.ptp(columns)) + 1
    centre = ((columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2)
    near = [_around(centre, share * longer, mask.shape) for share in _SHARES]
    places = near + list(_windows(mask.shape, _SHARES[-1] * longer))
    tokens = _tokens(model, image, places, image_px)
    grid = image_px // model.patch_px
    shares = np.stack([_patch_shares(mask, place, grid) for place in places])
    on, beside = tokens[shares > 0.5], tokens[shares < 0.02]
    if not len(on) or not len(beside):
        raise ConfigError(
            f"exemplar: {len(on)} patches on the animal and {len(beside)} beside it, expected some of both. "
            "Prompt a larger animal that does not fill the frame."
        )
    gap = on.mean(axis=0) - beside.mean(axis=0)
    spread = np.cov(np.concatenate([on - on.mean(axis=0), beside - beside.mean(axis=0)]).T)
    spread += _SHRINKAGE * np.trace(spread) / len(spread) * np.eye(len(spread))
    direction = np.linalg.solve(spread, gap)
    direction /= gap @ direction
    return Exemplar(
        direction=direction.astype(np.float32),
        offset=float(beside.mean(axis=0) @ direction),
        side_frac=float(1.8 * longer / max(mask.shape)),
        area_frac=float(mask.mean()),
    )


def find(
    model: Backbone, exemplar: Exemplar, frames: Sequence[SampledFrame], num_animals: int, *, image_px: int
) -> list[Detection]:
    """Find the frame that shows animals like the exemplar best, and a box around each.

    Args:
        model: the network that `learn` used.
        exemplar: from `learn`.
        frames: of one video.
        num_animals: number of animals to detect; >= 1.
        image_px: as for `learn`.

    Returns:
        At most `num_animals` detections on one frame, best first. The score is the similarity of the patches inside
        less that of the rest of the frame, lowered where the size differs much or where others are as similar.
    """
    by_frame = []
    for frame in frames:
        heat = similarity(model, exemplar, frame.image, image_px=image_px)
        by_frame.append(_pieces(heat, exemplar, frame))
    return best_frame(by_frame, num_animals)


def similarity(model: Backbone, exemplar: Exemplar, image: NDArray[np.uint8], *, image_px: int) -> NDArray[np.float32]:
    """Compute a map of the similarity of each place of a frame with the exemplar.

    Args:
        model: the network that `learn` used.
        exemplar: from `learn`.
        image: (H, W, 3) uint8 RGB.
        image_px: as for `learn`.

    Returns:
        (h, w) float32, longer side 192 px: about 0 on the ground and 1 on an animal.
    """
    image = shrink(image, _LONGEST_PX)
    height, width = image.shape[:2]
    factor = _MAP_PX / max(height, width)
    total = np.zeros((round(height * factor), round(width * factor)), np.float32)
    weight = np.full_like(total, 1e-6)
    sides = [scale * exemplar.side_frac * max(height, width) for scale in _SCALES]
    places = [place for side in sides for place in _windows((height, width), side)]
    tokens = _tokens(model, image, places, image_px)
    grid = image_px // model.patch_px
    # Overlapping windows are averaged, with less weight towards their borders.
    for place, values in zip(places, tokens @ exemplar.direction - exemplar.offset, strict=True):
        x0, y0, x1, y1 = (round(value * factor) for value in place)
        size = (max(1, x1 - x0), max(1, y1 - y0))
        drawn = Image.fromarray(values.reshape(grid, grid).astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
        inside = np.s_[y0 : y0 + size[1], x0 : x0 + size[0]]
        trust = np.outer(_taper(size[1]), _taper(size[0]))[: total[inside].shape[0], : total[inside].shape[1]]
        total[inside] += trust * np.asarray(drawn)[: trust.shape[0], : trust.shape[1]]
        weight[inside] += trust
    return (total / weight).astype(np.float32)


def _pieces(heat: NDArray[np.float32], exemplar: Exemplar, frame: SampledFrame) -> list[Detection]:
    """Detect the connected regions that are similar to the exemplar, best first.

    Args:
        heat: (h, w) from `similarity`.
        exemplar: its size is compared.
        frame: the frame of the map.
    """
    numbered, count = label(heat > np.clip(heat.max() / 2, _SIMILAR / 2, _SIMILAR))
    height, width = frame.image.shape[:2]
    scale = np.array([width / heat.shape[1], height / heat.shape[0]] * 2)
    found = []
    for number, (rows, columns) in enumerate(find_objects(numbered, count), start=1):
        inside = numbered == number
        area_frac = float(inside.mean())
        if area_frac < exemplar.area_frac / 16:
            continue
        margin = float(heat[inside].mean() - np.median(heat[~inside])) if not inside.all() else 0.0
        size = float(np.exp2(-max(0.0, abs(np.log2(area_frac / exemplar.area_frac)) - 1)))
        x0, y0, x1, y1 = np.array([columns.start, rows.start, columns.stop, rows.stop]) * scale
        found.append(
            Detection(
                frame=frame.index,
                box=(float(round(x0, 1)), float(round(y0, 1)), float(round(x1, 1)), float(round(y1, 1))),
                score=round(float(np.clip(margin, 0, 1)) * size, 3),
                reason="of another size" if size < 0.5 else "unlike the exemplar" if margin < 0.7 else "",
            )
        )
    return sorted(found, key=lambda one: -one.score)


def _around(centre: tuple[float, float], side: float, size_px: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Place a square around a point, moved into the frame, and made smaller where it does not fit.

    Args:
        centre: x, y [px].
        side: of the square [px].
        size_px: (height, width) of the frame.
    """
    height, width = size_px
    side = min(side, height, width)
    x0 = float(np.clip(centre[0] - side / 2, 0, width - side))
    y0 = float(np.clip(centre[1] - side / 2, 0, height - side))
    return round(x0), round(y0), round(x0 + side), round(y0 + side)


def _windows(size_px: tuple[int, ...], side: float) -> Iterator[tuple[int, int, int, int]]:
    """Yield squares x0, y0, x1, y1 [px] that cover a frame and overlap by half.

    Args:
        size_px: (height, width) of the frame.
        side: of a square [px]; at most the frame's shorter side is used.
    """
    height, width = size_px
    side = min(side, height, width)
    down, across = (max(1, int(np.ceil((one - side) / (side / 2))) + 1) for one in (height, width))
    for y in np.linspace(0, height - side, down):
        for x in np.linspace(0, width - side, across):
            yield round(x), round(y), round(x + side), round(y + side)


def _tokens(
    model: Backbone, image: NDArray[np.uint8], places: Sequence[tuple[int, int, int, int]], image_px: int
) -> NDArray[np.float32]:
    """Compute unit patch tokens (N, P, D) of windows of an image.

    Args:
        model: DINOv2.
        image: (H, W, 3) uint8 RGB.
        places: N windows x0, y0, x1, y1 [px].
        image_px: side to which windows are scaled.
    """
    found = []
    for start in range(0, len(places), _BATCH):
        pieces = [
            model.preprocess(image[y0:y1, x0:x1][None], image_px) for x0, y0, x1, y1 in places[start : start + _BATCH]
        ]
        with torch.inference_mode():
            patches = model.forward(torch.cat(pieces)).patches.float()
        found.append(torch.nn.functional.normalize(patches, dim=-1).cpu().numpy())
    return np.concatenate(found)


def _patch_shares(mask: NDArray[np.bool_], place: tuple[int, int, int, int], grid: int) -> NDArray[np.float32]:
    """Compute the share (P,) of each patch of a window that the mask covers.

    Args:
        mask: (H, W) bool.
        place: the window, x0, y0, x1, y1 [px].
        grid: patches along a side.
    """
    x0, y0, x1, y1 = place
    inside = Image.fromarray(mask[y0:y1, x0:x1].astype(np.float32)).resize((grid, grid), Image.Resampling.BOX)
    shares: NDArray[np.float32] = np.asarray(inside).reshape(-1)
    return shares


def _taper(length: int) -> NDArray[np.float32]:
    """Weights (length,) that fall to a tenth at the ends: patches at a window's border have little context."""
    weights: NDArray[np.float32] = (0.1 + 0.9 * np.sin(np.pi * (np.arange(length) + 0.5) / length)).astype(np.float32)
    return weights
