"""Logging set up once per process, by jobs and workers only; the library itself never configures it."""

import logging
import sys


def setup(level: int = logging.INFO) -> None:
    """Send log lines to stderr, so that stdout carries only results another program can read.

    Args:
        level: threshold for `sheep` and `jobs`; everything else logs from WARNING.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(name)s %(message)s", "%H:%M:%S"))
    for name in ("sheep", "jobs"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
