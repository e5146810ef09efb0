"""Two trainings in two threads that agree as workers do."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sheep.errors import ContractError
from sheep.finetune import trainer


class Exchange:
    """Mean over threads that take part in turn."""

    def __init__(self, world: int) -> None:
        self.barrier = threading.Barrier(world, timeout=60)
        self.parts: list[Tensor] = [torch.empty(0)] * world

    def of(self, rank: int) -> Callable[[Tensor], Tensor]:
        def all_reduce(tensor: Tensor) -> Tensor:
            self.parts[rank] = tensor.detach().clone()
            self.barrier.wait()
            mean = torch.stack(self.parts).mean(dim=0)
            self.barrier.wait()
            return mean

        return all_reduce


def fit_as_two(monkeypatch: pytest.MonkeyPatch, fit: Callable[..., Any]) -> list[Exception | None]:
    """Run `fit(rank=, world=, all_reduce=)` in two threads.

    Returns:
        What each rank ended with: an error, or None.
    """
    exchange, lock, make_pair = Exchange(2), threading.Lock(), trainer.make_pair
    ends: list[Exception | None] = [None, None]

    def in_turn(*values: Any) -> Any:
        # transformers patches modules while it loads, which two threads must not do at once; two processes may.
        with lock:
            return make_pair(*values)

    def worker(rank: int) -> None:
        try:
            fit(rank=rank, world=2, all_reduce=exchange.of(rank))
        except ContractError as error:  # both agree on it, and the other may not have left the barrier yet
            ends[rank] = error
        except Exception as error:
            ends[rank] = error
            exchange.barrier.abort()  # or the other would wait for a minute

    with monkeypatch.context() as patched:
        patched.setattr(trainer, "make_pair", in_turn)
        threads = [threading.Thread(target=worker, args=(rank,)) for rank in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return ends
