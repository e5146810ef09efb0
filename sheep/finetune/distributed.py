"""How several workers of one training agree; whoever runs them (Ray Train) hands in the mean over all."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sheep.errors import ConfigError

AllReduce = Callable[[Tensor], Tensor]
"""Mean over the workers; the identity for one. Returns a tensor of the same shape and need not be differentiable."""


def identity(tensor: Tensor) -> Tensor:
    """Mean over one worker."""
    return tensor


@dataclass(frozen=True, kw_only=True)
class Workers:
    """Which of how many workers this is, and how they agree."""

    rank: int = 0
    world: int = 1
    all_reduce: AllReduce = identity
    device: torch.device | str = "cpu"
    """Where the tensors lie that they exchange."""

    def share(self, batch_size: int) -> slice:
        """This worker's part of a global batch.

        Raises:
            ConfigError: it does not divide.
        """
        if batch_size % self.world:
            raise ConfigError(
                f"finetune: got batch_size {batch_size} and {self.world} workers, expected a multiple: every worker takes as many images. "
                "Change finetune.batch_size or finetune.workers."
            )
        each = batch_size // self.world
        return slice(self.rank * each, (self.rank + 1) * each)

    def from_first(self, values: list[float]) -> list[float]:
        """Give every worker the first one's values, the same bits on all; the others hand in as many of anything."""
        mine = torch.tensor(values, dtype=torch.float64, device=self.device) * self.world
        found: list[float] = self.all_reduce(mine if self.rank == 0 else torch.zeros_like(mine)).tolist()
        return found

    def flags(self, mine: Tensor) -> Tensor:
        """This worker's bool flag at its own place of (world,) float32, 0 elsewhere: after the mean over workers all know who raised one."""
        flags = torch.zeros(self.world, device=mine.device)
        flags[self.rank] = mine.float()
        return flags


def raised(flags: Tensor) -> list[int]:
    """Ranks whose flag was up, of `Workers.flags` after the mean over workers."""
    return [rank for rank, value in enumerate(flags.tolist()) if value > 0]
