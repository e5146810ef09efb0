"""Prefetching: in order, never too far ahead, errors in order too, and a thread that ends with its consumer."""

import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from itertools import count, islice

import pytest

from sheep.errors import ContractError
from sheep.io.prefetch import STEPS_DEPTH, StepPrefetcher, prefetch

NAME = "test-prefetch"


def threads(name: str = NAME) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("depth", [0, 1, 3, 100])
def test_the_items_come_in_order(depth: int) -> None:
    assert list(prefetch(range(20), depth, name=NAME)) == list(range(20))
    assert list(prefetch([], depth, name=NAME)) == []
    assert threads() == []


@pytest.mark.parametrize("depth", [1, 3])
def test_at_most_depth_items_are_produced_ahead(depth: int) -> None:
    made: list[int] = []

    def endless() -> Iterator[int]:
        for number in count():
            made.append(number)
            yield number

    items = prefetch(endless(), depth, name=NAME)
    assert list(islice(items, 5)) == list(range(5))
    wait_for(lambda: len(made) == 5 + depth)
    time.sleep(0.05)
    assert len(made) == 5 + depth
    items.close()


def test_nothing_starts_before_the_first_item_is_requested() -> None:
    items = prefetch(iter([1]), 2, name=NAME)
    assert threads() == []
    items.close()


def test_depth_0_runs_in_the_callers_thread() -> None:
    ran_in = list(prefetch((threading.current_thread() for _ in range(2)), 0, name=NAME))
    assert ran_in == [threading.main_thread()] * 2


@pytest.mark.parametrize("depth", [0, 1, 4])
@pytest.mark.parametrize("error", [ContractError, KeyboardInterrupt])
def test_an_error_arrives_after_the_items_before_it(depth: int, error: type[BaseException]) -> None:
    def broken() -> Iterator[int]:
        yield from range(3)
        raise error("broken")

    got: list[int] = []
    with pytest.raises(error, match="broken"):
        got.extend(prefetch(broken(), depth, name=NAME))
    assert got == [0, 1, 2]
    assert threads() == []


@pytest.mark.parametrize("how", ["closed", "dropped", "consumer fails"])
@pytest.mark.parametrize("taken", [1, 5])
def test_an_abandoned_prefetch_ends_its_thread_and_closes_its_items_there(how: str, taken: int) -> None:
    closed_in: list[str] = []

    def endless() -> Iterator[int]:
        try:
            yield from count()
        finally:
            closed_in.append(threading.current_thread().name)

    items = prefetch(endless(), 2, name=NAME)
    assert len(list(islice(items, taken))) == taken
    assert len(threads()) == 1
    if how == "closed":
        items.close()
    elif how == "consumer fails":
        with pytest.raises(ZeroDivisionError):
            [1 // (item - taken - 1) for item in items]
    del items
    gc.collect()
    assert threads() == []
    assert closed_in == [NAME]


def test_an_item_is_released_while_the_consumer_waits_for_the_next() -> None:
    class Large:
        pass

    made: weakref.WeakSet[Large] = weakref.WeakSet()

    def items() -> Iterator[Large]:
        for _ in range(4):
            made.add(large := Large())
            yield large
            del large

    counts: list[int] = []
    for item in prefetch(items(), 1, name=NAME):
        del item
        counts.append(len(made))
    assert max(counts) <= 3  # one just taken, one waiting and one being produced


def test_a_program_can_exit_in_the_middle_of_prefetching() -> None:
    program = "\n".join(
        [
            "from itertools import count",
            "from sheep.io.prefetch import prefetch",
            "items = prefetch(count(), 2, name='endless')",
            "print(next(items))",
        ]
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_steps_are_produced_in_order_by_one_thread_and_few_wait() -> None:
    made: list[int] = []
    busy = threading.Lock()

    def make(step: int) -> int:
        assert busy.acquire(blocking=False)  # never two at the same time
        made.append(step)
        busy.release()
        return step * step

    steps = StepPrefetcher(make, 20)
    assert steps.take(3) == 9
    wait_for(lambda: len(made) == 1 + STEPS_DEPTH)
    time.sleep(0.02)
    assert made == [3, 4, 5]
    assert [steps.take(step) for step in range(4, 10)] == [16, 25, 36, 49, 64, 81]
    assert steps.take(5) == 25  # back, as after a rollback
    steps.close()
    assert threads("sheep-steps") == []
    assert steps.take(19) == 361  # the last one
    steps.close()
    assert max(made) == 19


def test_a_steps_error_arrives_at_that_step() -> None:
    def make(step: int) -> int:
        if step == 2:
            raise ContractError("step 2 is broken")
        return step

    steps = StepPrefetcher(make, 5)
    assert [steps.take(0), steps.take(1)] == [0, 1]
    for _ in range(2):
        with pytest.raises(ContractError, match="step 2 is broken"):
            steps.take(2)
    assert steps.take(3) == 3  # restarts from there
    steps.close()


def test_a_step_beyond_the_last_is_refused() -> None:
    with pytest.raises(ContractError, match="got step 5, expected one below 5"):
        StepPrefetcher(lambda step: step, 5).take(5)
