"""Where a process writes its log lines. Jobs and workers call this once; the rest of the library configures no logging.

A job's terminal shows our own lines and its progress; its stdout holds the result alone. All other text of the process
and its workers, such as library warnings, download bars and Ray's own lines, goes to a log file:

    stdout     the result, once the job is done
    terminal   our lines from INFO up, our workers' from WARNING up, the autoscaler's; progress, live or in plain lines
    log file   all of these, our workers' lines from INFO up, and whatever any library writes to stdout or stderr
"""

import contextlib
import io
import logging
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from fsspec.implementations.local import LocalFileSystem

from sheep.io import storage
from sheep.io.progress import Snapshot, clock

OURS = ("sheep", "jobs")

_PASSED_ON = re.compile(rf"\d\d:\d\d:\d\d [WEC] (?:{'|'.join(OURS)})\b|\(autoscaler [+]|memory pressure")
"""Lines of workers that the terminal shows: our warnings, resources the cluster waits for, workers killed for
memory."""

_RAY = {"RAY_DEDUP_LOGS": "0", "RAY_COLOR_PREFIX": "0"}
"""Keeps the log file complete and free of colour codes; Ray reads this when it is imported."""


def setup(level: int = logging.INFO) -> None:
    """Send our log lines to stderr, so that stdout carries only results that another program can read.

    Args:
        level: threshold for our own loggers; everything else logs from WARNING.
    """
    _install([_formatted(logging.StreamHandler(sys.stderr))], level)


def run_job(name: str, out: str, work: Callable[[], str]) -> None:
    """Run a job and print its result on stdout; all other text goes to a log file, whose path is printed last.

    Records logged with `extra={"at_end": True}` are shown again at the end. An empty log file is removed, so that a
    setting refused at the start leaves nothing behind.

    Args:
        name: the job's name, part of the file's.
        out: the study's folder. On a local disk the log file is written to its `logs/`, else to a temporary folder.
        work: returns the result.

    Raises:
        Exception: whatever `work` raises, after the log file is closed and named.
    """
    for variable, value in _RAY.items():
        os.environ.setdefault(variable, value)
    made, path = _log_path(name, out)
    shown: list[str] = []
    try:
        with open(path, "a", encoding="utf-8", errors="replace", buffering=1) as file, _captured(file, shown):
            result = work()
        sys.stdout.write(f"{result}\n")
        sys.stdout.flush()
    finally:
        for text in shown:
            sys.stderr.write(f"{text}\n")
        if path.stat().st_size:
            sys.stderr.write(f"log: {path}\n")
        else:
            path.unlink()
            for folder in made:
                folder.rmdir()


@contextlib.contextmanager
def _captured(file: TextIO, shown: list[str]) -> Iterator[None]:
    """Redirect stdout and stderr to a file, for C++ code too, and our log lines and progress to the former stderr.

    Args:
        file: receives all text.
        shown: receives what is shown again at the end.
    """
    before = sys.stdout, sys.stderr
    for stream in before:
        stream.flush()
    kept = [os.dup(number) for number in (1, 2)]
    with os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace", buffering=1) as terminal:
        screen = _Live(terminal, shown) if terminal.isatty() else _Screen(terminal, shown)
        written = _formatted(logging.StreamHandler(file))
        written.addFilter(lambda record: record.levelno >= logging.INFO or not hasattr(record, "progress"))
        try:
            for number in (1, 2):
                os.dup2(file.fileno(), number)
            sys.stdout = sys.stderr = _Passing(file, screen)
            _install([screen, written], logging.DEBUG)
            yield
        finally:
            _install([], logging.INFO)
            screen.close()
            sys.stdout, sys.stderr = before
            for number, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, number)
                os.close(copy)


class _Screen(logging.Handler):
    """Log lines and progress, in plain lines."""

    def __init__(self, terminal: TextIO, shown: list[str]) -> None:
        super().__init__(logging.INFO)
        self._terminal, self._shown = terminal, shown
        _formatted(self)

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "at_end", False):
            self._shown.append(record.getMessage())
        snapshot: Snapshot | None = getattr(record, "progress", None)
        if snapshot is None:
            if record.levelno >= logging.INFO:
                self.show(self.format(record))
        else:
            self.tell(snapshot, is_due=record.levelno >= logging.INFO)

    def tell(self, snapshot: Snapshot, is_due: bool) -> None:
        """Show progress.

        Args:
            snapshot: how far the job is.
            is_due: whether a plain line is due.
        """
        if is_due:
            self.show(f"{time.strftime('%H:%M:%S')} {snapshot}")

    def show(self, text: str) -> None:
        """Write one line."""
        self._terminal.write(f"{text}\n")


