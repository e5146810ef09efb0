"""Prefetch: a thread produces the next items while the caller works on the current one.

Decoding (`sheep.video.reader`), SAM-2's image encoder (`sheep.models.sam2.tracker`) and fine-tuning's batches
(`sheep.finetune.trainer`) all use `prefetch`. It changes when items are produced, never the items.
"""

import contextlib
import queue
import sys
import threading
from collections.abc import Callable, Generator, Iterable
from typing import Generic, TypeVar

from sheep.errors import ContractError

Item = TypeVar("Item")

STEPS_DEPTH = 2
"""How many steps ahead of its consumer `StepPrefetcher` produces (docs/decisions.md)."""


class _End:
    """Marks the end of the items."""


class _Failed:
    """Holds the error that ended production, for the consumer."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def prefetch(items: Iterable[Item], depth: int, *, name: str) -> Generator[Item, None, None]:
    """Iterate over items in a thread of its own, in order and at most `depth` items ahead of the consumer.

    The thread starts when the first item is requested. Closing or dropping the returned generator stops the thread
    after the item in production and closes `items` in that thread. The thread is a daemon, so it does not delay the end
    of a program.

    Args:
        items: what to iterate over. With depth >= 1 only the thread touches it.
        depth: items that may wait or be in production at any time; 0 iterates in the caller's thread.
        name: of the thread, shown by debuggers.

    Yields:
        The items, in order.

    Raises:
        BaseException: whatever iterating over `items` raises, after all items before it were yielded.
    """
    if depth < 1:
        yield from items
        return
    ready: queue.Queue[Item | _Failed | _End] = queue.Queue()
    room, stopped = threading.Semaphore(depth), threading.Event()
    thread = threading.Thread(target=_produce, args=(items, ready, room, stopped), name=name, daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), _End):
            if isinstance(item, _Failed):
                raise item.error
            room.release()
            yield item
            del item  # keeps no image or batch alive while waiting for the next
    finally:
        stopped.set()
        room.release()
        if not sys.is_finalizing():  # at exit daemon threads are frozen, and join would never return
            thread.join()


def _produce(
    items: Iterable[Item],
    ready: "queue.Queue[Item | _Failed | _End]",
    room: threading.Semaphore,
    stopped: threading.Event,
) -> None:
    iterator = iter(items)
    try:
        # A generator is closed by the thread that runs it, so that its files are closed there too.
        with contextlib.closing(iterator) if isinstance(iterator, Generator) else contextlib.nullcontext():
            while True:
                room.acquire()
                if stopped.is_set():
                    return
                ready.put(next(iterator))
    except StopIteration:
        ready.put(_End())
    except BaseException as error:  # of any kind: it belongs to the consumer, not to this thread
        ready.put(_Failed(error))


class StepPrefetcher(Generic[Item]):
    """Returns `make(step)` for consecutive steps, prefetched; any other step starts again from there."""

    def __init__(self, make: Callable[[int], Item], stop: int) -> None:
        """Set up; the thread starts at the first `take`.

        Args:
            make: called for one step after another, in order, never by two threads at the same time. Its result may
                depend on the step only: a step may be made early, or again after a roll-back.
            stop: number of the first step that is not made.
        """
        self._make, self._stop = make, stop
        self._items: Generator[Item, None, None] | None = None
        self._next = -1

    def take(self, step: int) -> Item:
        """Return a step's item.

        Args:
            step: one after the last step taken, or any other to start again from there; below `stop`.

        Raises:
            ContractError: `step` is not below `stop`.
            Exception: whatever `make` raised for this step. The same step may be taken again.
        """
        if step >= self._stop:
            raise ContractError(
                f"prefetch: got step {step}, expected one below {self._stop}. This is a bug: report it."
            )
        if self._items is None or step != self._next:
            self.close()
            made = (self._make(number) for number in range(step, self._stop))
            self._items = prefetch(made, STEPS_DEPTH, name="sheep-steps")
        self._next = step + 1
        try:
            return next(self._items)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop the thread and drop prefetched items. `take` may follow."""
        if self._items is not None:
            self._items.close()
            self._items = None
