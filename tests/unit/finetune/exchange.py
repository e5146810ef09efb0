"""Two trainings in two threads, which exchange tensors as two workers do."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sheep.errors import ContractError
from sheep.finetune import networks


class Exchange:
    """A mean over threads, in place of torch.distributed."""

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


def train_as_two(monkeypatch: pytest.MonkeyPatch, train: Callable[..., Any]) -> list[Exception | None]:
    """Run `train(rank=, world=, all_reduce=)` in two threads.

    Returns:
        The error of each rank, or None.
    """
    exchange, lock, make_pair = Exchange(2), threading.Lock(), networks.make_pair
    ends: list[Exception | None] = [None, None]

    def in_turn(*values: Any) -> Any:
        # transformers patches modules during loading: safe in two processes, not in two threads.
        with lock:
            return make_pair(*values)

    def worker(rank: int) -> None:
        try:
            train(rank=rank, world=2, all_reduce=exchange.of(rank))
        except ContractError as error:  # raised by both ranks; the other may not have left the barrier yet
            ends[rank] = error
        except Exception as error:
            ends[rank] = error
            exchange.barrier.abort()  # the other thread would wait until the barrier times out

    with monkeypatch.context() as patched:
        patched.setattr("sheep.finetune.trainer.make_pair", in_turn)
        threads = [threading.Thread(target=worker, args=(rank,)) for rank in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return ends