class _Live(_Screen):
    """As `_Screen`, but progress is one line below the others that is updated in place."""

    def __init__(self, terminal: TextIO, shown: list[str]) -> None:
        from rich.console import Console  # needed on a terminal only
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        super().__init__(terminal, shown)
        self.setLevel(logging.DEBUG)
        columns = ("{task.description}", "{task.percentage:>3.0f} %", "{task.fields[words]}")
        stage, percent, words = (TextColumn(text, markup=False) for text in columns)
        elapsed = (TimeElapsedColumn(), TextColumn("elapsed"))
        self._bar = Progress(
            *(stage, BarColumn(20), percent, words, *elapsed),
            console=Console(file=terminal),
            transient=True,
            refresh_per_second=2,
            redirect_stdout=False,  # both lead to the log file
            redirect_stderr=False,
        )
        self._task = self._bar.add_task("", total=None, words="")
        self._bar.start()

    def tell(self, snapshot: Snapshot, is_due: bool) -> None:
        """Update the live line; the end of a stage leaves a plain line above it.

        Args:
            snapshot: how far the job is.
            is_due: whether a plain line is due.
        """
        if snapshot.event == "end":
            super().tell(snapshot, is_due)
        words = [f"{snapshot.done:.0f}/{snapshot.total:.0f} {snapshot.unit}"] if snapshot.total else []
        words += [f"{snapshot.rate:.3g} {snapshot.rate_unit}/s"] if snapshot.rate == snapshot.rate else []
        words += [f"{clock(snapshot.left_s)} left"] if snapshot.left_s == snapshot.left_s else []
        self._bar.update(
            self._task,
            description=snapshot.stage,
            completed=snapshot.done,
            total=snapshot.total or None,
            words=", ".join(words),
        )

    def show(self, text: str) -> None:
        """Write one line above the live one."""
        self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        self._bar.stop()
        super().close()


class _Passing(io.TextIOBase):
    """Replaces stdout and stderr: all text goes to the log file, lines that match `_PASSED_ON` to the terminal too."""

    encoding = "utf-8"

    def __init__(self, file: TextIO, screen: _Screen) -> None:
        self._file, self._screen = file, screen
        self._line = ""

    def write(self, text: str) -> int:
        """Write text. After the job's end text is dropped: Ray's threads may still write then."""
        with self._screen.lock or contextlib.nullcontext():
            if not self._file.closed:
                self._file.write(text)
                *lines, self._line = (self._line + text).split("\n")
                for line in lines:
                    if _PASSED_ON.search(line):
                        self._screen.show(line)
        return len(text)

    def flush(self) -> None:
        """Do nothing: the file is line-buffered."""

    def isatty(self) -> bool:
        """Return False, so that libraries draw no bars and use no colours."""
        return False

    def fileno(self) -> int:
        """Return the log file's, for libraries that write around Python."""
        return self._file.fileno()


def _formatted(handler: logging.Handler) -> logging.Handler:
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(name)s %(message)s", "%H:%M:%S"))
    return handler


def _install(handlers: list[logging.Handler], level: int) -> None:
    for name in OURS:
        logger = logging.getLogger(name)
        logger.handlers = handlers
        logger.setLevel(level)
        logger.propagate = False


def _log_path(name: str, out: str) -> tuple[list[Path], Path]:
    """Choose the folder of the log file and create the file.

    Args:
        name: the job's name.
        out: the study's folder.

    Returns:
        The folders created for it, innermost first, and its path. A study's folder that cannot be written is refused
        later, where results are written to it.
    """
    file = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.log"
    fs, local = storage.filesystem(out)
    if isinstance(fs, LocalFileSystem):
        folder = Path(os.path.relpath(local) if Path(local).is_relative_to(os.getcwd()) else local, "logs")
        made = [one for one in (folder, *folder.parents) if not one.exists()]
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / file).touch()
            return made, folder / file
    handle, path = tempfile.mkstemp(prefix=f"sheep-{name}-", suffix=".log")
    os.close(handle)
    return [], Path(path)
