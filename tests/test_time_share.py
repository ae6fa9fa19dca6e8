"""A share of the time: one function at a time, pauses in between, and turns for all other threads."""

import asyncio
import gc
import sys
import threading
import weakref
from functools import partial
from itertools import pairwise
from time import perf_counter, sleep, thread_time

import pytest

from stillsafe.time_share import PAUSES, TURN_SECONDS, TimeShare


class _Value:
    """A value that a body was parsed to."""


def test_functions_run_one_at_a_time_and_for_a_share_of_the_time() -> None:
    """Five functions of 20 ms take the five and the four pauses in between, in the order of their arrival."""
    spans: list[tuple[int, float, float]] = []

    def work(number: int) -> int:
        begin = perf_counter()
        sleep(0.02)
        spans.append((number, begin, perf_counter()))
        return number

    async def run() -> list[int]:
        reader = TimeShare()
        return await asyncio.gather(*(reader.run(partial(work, number)) for number in range(5)))

    assert asyncio.run(run()) == [0, 1, 2, 3, 4]
    assert [number for number, _, _ in spans] == [0, 1, 2, 3, 4]
    for (_, begin, end), (_, following, _) in pairwise(spans):
        assert following - end >= PAUSES * (end - begin) * 0.9


def test_the_event_loop_goes_on() -> None:
    """Pure computing leaves the event loop its turns: a timer of a millisecond goes off many times meanwhile."""

    def compute() -> None:
        begin = thread_time()
        while thread_time() - begin < 0.2:
            sum(range(1_000))

    async def run() -> int:
        task = asyncio.create_task(TimeShare().run(compute))
        count = 0
        while not task.done():
            await asyncio.sleep(0.001)
            count += 1
        return count

    assert asyncio.run(run()) > 30


def test_the_interpreter_is_as_before_afterwards() -> None:
    """Turns are short and the collector rests during the function only, whether it returns or raises."""
    seconds = sys.getswitchinterval()

    def look() -> tuple[float, bool, bool]:
        return sys.getswitchinterval(), gc.isenabled(), threading.current_thread() is threading.main_thread()

    def fail() -> None:
        raise ValueError("wrong")

    async def run() -> tuple[float, bool, bool]:
        reader = TimeShare()
        with pytest.raises(ValueError, match="wrong"):
            await reader.run(fail)
        return await reader.run(look)

    turn_seconds, has_collector, is_main_thread = asyncio.run(run())
    assert turn_seconds == pytest.approx(TURN_SECONDS, rel=0.01)
    assert not has_collector
    assert not is_main_thread
    assert sys.getswitchinterval() == pytest.approx(seconds)
    assert gc.isenabled()


def test_values_are_deleted_where_they_were_made() -> None:
    """An error that reaches the loop holds none of the values of the function that raised it."""
    values: list[weakref.ref[_Value]] = []

    def fail() -> None:
        value = _Value()
        values.append(weakref.ref(value))
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        asyncio.run(TimeShare().run(fail))
    assert values[0]() is None
