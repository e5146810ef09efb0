"""The next steps' batches, made by a thread while this step runs.

What a batch holds follows from (seed, step) alone, so making it early, late, or again after a roll-back changes
nothing.
"""

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")

DEPTH = 2
"""Batches that wait or are being made at most."""


class Ahead(Generic[Item]):
    """Hands out `make(step)` for step after step, the next ones made beforehand by one thread."""

    def __init__(self, make: Callable[[int], Item], stop: int) -> None:
        """Nothing starts before the first `take`.

        Args:
            make: called for one step after another, in order, never by two threads at once.
            stop: no step from here on is made.
        """
        self._make, self._stop = make, stop
        self._line: _Line[Item] | None = None

    def take(self, step: int) -> Item:
        """Return a step's batch; another than the next one begins anew from there.

        Raises:
            Exception: whatever `make` raised for this step.
        """
        if self._line is None or self._line.next != step:
            self.close()
            self._line = _Line(self._make, step, self._stop)
        try:
            return self._line.take()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the thread; what it has made is dropped. `take` may follow."""
        if self._line is not None:
            self._line.close()
            self._line = None


class _Line(Generic[Item]):
    """One thread and what it has ready, from a first step on."""

    def __init__(self, make: Callable[[int], Item], first: int, stop: int) -> None:
        self.next = first
        self._ready: queue.Queue[tuple[Item | None, Exception | None]] = queue.Queue()
        self._room = threading.Semaphore(DEPTH)
        self._closed = threading.Event()
        self._thread = threading.Thread(
            target=self._fill, args=(make, first, stop), name="finetune-batches", daemon=True
        )
        self._thread.start()

    def take(self) -> Item:
        item, error = self._ready.get()
        self._room.release()
        self.next += 1
        if error is not None:
            raise error
        return item  # type: ignore[return-value]  # None only beside an error

    def close(self) -> None:
        self._closed.set()
        self._room.release()
        self._thread.join()

    def _fill(self, make: Callable[[int], Item], first: int, stop: int) -> None:
        for step in range(first, stop):
            self._room.acquire()
            if self._closed.is_set():
                return
            try:
                self._ready.put((make(step), None))
            except Exception as error:  # handed over, raised where the batch is taken
                self._ready.put((None, error))
                return
