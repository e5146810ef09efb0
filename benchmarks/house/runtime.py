"""What a run shows and reads: the log of `make demo`, and the object reads of a finished study."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.house.checkout import Measure

MAX_LINES = 60
TIMEOUT_S = 600
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
FIRST_TABLE_ROW = re.compile(r"^\s+without: ")
FOREIGN = (
    ("NaN or Inf", r"NaN or Inf"),
    ("weight bars", r"(?:Loading weights|Writing model shards):.*%"),
    ("FutureWarning", r"FutureWarning"),
    ("error lines", r"\[E\]| E "),
)

# Runs beside a copy of `runs`, in a process of its own. Audit events see every open() of Python, whichever library
# calls it; C libraries that open files themselves (PyAV) are not seen.
PROBE = """
import collections, json, os, runpy, sys
result, store = sys.argv[1], os.path.realpath("runs") + os.sep
reads, listings = collections.Counter(), collections.Counter()
def watch(event, values):
    if event in ("open", "os.scandir", "os.listdir") and isinstance(values[0], (str, bytes)):
        path = os.path.realpath(os.fsdecode(values[0]))
        if path.startswith(store) and event != "open":
            listings[path[len(store):]] += 1
        elif path.startswith(store) and isinstance(values[1], str) and not set(values[1]) & set("wax+"):
            reads[path[len(store):]] += 1
sys.addaudithook(watch)
sys.argv = ["jobs.study", "meadow", "--out", "runs/study"]
try:
    runpy.run_module("jobs.study", run_name="__main__", alter_sys=True)
finally:
    with open(result, "w") as file:
        json.dump({"reads": reads, "listings": listings}, file)
"""


def demo_log(log: Path) -> list[Measure]:
    """Count the lines of a log of `make demo` before its tables, and those that come from libraries.

    Each redraw of a progress bar (a carriage return) counts as a line, as it does in a file.

    Args:
        log: what `make demo` printed, stdout and stderr together.

    Raises:
        ValueError: the log holds no table, so the demo did not finish.
    """
    lines = re.split(r"\r\n|\r|\n", ANSI.sub("", log.read_bytes().decode(errors="replace")))
    first = next((number for number, line in enumerate(lines) if FIRST_TABLE_ROW.match(line)), None)
    if first is None:
        raise ValueError(f"--demo-log {log}: expected a table (a line that starts with 'without:'), found none")
    before = lines[: first - 1]  # the table's title is above that row
    total = Measure("demo: lines before the tables", str(len(before)), f"<= {MAX_LINES}", len(before) <= MAX_LINES)
    return [total, *(_foreign(name, pattern, before) for name, pattern in FOREIGN)]


def object_reads(root: Path) -> list[Measure]:
    """Repeat `python -m jobs.study meadow --out runs/study` on a finished study and count what its driver reads.

    The study is copied first, because a second run writes the report again.

    Args:
        root: a checkout in which `make demo` has finished; its own code runs, with this interpreter.

    Raises:
        ValueError: the study is not finished, or the command fails.
    """
    if not (root / "runs/study/report").is_dir():
        raise ValueError(f"--reads: expected a finished study in {root}/runs/study; run `make demo` there first")
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "reads.json"
        for name in ("meadow", "study"):
            shutil.copytree(root / "runs" / name, Path(folder) / "runs" / name)
        command = [sys.executable, "-c", PROBE, str(result)]
        env = {**os.environ, "PYTHONPATH": str(root)}  # before an installed version of the project
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, env=env)
        if done.returncode:
            raise ValueError(f"--reads: the study in {root} ended with {done.returncode}: {done.stderr[-500:]}")
        counts = json.loads(result.read_text())
    return summary(counts["reads"], counts["listings"])


def summary(reads: dict[str, int], listings: dict[str, int]) -> list[Measure]:
    """Turn counts by path, relative to `runs`, into measures."""
    total, distinct = sum(reads.values()), len(reads)
    most = sorted(reads, key=lambda path: (-reads[path], path))
    shown = tuple(f"{reads[path]} x {path}" for path in most[:10])
    annotations = {path: count for path, count in reads.items() if path.split(os.sep)[1:2] == ["annotations"]}
    each = f"{len(annotations)} / {max(annotations.values(), default=0)}"
    videos = max((count for path, count in listings.items() if path.endswith(os.sep + "videos")), default=0)
    name = "finished study: object reads / distinct objects"
    return [
        Measure(name, f"{total} / {distinct}", "each once", total == distinct, shown),
        Measure(
            "finished study: annotation files / most reads of one", each, "1", max(annotations.values(), default=0) <= 1
        ),
        Measure("finished study: listings of the videos", str(videos), "1", videos <= 1),
    ]


def _foreign(name: str, pattern: str, lines: list[str]) -> Measure:
    found = tuple(line[:100] for line in lines if re.search(pattern, line))
    return Measure(f"demo: {name}", str(len(found)), "0", not found, found[:1])
