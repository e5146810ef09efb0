"""The progress of a job: its stage, the share that is done, the speed, and the estimated time left.

This module displays nothing. Each update is a log record of this module with a `Snapshot` attached. `sheep/io/logs.py`
turns these records into one live line on a terminal, or into plain lines in a log.
"""

import contextlib
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

log = logging.getLogger(__name__)

MIN_GAP_S = 10.0
"""Shortest time between two plain lines of a stage [s]."""
GAP_SHARE = 0.25
"""In a long stage the gap grows to this share of the stage's duration so far: an hour takes about 25 lines, not 360."""
MAX_GAP_S = 600.0
"""Longest time between two plain lines [s]."""

ProgressEvent = Literal["start", "tick", "end"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """The state of a stage at one moment."""

    event: ProgressEvent
    stage: str
    """What is running, as displayed, e.g. `stage 3 of 7 embed`."""
    elapsed_s: float
    """Since the job began; >= 0."""
    stage_s: float
    """Since the stage began; >= 0."""
    done: float = 0
    """Units of the present task that are done."""
    total: float = 0
    """Units of the present task; 0 before one begins."""
    unit: str = ""
    """What is counted, in the plural: videos, steps, trials."""
    rate: float = math.nan
    """Measured speed [`rate_unit` per second]; nan until it is known."""
    rate_unit: str = ""
    """What the speed counts: frames, rows, steps, trials."""
    left_s: float = math.nan
    """Estimated time to the end of the stage [s]; nan until it is known."""

    def __str__(self) -> str:
        """Return one plain line."""
        if self.event == "start":
            return self.stage
        if self.event == "end":
            return f"{self.stage}: done in {clock(self.stage_s)}, {clock(self.elapsed_s)} elapsed"
        words = [f"{self.stage}: {self.percent:.0f} % ({self.done:.0f} of {self.total:.0f} {self.unit})"]
        if not math.isnan(self.rate):
            words.append(f"{self.rate:.3g} {self.rate_unit}/s")
        if not math.isnan(self.left_s):
            words.append(f"{clock(self.left_s)} left")
        return ", ".join([*words, f"{clock(self.elapsed_s)} elapsed"])

    @property
    def percent(self) -> float:
        """Share of the present task that is done; 0 to 100."""
        return 100 * self.done / self.total if self.total else 0.0


class Task:
    """Some units of work, counted as they are done."""

    def __init__(self, stage: "_Stage", total: int, unit: str, rate_unit: str) -> None:
        """Begin with nothing done.

        Args:
            stage: the stage that the task is part of.
            total: units to do; >= 1.
            unit: what is counted, in the plural.
            rate_unit: what the speed counts.
        """
        self._stage, self._total, self._unit, self._rate_unit = stage, total, unit, rate_unit
        self._done, self._amount = 0.0, 0.0
        self._started = time.monotonic()
        # Speed and time left are measured between the first and the latest update: workers may need minutes to start.
        self._first: tuple[float, float, float] | None = None

    def advance(self, amount: float, units: float = 1) -> None:
        """Count further units.

        Args:
            amount: what they add to the speed's count, e.g. frames; >= 0.
            units: how many; >= 0.
        """
        self.reach(self._done + units, self._amount + amount)

    def reach(self, done: float, amount: float | None = None) -> None:
        """Set the count, which may also go back, as after a worker's death.

        Args:
            done: units done; 0 to the total.
            amount: total of what the speed counts, e.g. frames; None where the speed counts units.
        """
        self._done, self._amount = done, done if amount is None else amount
        if self._first is None:
            self._first = (time.monotonic(), self._done, self._amount)
        self._stage.tell("tick", self)

    def snapshot(self, event: ProgressEvent, base: Snapshot, tasks_left: int) -> Snapshot:
        """Return the stage's state with this task's counts.

        Args:
            event: what happened.
            base: name and times of the stage.
            tasks_left: tasks of the stage that follow this one and are taken to be as long; >= 0.
        """
        now = time.monotonic()
        since, done, amount = self._first or (self._started, self._done, self._amount)
        seconds = max(now - since, 1e-9)
        rate = (self._amount - amount) / seconds if self._amount > amount else math.nan
        left_s = math.nan
        if self._done > done:
            own_s = (self._total - self._done) * seconds / (self._done - done)
            left_s = own_s + tasks_left * (now - self._started + own_s)
        return Snapshot(
            event=event,
            stage=base.stage,
            elapsed_s=base.elapsed_s,
            stage_s=base.stage_s,
            done=self._done,
            total=self._total,
            unit=self._unit,
            rate=rate,
            rate_unit=self._rate_unit,
            left_s=left_s,
        )


class Progress:
    """What one job reports, stage by stage."""

    def __init__(self) -> None:
        """Begin the job's clock."""
        self._started = time.monotonic()
        self._stage: _Stage | None = None

    @contextlib.contextmanager
    def stage(self, name: str, number: int, total: int, *, num_tasks: int = 1) -> Iterator[None]:
        """Report one stage of several, from its start to its end.

        Args:
            name: the stage's name.
            number: its place among the stages; 1 to `total`.
            total: number of stages.
            num_tasks: tasks that it is expected to have, about equally long; >= 1.
        """
        with self._open(f"stage {number} of {total} {name}", num_tasks):
            yield

    @contextlib.contextmanager
    def task(self, name: str, total: int, unit: str, *, rate_unit: str = "") -> Iterator[Task]:
        """Count units of work within the present stage; outside one, the task is a stage by itself.

        Args:
            name: the stage's name, where no stage is open.
            total: units to do; >= 1.
            unit: what is counted, in the plural.
            rate_unit: what the speed counts; empty for the units.
        """
        with contextlib.ExitStack() as stack:
            stage = self._stage or stack.enter_context(self._open(name, 1))
            yield Task(stage, total, unit, rate_unit or unit)
            stage.tasks_left = max(0, stage.tasks_left - 1)

    @contextlib.contextmanager
    def _open(self, label: str, num_tasks: int) -> Iterator["_Stage"]:
        stage = self._stage = _Stage(label, self._started, num_tasks)
        try:
            yield stage
            stage.tell("end")
        finally:
            self._stage = None


class _Stage:
    """The stage that runs now, and when its next plain line is due."""

    def __init__(self, label: str, job_started: float, num_tasks: int) -> None:
        self._label, self._job_started = label, job_started
        self._started = self._told = time.monotonic()
        self.tasks_left = num_tasks
        self.tell("start")

    def tell(self, event: ProgressEvent, task: Task | None = None) -> None:
        """Log a record: at INFO where a plain line is due, at DEBUG for a live display only.

        Args:
            event: what happened.
            task: the task that is running; None at the stage's start and end.
        """
        now = time.monotonic()
        stage_s = now - self._started
        snapshot = Snapshot(event=event, stage=self._label, elapsed_s=now - self._job_started, stage_s=stage_s)
        if task is not None:
            snapshot = task.snapshot(event, snapshot, max(0, self.tasks_left - 1))
        gap_s = min(max(MIN_GAP_S, GAP_SHARE * stage_s), MAX_GAP_S)
        is_due = event != "tick" or now - self._told >= gap_s
        if is_due:
            self._told = now
        log.log(logging.INFO if is_due else logging.DEBUG, "%s", snapshot, extra={"progress": snapshot})


def clock(seconds: float) -> str:
    """Write a duration as minutes and seconds, or hours, minutes and seconds.

    Args:
        seconds: >= 0; rounded to whole ones.
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
