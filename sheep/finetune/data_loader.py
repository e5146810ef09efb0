"""Images of a step -> the views that student and teacher see, and their masks; independent of the number of workers."""

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
    patches_on_animal,
    remove_animal,
    replace_background,
)
from sheep.finetune.dataset import Decoded, Sampler
from sheep.finetune.networks import draw_branch_scale
from sheep.finetune.patch_masks import draw_masks
from sheep.models.dinov2 import normalise


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """This worker's share of a step, view by view; B images, P patches in a global view."""

    global_views: Tensor
    """(2 B, 3, S, S), normalised."""
    local_views: Tensor | None
    """(num_local B, 3, s, s), normalised; None without local crops."""
    hidden: Tensor | None
    """(2 B, P) bool, patches hidden from the student; None where mask_frac is 0."""
    masks: Tensor | None
    """(2 B, 1, S, S) in [0, 1], the animal in the global views; None where no term needs it."""
    global_branch_scale: Tensor | None
    """(2 B, branches) factors on the student's residual branches; None where none is dropped."""
    local_branch_scale: Tensor | None
    """(num_local B, branches), as for the global views; None without local crops too."""


class DataLoader:
    """Makes the batch of a step from (seed, step) alone; every worker takes its slice of the same global batch."""

    def __init__(
        self,
        pixels: Decoded,
        sampler: Sampler,
        config: FinetuneConfig,
        seed: int,
        patch_px: int,
        num_branches: int = 0,
    ) -> None:
        """Set up without drawing random numbers.

        Args:
            pixels: the decoded images, with masks as fourth channel where the configuration needs them.
            sampler: chooses the images of a step.
            config: crops, masks and augmentation.
            seed: of the study.
            patch_px: side of the backbone's patches.
            num_branches: residual branches of the student; read only with stochastic depth.
        """
        self._pixels, self._sampler, self._config, self._seed = pixels, sampler, config, seed
        self._grid, self._num_branches = config.global_px // patch_px, num_branches
        self._num_views = 2 + config.num_local

    def batch(self, step: int, mine: slice, place: torch.device) -> Batch:
        """Make one worker's part of a step.

        Args:
            step: from 0.
            mine: this worker's images of the global batch.
            place: device of the result.
        """
        config, total = self._config, self._config.batch_size
        needs_masks = config.silhouette_weight > 0 or config.advanced.mask_inside > 0
        rows = self._sampler.draw(step, total)
        noise = draw_noise(self._seed_of("views", step), total, self._num_views)[mine]
        images, masks = self._take(rows[mine], place)
        views: list[Tensor] = []
        view_masks: list[Tensor] = []
        for number, shown in enumerate(self._backgrounds(step, rows, mine, images, masks)):
            side, area = (config.global_px, GLOBAL_AREA) if number < 2 else (config.local_px, LOCAL_AREA)
            views.append(make_views(shown, noise[:, number], side, area))
            if number < 2 and masks is not None and needs_masks:
                view_masks.append(crop(masks, noise[:, number, :5].to(place), side, area))
        global_scale, local_scale = self._branch_scales(step, mine, place)
        return Batch(
            global_views=normalise(torch.cat(views[:2])),
            local_views=normalise(torch.cat(views[2:])) if config.num_local else None,
            hidden=self._hidden(step, mine, view_masks, place) if config.advanced.mask_frac > 0 else None,
            masks=torch.cat(view_masks) if view_masks and config.silhouette_weight > 0 else None,
            global_branch_scale=global_scale,
            local_branch_scale=local_scale,
        )

    def _take(self, rows: np.ndarray, place: torch.device) -> tuple[Tensor, Tensor | None]:
        """Load images and, where stored, their masks.

        Args:
            rows: (B,) int64.
            place: device of the result.

        Returns:
            (B, 3, S, S) in [0, 1], and (B, 1, S, S) in [0, 1] or None.
        """
        values = self._pixels.take(rows).to(place).permute(0, 3, 1, 2).float() / 255
        return values[:, :3], values[:, 3:] if values.shape[1] > 3 else None

    def _backgrounds(
        self, step: int, rows: np.ndarray, mine: slice, images: Tensor, masks: Tensor | None
    ) -> Iterator[Tensor]:
        """Yield the images that each view is cut from, with the background changed where configured.

        Args:
            step: from 0.
            rows: images of the global batch.
            mine: this worker's part of them.
            images: (B, 3, S, S) this worker's images.
            masks: (B, 1, S, S) their masks, or None.
        """
        config = self._config
        if masks is None or config.background == "keep":
            yield from (images for _ in range(self._num_views))
            return
        # "ground" names the seed: renaming it would draw other backgrounds.
        generator = torch.Generator().manual_seed(self._seed_of("ground", step))
        noise = torch.rand(len(rows), self._num_views, 2, generator=generator)[mine]
        others = None
        if config.background == "swap":
            # Every animal is put on the background of another image, a fixed distance further in the global batch.
            shift = int(torch.randint(1, len(rows), (), generator=generator))
            other_images, other_masks = self._take(np.roll(rows, -shift)[mine], images.device)
            assert other_masks is not None
            others = remove_animal(other_images, other_masks)
        for number in range(self._num_views):
            yield replace_background(images, masks, others, noise[:, number], config.advanced.background_share)

    def _hidden(self, step: int, mine: slice, view_masks: list[Tensor], place: torch.device) -> Tensor:
        """Draw this worker's hidden patches, a configured share of them on the animal.

        Args:
            step: from 0.
            mine: this worker's images of the global batch.
            view_masks: (B, 1, S, S) masks of the two global views; empty where they are not needed.
            place: device of the result.

        Returns:
            (2 B, P) bool.
        """
        config, inside = self._config.advanced, None
        if view_masks and config.mask_inside > 0:
            inside = torch.stack([patches_on_animal(masks, self._grid) for masks in view_masks])
        hidden = draw_masks(
            self._seed_of("masks", step),
            self._config.batch_size,
            self._grid,
            config.mask_frac,
            mine=mine,
            inside=inside,
            inside_share=config.mask_inside,
        )
        return hidden.flatten(0, 1).to(place)

    def _branch_scales(self, step: int, mine: slice, place: torch.device) -> tuple[Tensor | None, Tensor | None]:
        """Draw stochastic depth for this worker's views.

        Args:
            step: from 0.
            mine: this worker's images of the global batch.
            place: device of the result.

        Returns:
            `Batch.global_branch_scale` and `Batch.local_branch_scale`.
        """
        config, rate = self._config, self._config.advanced.drop_path
        if rate == 0:
            return None, None
        seed = self._seed_of("drop_path", step)
        drawn = draw_branch_scale(seed, config.batch_size, self._num_views, self._num_branches, rate)
        by_view = drawn[mine].transpose(0, 1).to(place)
        return by_view[:2].flatten(0, 1), by_view[2:].flatten(0, 1) if config.num_local else None

    def _seed_of(self, choice: str, step: int) -> int:
        return seed_for(self._seed, f"finetune.{choice}", str(step))
