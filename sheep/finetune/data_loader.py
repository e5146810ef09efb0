"""Images of a step -> the views that student and teacher see, and their masks, the same whatever the number of workers."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sheep.config import FinetuneConfig, seed_for
from sheep.finetune.augment import (
    GLOBAL_AREA,
    LOCAL_AREA,
    crop,
    draw_noise,
    make_views,
    on_animal,
    repaint,
    without_animal,
)
from sheep.finetune.dataset import Decoded, Sampler
from sheep.finetune.networks import draw_kept
from sheep.finetune.patch_masks import draw_masks
from sheep.models.dinov2 import normalise


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """This worker's share of a step, view by view."""

    global_views: Tensor
    """(2 B, 3, S, S), normalised."""
    local_views: Tensor | None
    """(num_local B, 3, s, s), or None."""
    hidden: Tensor | None
    """(2 B, P) bool, patches hidden from the student, or None."""
    masks: Tensor | None
    """(2 B, 1, S, S) in [0, 1], the animal's mask in the global views; None where no term needs it."""
    kept: tuple[Tensor | None, Tensor | None]
    """(2 B, branches) and (num_local B, branches) factors on the student's residual branches; None where all count."""


class Batches:
    """Draws a step's batch from (seed, step) alone; every worker takes its slice of the same global batch."""

    def __init__(
        self,
        pixels: Decoded,
        sampler: Sampler,
        config: FinetuneConfig,
        seed: int,
        patch_px: int,
        num_branches: int = 0,
    ) -> None:
        self._pixels, self._sampler, self._config, self._seed = pixels, sampler, config, seed
        self._grid, self._num_branches = config.global_px // patch_px, num_branches
        self._num_views = 2 + config.num_local

    def draw(self, step: int, mine: slice, place: torch.device) -> Batch:
        """Make one worker's part of a step.

        Args:
            step: counted from 0.
            mine: which images of the global batch.
            place: device of the result.
        """
        config, total = self._config, self._config.batch_size
        rows = self._sampler.draw(step, total)
        noise = draw_noise(self._seed_of("views", step), total, self._num_views)[mine]
        images, masks = self._take(rows[mine], place)
        views: list[Tensor] = []
        seen: list[Tensor] = []
        for number, shown in enumerate(self._painted(step, rows, mine, images, masks)):
            side, area = (config.global_px, GLOBAL_AREA) if number < 2 else (config.local_px, LOCAL_AREA)
            views.append(make_views(shown, noise[:, number], side, area))
            if number < 2 and masks is not None and (config.silhouette_weight > 0 or config.mask_inside > 0):
                seen.append(crop(masks, noise[:, number, :5].to(place), side, area))
        return Batch(
            global_views=normalise(torch.cat(views[:2])),
            local_views=normalise(torch.cat(views[2:])) if config.num_local else None,
            hidden=self._hidden(step, mine, seen, place) if config.mask_frac > 0 else None,
            masks=torch.cat(seen) if seen and config.silhouette_weight > 0 else None,
            kept=self._kept(step, mine, place),
        )

    def _take(self, rows: np.ndarray, place: torch.device) -> tuple[Tensor, Tensor | None]:
        values = self._pixels.take(rows).to(place).permute(0, 3, 1, 2).float() / 255
        return values[:, :3], values[:, 3:] if values.shape[1] > 3 else None

    def _painted(
        self, step: int, rows: np.ndarray, mine: slice, images: Tensor, masks: Tensor | None
    ) -> Iterator[Tensor]:
        """Yield the images that each view is cut from, with another ground where that is wanted."""
        config = self._config
        if masks is None or config.background == "keep":
            yield from (images for _ in range(self._num_views))
            return
        generator = torch.Generator().manual_seed(self._seed_of("ground", step))
        noise = torch.rand(len(rows), self._num_views, 2, generator=generator)[mine]
        ground = None
        if config.background == "swap":
            # Everyone stands on the ground of the image some places further on in the global batch.
            shift = int(torch.randint(1, len(rows), (), generator=generator))
            others, their_masks = self._take(np.roll(rows, -shift)[mine], images.device)
            assert their_masks is not None
            ground = without_animal(others, their_masks)
        for number in range(self._num_views):
            yield repaint(images, masks, ground, noise[:, number], config.background_share)

    def _hidden(self, step: int, mine: slice, seen: list[Tensor], place: torch.device) -> Tensor:
        config, inside = self._config, None
        if seen and config.mask_inside > 0:
            inside = torch.stack([on_animal(masks, self._grid) for masks in seen])
        hidden = draw_masks(
            self._seed_of("masks", step),
            config.batch_size,
            self._grid,
            config.mask_frac,
            mine=mine,
            inside=inside,
            inside_share=config.mask_inside,
        )
        return hidden.flatten(0, 1).to(place)

    def _kept(self, step: int, mine: slice, place: torch.device) -> tuple[Tensor | None, Tensor | None]:
        config = self._config
        if config.drop_path == 0:
            return None, None
        seed = self._seed_of("drop_path", step)
        drawn = draw_kept(seed, config.batch_size, self._num_views, self._num_branches, config.drop_path)
        by_view = drawn[mine].transpose(0, 1).to(place)
        return by_view[:2].flatten(0, 1), by_view[2:].flatten(0, 1) if config.num_local else None

    def _seed_of(self, what: str, step: int) -> int:
        return seed_for(self._seed, f"finetune.{what}", str(step))
