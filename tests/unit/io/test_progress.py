"""How far a job is: what a stage reports, how often a plain line is due, and how speed and time left are measured."""

import logging
from collections.abc import Callable

import pytest

from sheep.io import progress
from sheep.io.progress import Progress, clock


class Clock:
    """Time that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the time [s]."""
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock)

    def set_to(seconds: float) -> None:
        clock.now = seconds

    return set_to


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]


@pytest.fixture(autouse=True)
def everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="sheep.io.progress")


def test_a_stage_says_its_number_share_speed_and_time_left(
    at: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    job = Progress()
    at(5)
    with job.stage("embed", 3, 7), job.task("embed", 100, "videos", rate_unit="rows") as task:
        at(35)  # workers started: no speed is measured yet
        task.advance(60)
        at(45)
        task.advance(60, units=9)
        at(50)
    assert lines(caplog) == [
        "stage 3 of 7 embed",
        "stage 3 of 7 embed: 1 % (1 of 100 videos), 0:35 elapsed",
        "stage 3 of 7 embed: 10 % (10 of 100 videos), 6 rows/s, 1:40 left, 0:45 elapsed",
        "stage 3 of 7 embed: done in 0:45, 0:50 elapsed",
    ]


def test_plain_lines_are_ten_seconds_apart_and_further_in_a_long_stage(
    at: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    told = []
    with Progress().task("crop", 36_000, "videos") as task:
        for second in range(1, 36_001):
            at(second)
            before = len(lines(caplog))
            task.reach(second)
            told += [second] if len(lines(caplog)) > before else []
            caplog.clear()
    gaps = [after - before for before, after in zip([0, *told], told, strict=False)]
    assert told[:4] == [10, 20, 30, 40]
    assert min(gaps) >= 10
    assert max(gaps) <= 600
    assert len([second for second in told if second <= 3600]) <= 25


def test_every_update_reaches_a_live_display(at: Callable[[float], None], caplog: pytest.LogCaptureFixture) -> None:
    with Progress().task("crop", 3, "videos") as task:
        for _ in range(3):
            task.advance(1)
    shown = [record.__dict__["progress"] for record in caplog.records]
    assert [(one.event, one.done) for one in shown] == [("start", 0), ("tick", 1), ("tick", 2), ("tick", 3), ("end", 0)]


def test_the_time_left_counts_the_tasks_that_follow(
    at: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    job = Progress()
    with job.stage("finetune", 2, 7, num_tasks=2):
        for start in (0, 100):
            at(start)
            with job.task("finetune", 100, "steps") as task:
                task.reach(0)
                at(start + 50)
                task.reach(50)
                at(start + 100)
    ticks = [line for line in lines(caplog) if "50 %" in line]
    assert "2:30 left" in ticks[0]  # 50 s of this training and 100 s of the next
    assert "0:50 left" in ticks[1]


def test_a_count_may_go_back(at: Callable[[float], None], caplog: pytest.LogCaptureFixture) -> None:
    with Progress().task("finetune", 10, "steps") as task:
        for second, step in enumerate((4, 8, 4), start=1):
            at(20 * second)
            task.reach(step)
    assert "40 % (4 of 10 steps), 1:00 elapsed" in lines(caplog)[3]


def test_a_stage_that_fails_is_not_called_done(caplog: pytest.LogCaptureFixture) -> None:
    job = Progress()
    with pytest.raises(RuntimeError), job.stage("crop", 1, 7):
        raise RuntimeError
    assert lines(caplog) == ["stage 1 of 7 crop"]
    with job.task("embed", 1, "videos"):
        pass
    assert lines(caplog)[1] == "embed"  # no stage is open any more


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (61, "1:01"), (3599, "59:59"), (86_399, "23:59:59")]
)
def test_durations(seconds: float, text: str) -> None:
    assert clock(seconds) == text
