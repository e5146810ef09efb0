"""The terminal of a job shows what a user needs, its stdout only the result, and its log file the rest."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

PROGRAM = """
import logging, os, subprocess, sys, time, warnings
from sheep.errors import ConfigError
from sheep.io import logs
from sheep.io.progress import Progress

def work():
    log, job = logging.getLogger("sheep.x"), Progress()
    print("a library on stdout")
    warnings.warn("a library's warning")
    os.write(2, b"C++ on stderr\\n")
    subprocess.run(["echo", "another process"], check=True)
    logging.getLogger("other").warning("another library")
    print("(Worker pid=1) 12:00:00 I sheep.crop.job a worker's news", file=sys.stderr)
    print("(Worker pid=1) 12:00:00 W sheep.crop.job a worker's warning", file=sys.stderr)
    print("(autoscaler +1m) Error: no node", file=sys.stderr)
    log.info("ours")
    log.debug("a detail")
    log.warning("1 of 2 videos could not be used", extra={"at_end": True})
    with job.stage("crop", 1, 7), job.task("crop", 2, "videos") as task:
        task.advance(1)
        time.sleep(1 if "slow" in sys.argv else 0)  # a live line is renewed twice a second
    if "fail" in sys.argv:
        raise RuntimeError("unexpected")
    return "the result"

def refused():
    raise ConfigError("a wrong setting")

logs.run_job("crop", sys.argv[1], refused if "refused" in sys.argv else work)
"""

SHOWN = [
    "(Worker pid=1) 12:00:00 W sheep.crop.job a worker's warning",
    "(autoscaler +1m) Error: no node",
    "T I sheep.x ours",
    "T W sheep.x 1 of 2 videos could not be used",
    "T stage 1 of 7 crop",
    "T stage 1 of 7 crop: done in 0:00, 0:00 elapsed",
]


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60
    )


def without_times(lines: list[str]) -> list[str]:
    return [re.sub(r"^\d\d:\d\d:\d\d ", "T ", line) for line in lines]


def test_the_terminal_the_result_and_the_log_file(tmp_path: Path) -> None:
    done = run(str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "the result\n")
    [log] = (tmp_path / "logs").iterdir()
    assert without_times(done.stderr.splitlines()) == [*SHOWN, "1 of 2 videos could not be used", f"log: {log}"]
    written = log.read_text()
    for text in (
        *("a library on stdout", "a library's warning", "C++ on stderr", "another process", "a worker's news"),
        *("a worker's warning", "I sheep.x ours", "D sheep.x a detail", "stage 1 of 7 crop: done"),
    ):
        assert text in written
    assert "50 %" not in written  # updates for a live display only


def test_an_unexpected_error_is_not_hidden_in_the_log_file(tmp_path: Path) -> None:
    done = run(str(tmp_path), "fail")
    assert (done.returncode, done.stdout) == (1, "")
    assert "RuntimeError: unexpected" in done.stderr
    assert f"log: {tmp_path}/logs/crop-" in done.stderr
    assert "1 of 2 videos could not be used" in done.stderr.split("log: ")[0].splitlines()[-1]


def test_a_refused_setting_leaves_no_files(tmp_path: Path) -> None:
    done = run(str(tmp_path / "a" / "b"), "refused")
    assert done.stderr.splitlines()[-1].endswith("ConfigError: a wrong setting")
    assert "log: " not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_study_on_remote_storage_logs_to_a_temporary_file() -> None:
    done = run("memory://study")
    path = Path(done.stderr.splitlines()[-1].removeprefix("log: "))
    assert "a library on stdout" in path.read_text()
    path.unlink()


def test_a_terminal_has_a_live_line(tmp_path: Path) -> None:
    driver, terminal = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), "slow"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=terminal,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "200"},
        timeout=60,
    )
    os.close(terminal)
    seen = b""
    with open(driver, "rb", buffering=0) as stream:
        try:
            while data := stream.read(4096):
                seen += data
        except OSError:  # a pseudo-terminal ends with this error
            pass
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    assert done.stdout == b"the result\n"
    assert "1/2 videos" in text
    assert "elapsed" in text
    kept = without_times([line for line in re.split(r"[\r\n]+", text) if line])
    for line in (*SHOWN[:4], "T stage 1 of 7 crop: done in 0:01, 0:01 elapsed", "1 of 2 videos could not be used"):
        assert line in kept
    assert "T stage 1 of 7 crop" not in kept  # the live line shows that


@pytest.mark.parametrize("level", ["INFO", "WARNING"])
def test_workers_log_to_stderr(level: str) -> None:
    code = f"import logging; from sheep.io import logs; logs.setup(logging.{level}); " + (
        "logging.getLogger('sheep.x').info('news'); logging.getLogger('sheep.x').warning('trouble')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert ("I sheep.x news" in done.stderr) == (level == "INFO")
    assert "W sheep.x trouble" in done.stderr
