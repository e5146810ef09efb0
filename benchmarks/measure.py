"""Helpers of the benchmarks; not a benchmark."""

import multiprocessing
import os
import platform
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import ParamSpec, TypeVar

Params = ParamSpec("Params")
Result = TypeVar("Result")


def print_machine(*packages: str, settings: str = "") -> None:
    """Print platform, package versions, cores and load, and warn if another process is busy.

    Args:
        packages: names of packages whose versions matter.
        settings: of this run, printed at the end.
    """
    load = os.getloadavg()[0]
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    print(f"{platform.platform()}, Python {platform.python_version()}, {versions}")
    print(f"{os.cpu_count()} cores, load {load:.1f} at the start{'; ' if settings else ''}{settings}")
    if load > 0.5:
        print("Another process is running: the figures below are from a busy machine.")


def resident_mib(field: str, process: int | str = "self") -> float:
    """Read a process's resident memory. getrusage is not an alternative: a process inherits its figure from its parent.

    Args:
        field: VmRSS (now) or VmHWM (peak).
        process: its id.

    Returns:
        MiB.

    Raises:
        OSError: no such process, or not Linux.
    """
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    if found is None:
        raise OSError(f"/proc/{process}/status: no {field}, expected it on Linux while the process runs")
    return int(found[1]) / 1024


def in_process(work: Callable[Params, Result], *args: Params.args, **kwargs: Params.kwargs) -> Result:
    """Call a module's function in a new process, so that its memory and threads are its own.

    Args:
        work: the function.
        args: its arguments.
        kwargs: its keyword arguments.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *args, **kwargs).result()


def exhaust(items: Iterable[object]) -> None:
    """Iterate to the end."""
    for _ in items:
        pass
