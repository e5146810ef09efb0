"""What a person sees of a run, and what goes to the log file instead."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sheep.io import progress
from sheep.io.progress import Display

ROOT = Path(__file__).parents[3]


class Clock:
    """Time that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_at_most_one_line_in_ten_seconds_and_always_the_last() -> None:
    stream, clock = io.StringIO(), Clock()
    display = Display(stream, clock)
    display.start("embed")
    for done in range(1, 101):
        clock.now = float(done)
        display.update(done, 100, "videos", "3.0 rows/s")
    lines = stream.getvalue().splitlines()
    assert lines[0] == "[   0 s] stage 3 of 7 embed"
    assert lines[1] == "[  10 s] stage 3 of 7 embed: 10/100 videos, 10 %, 3.0 rows/s, 1 min 30 s left"
    assert lines[-1] == "[1 min 40 s] stage 3 of 7 embed: 100/100 videos, 100 %, 3.0 rows/s"
    assert len(lines) == 11


def test_a_terminal_has_one_live_line_and_keeps_what_is_final() -> None:
    stream = Terminal()
    display = Display(stream, Clock())
    display.start("crop")
    display.update(1, 2, "videos")
    display.update(2, 2, "videos")
    kept = [piece for piece in stream.getvalue().split("\n") if piece]
    assert len(kept) == 2  # the stage, and its end; 1/2 was written over
    assert "1/2" in kept[1].split("\r")[1]
    assert "2/2 videos, 100 %" in kept[1].split("\r")[2]


def test_notes_are_said_at_once_and_at_the_end() -> None:
    stream = io.StringIO()
    display = Display(stream, Clock())
    for _ in range(2):
        display.note("crop: 1 of 3 videos could not be used; x/errors.csv says why")
    display.end("x.log")
    assert stream.getvalue().count("errors.csv says why") == 2
    assert stream.getvalue().splitlines()[-1].endswith("the log is x.log")


def test_without_a_display_nothing_is_written(capfd: pytest.CaptureFixture[str]) -> None:
    with progress.stage("crop"), progress.heartbeat("a step"):
        progress.current().update(1, 1, "videos")
    assert capfd.readouterr() == ("", "")


PROGRAM = """
import logging, os, subprocess, sys, warnings
from sheep.io import logs, progress
with progress.shown(sys.argv[1]):
    logs.setup()
    print("a library on stdout")
    warnings.warn("a library's warning")
    os.write(2, b"C++ on stderr\\n")
    subprocess.run(["echo", "another process"], check=True)
    logging.getLogger("sheep.x").info("ours")
    logging.getLogger("sheep.x").warning("ours, and it matters")
    progress.current().start("crop")
    if len(sys.argv) > 2:
        raise RuntimeError("unexpected")
print("the result")
"""


def test_what_libraries_print_goes_to_the_log(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "a.log"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(log)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "the result\n"
    shown = done.stderr.splitlines()
    assert [line.split("] ")[1] for line in shown[:2]] == ["warning: ours, and it matters", "stage 1 of 7 crop"]
    assert shown[2].endswith(f"the log is {log}")
    assert len(shown) == 3
    written = log.read_text()
    for text in ("a library on stdout", "a library's warning", "C++ on stderr", "another process", "x ours", "matters"):
        assert text in written


def test_an_unexpected_error_is_not_hidden_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(log), "x"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "RuntimeError: unexpected" in done.stderr
    assert done.stdout == ""
    assert os.path.getsize(log)
