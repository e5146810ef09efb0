"""Images of a step -> the views that student and teacher see, and their masks, the same whatever the number of workers."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sheep.backbone import normalise
from sheep.config import FinetuneConfig, seed_for
from sheep.finetune.images import Decoded, Sampler
from sheep.finetune.masking import draw_masks
from sheep.finetune.views import GLOBAL_AREA, LOCAL_AREA, crop, draw_noise, make_views


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


class Batches:
    """Draws a step's batch from (seed, step) alone; every worker takes its slice of the same global batch."""

    def __init__(self, pixels: Decoded, sampler: Sampler, config: FinetuneConfig, seed: int, patch_px: int) -> None:
        self._pixels, self._sampler, self._config, self._seed = pixels, sampler, config, seed
        self._grid = config.global_px // patch_px

    def draw(self, step: int, mine: slice, place: torch.device) -> Batch:
        """Make one worker's part of a step.

        Args:
            step: counted from 0.
            mine: which images of the global batch.
            place: device of the result.
        """
        config, total = self._config, self._config.batch_size
        num_views = 2 + config.num_local
        rows = self._sampler.draw(step, total)
        noise = draw_noise(seed_for(self._seed, "finetune.views", str(step)), total, num_views)[mine]
        images, masks = self._take(rows[mine], place)
        views: list[Tensor] = []
        seen: list[Tensor] = []
        for number in range(num_views):
            side, area = (config.global_px, GLOBAL_AREA) if number < 2 else (config.local_px, LOCAL_AREA)
            views.append(make_views(images, noise[:, number], side, area))
            if number < 2 and masks is not None and config.silhouette_weight > 0:
                seen.append(crop(masks, noise[:, number, :5].to(place), side, area))
        hidden = draw_masks(seed_for(self._seed, "finetune.masks", str(step)), total, self._grid, config.mask_frac)[
            :, mine
        ]
        return Batch(
            global_views=normalise(torch.cat(views[:2])),
            local_views=normalise(torch.cat(views[2:])) if config.num_local else None,
            hidden=hidden.flatten(0, 1).to(place) if config.mask_frac > 0 else None,
            masks=torch.cat(seen) if seen else None,
        )

    def _take(self, rows: np.ndarray, place: torch.device) -> tuple[Tensor, Tensor | None]:
        values = self._pixels.take(rows).to(place).permute(0, 3, 1, 2).float() / 255
        return values[:, :3], values[:, 3:] if values.shape[1] > 3 else None
