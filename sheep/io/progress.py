"""What a person sees of a run: which stage, how far, how fast, how long still; and everything else in a log file.

Stages report to `current()`, which is silent until a command line sets a display (`shown`). On a terminal that is one
live line, in a log file plain lines, at most one in ten seconds for a stage.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TextIO

STAGES = ("crop", "finetune", "embed", "search", "predict", "compare", "report")
"""In the order of the data."""
EVERY_S = 10.0
"""Least time between two lines of a stage in a log."""


@dataclass
class Display:
    """Where progress goes. Without a stream it goes nowhere."""

    stream: TextIO | None = None
    clock: Callable[[], float] = time.monotonic
    notes: list[str] = field(default_factory=list)
    """What has to be said at the end as well."""

    def __post_init__(self) -> None:
        self._started = self._stage_started = self._last_line = self.clock()
        self._stage = ""
        self._live = self.stream is not None and self.stream.isatty()
        self._lock = threading.Lock()

    def start(self, name: str) -> None:
        """Begin a stage."""
        self._stage_started = self.clock()
        number = f"stage {STAGES.index(name) + 1} of {len(STAGES)} " if name in STAGES else ""
        self._stage = f"{number}{name}"
        self._line(self._stage, force=True)

    def update(self, done: int, total: int, what: str, rate: str = "") -> None:
        """Tell how far a stage is.

        Args:
            done: finished units, 0 to total.
            total: all units that are due.
            what: what they are called, in the plural.
            rate: speed in words, e.g. `22.1 rows/s`.
        """
        taken = self.clock() - self._stage_started
        left = f", {_duration(taken / done * (total - done))} left" if 0 < done < total else ""
        speed = f", {rate}" if rate else ""
        self._line(
            f"{self._stage}: {done}/{total} {what}, {100 * done // max(total, 1)} %{speed}{left}", force=done == total
        )

    def working(self, what: str) -> None:
        """Tell that a step without countable units is still running."""
        self._line(f"{self._stage}: {what}, {_duration(self.clock() - self._stage_started)} so far")

    def note(self, text: str) -> None:
        """Say something now and once more at the end, e.g. where the unusable videos are listed."""
        if text not in self.notes:
            self.notes.append(text)
            self._line(text, force=True)

    def warn(self, text: str) -> None:
        """Show a warning now; it is not repeated at the end."""
        self._line(f"warning: {text}", force=True)

    def end(self, log_file: str) -> None:
        """Say the notes and where the log is."""
        for text in self.notes:
            self._line(text, force=True)
        self._line(f"{_duration(self.clock() - self._started)} in all; the log is {log_file}", force=True)

    def _line(self, text: str, *, force: bool = False) -> None:
        if self.stream is None:
            return
        with self._lock:
            now = self.clock()
            if not force and not self._live and now - self._last_line < EVERY_S:
                return
            self._last_line = now
            line = f"[{_duration(now - self._started):>6}] {text}"
            # A forced line stays on the terminal; the others are written over.
            self.stream.write(f"\r\x1b[K{line}{chr(10) if force else ''}" if self._live else f"{line}\n")
            self.stream.flush()


_current = Display()


def current() -> Display:
    """Return the display of this process; silent where none was set."""
    return _current


@contextlib.contextmanager
def stage(name: str) -> Iterator[None]:
    """Name the stage that runs in this block."""
    _current.start(name)
    yield


@contextlib.contextmanager
def heartbeat(what: str) -> Iterator[None]:
    """Show that the step in this block is still running, for one whose parts cannot be counted here."""
    stopped = threading.Event()

    def beat() -> None:
        while not stopped.wait(1.0):
            _current.working(what)

    thread = threading.Thread(target=beat, name="sheep-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


@contextlib.contextmanager
def shown(log_file: str) -> Iterator[Display]:
    """Show progress on stderr, and send what libraries print on stdout or stderr, workers included, to a file.

    stdout and stderr are redirected as file descriptors, because much of that text comes from C++ or other processes.

    Args:
        log_file: local path; appended to.

    Yields:
        The display, until the block ends; then both streams are back.
    """
    global _current
    before = _current
    sys.stdout.flush()
    sys.stderr.flush()
    os.makedirs(os.path.dirname(log_file) or ".", exist_ok=True)
    kept = [os.dup(number) for number in (1, 2)]
    with open(log_file, "a") as file, os.fdopen(os.dup(2), "w") as terminal:
        try:
            for number in (1, 2):
                os.dup2(file.fileno(), number)
            _current = Display(terminal)
            yield _current
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, descriptor in zip((1, 2), kept, strict=True):
                os.dup2(descriptor, number)
                os.close(descriptor)
            _current.end(log_file)
            _current = before


def _duration(seconds: float) -> str:
    """Seconds as `12 s`, `3 min 20 s` or `5 h 12 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
