"""Exchange between the workers of one training. The executor (Ray Train) supplies the mean over workers."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sheep.errors import ConfigError

AllReduce = Callable[[Tensor], Tensor]
"""Mean over the workers; returns a tensor of the same shape and need not be differentiable."""


def mean_of_one(tensor: Tensor) -> Tensor:
    """Mean over a single worker: the tensor itself."""
    return tensor


@dataclass(frozen=True, kw_only=True)
class Workers:
    """This worker's rank, the number of workers, and how they exchange tensors."""

    rank: int = 0
    """0 to world - 1."""
    world: int = 1
    """Number of workers; >= 1."""
    all_reduce: AllReduce = mean_of_one
    device: torch.device | str = "cpu"
    """Device of the tensors that are exchanged."""

    def share(self, batch_size: int) -> slice:
        """This worker's part of a global batch.

        Raises:
            ConfigError: the batch cannot be divided evenly.
        """
        if batch_size % self.world:
            raise ConfigError(
                f"finetune.batch_size: got {batch_size} with {self.world} workers, expected a multiple: every worker "
                "processes the same number. Change finetune.batch_size or finetune.workers."
            )
        each = batch_size // self.world
        return slice(self.rank * each, (self.rank + 1) * each)

    def broadcast(self, values: list[float]) -> list[float]:
        """Return the values of rank 0 on every worker, bit for bit; other ranks pass a list of the same length."""
        mine = torch.tensor(values, dtype=torch.float64, device=self.device) * self.world
        received: list[float] = self.all_reduce(mine if self.rank == 0 else torch.zeros_like(mine)).tolist()
        return received

    def flags(self, mine: Tensor) -> Tensor:
        """Place this worker's bool scalar at its rank.

        Returns:
            (world,) float32, 0 elsewhere; its mean over workers shows which ranks raised a flag (`raised_by`).
        """
        flags = torch.zeros(self.world, device=mine.device)
        flags[self.rank] = mine.float()
        return flags


def raised_by(flags: Tensor) -> list[int]:
    """Ranks that raised their flag, from the mean of `Workers.flags` over workers."""
    return [rank for rank, value in enumerate(flags.tolist()) if value > 0]
