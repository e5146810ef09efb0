"""Logging set up once per process, by jobs and workers only; the library itself never configures it."""

import logging
import sys

from sheep.io import progress


class _ToDisplay(logging.Handler):
    """Shows warnings of ours to the person as well; everything is in the log."""

    def emit(self, record: logging.LogRecord) -> None:
        progress.current().warn(record.getMessage())


def setup(level: int = logging.INFO) -> None:
    """Send log lines to stderr, so that stdout carries only results another program can read.

    Args:
        level: threshold for `sheep` and `jobs`; everything else logs from WARNING.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(name)s %(message)s", "%H:%M:%S"))
    shown = _ToDisplay(logging.WARNING)
    for name in ("sheep", "jobs"):
        logger = logging.getLogger(name)
        logger.handlers = [handler, shown]
        logger.setLevel(level)
        logger.propagate = False
