"""A call has a time limit; a call that exceeds it keeps its own thread and delays no other caller."""

import gc
import threading
from collections.abc import Callable
from threading import Event, Thread
from time import perf_counter

import pytest

from stillsafe.deadline import CallBroke, Deadline, TakenOver, replaceable
from tests.faults.api import wait_until


def test_a_call_in_time_returns_its_value_or_raises_its_error() -> None:
    """One deadline serves call after call."""
    deadline = Deadline()
    assert [deadline.call(lambda: 1 + 1, 5) for _ in range(3)] == [2, 2, 2]
    with pytest.raises(ZeroDivisionError):
        deadline.call(lambda: 1 // 0, 5)
    assert not deadline.is_busy


def test_while_a_late_call_runs_further_calls_time_out_at_once() -> None:
    """No caller waits a second time for the same call; once it returns, calls run again."""
    deadline, release = Deadline(), Event()
    with pytest.raises(TimeoutError):
        deadline.call(release.wait, 0.05)
    assert deadline.is_busy
    start = perf_counter()
    with pytest.raises(TimeoutError):
        deadline.call(lambda: 1, 5)
    assert perf_counter() - start < 1
    release.set()
    while deadline.is_busy:
        pass
    assert deadline.call(lambda: 1, 5) == 1


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, BaseException])
def test_a_panic_ends_neither_the_thread_nor_the_caller(kind: type[BaseException]) -> None:
    """The caller gets an exception that names what was raised, and the next call runs."""

    def panic() -> None:
        raise kind

    deadline = Deadline()
    with pytest.raises(CallBroke, match=kind.__name__):
        deadline.call(panic, 5)
    assert deadline.call(lambda: 1, 5) == 1


def test_a_closed_deadline_ends_its_thread_and_can_be_used_again() -> None:
    """No idle thread stays behind."""
    deadline = Deadline("stillsafe-test")
    assert deadline.call(lambda: 1, 5) == 1
    (thread,) = [each for each in threading.enumerate() if each.name == "stillsafe-test"]
    deadline.close()
    thread.join(5)
    assert not thread.is_alive()
    assert deadline.call(lambda: 2, 5) == 2
    deadline.close()


def test_a_deadline_that_nobody_has_ends_its_thread() -> None:
    """A program that makes and forgets many of them keeps no thread."""
    deadline = Deadline("stillsafe-gone")
    assert deadline.call(lambda: 1, 5) == 1
    (thread,) = [each for each in threading.enumerate() if each.name == "stillsafe-gone"]
    del deadline
    gc.collect()
    thread.join(5)
    assert not thread.is_alive()


def nobody() -> None:
    """Takes over from a call that is never late."""
    raise AssertionError("the call was not late")


def replaceable_thread(work: Callable[[], None], take_over: Callable[[], None]) -> Thread:
    """A thread that does replaceable work, and ends where another one has taken over."""

    def run() -> None:
        try:
            with replaceable(take_over):
                work()
        except TakenOver:
            return

    thread = Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_a_replaceable_caller_makes_the_call_itself() -> None:
    """In its own thread, with the same values and errors; outside of the block a thread of the deadline's runs it."""
    deadline = Deadline("stillsafe-other")
    with replaceable(nobody):
        assert deadline.call_here(threading.current_thread, 5) is threading.current_thread()
        with pytest.raises(ZeroDivisionError):
            deadline.call_here(lambda: 1 // 0, 5)
        assert not deadline.is_busy
    assert deadline.call_here(lambda: threading.current_thread().name, 5) == "stillsafe-other"


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, BaseException])
def test_a_panic_in_the_caller_s_thread_names_what_was_raised(kind: type[BaseException]) -> None:
    """As in the deadline's thread."""

    def panic() -> None:
        raise kind

    deadline = Deadline()
    with replaceable(nobody), pytest.raises(CallBroke, match=kind.__name__):
        deadline.call_here(panic, 5)
    assert not deadline.is_busy


@pytest.mark.parametrize("fails", [False, True])
def test_another_thread_takes_over_from_a_late_call(fails: bool) -> None:
    """Once; it finds the deadline busy, and the late thread's work ends with its call, whatever came of it."""
    deadline, release, takers, effects = Deadline(), Event(), [], []

    def late() -> None:
        release.wait(10)
        if fails:
            raise ValueError

    def work() -> None:
        deadline.call_here(late, 0.1)
        effects.append("late")

    def take_over() -> None:
        with pytest.raises(TimeoutError):
            deadline.call_here(lambda: 1, 5)
        takers.append(threading.current_thread().name)

    start = perf_counter()
    thread = replaceable_thread(work, take_over)
    wait_until(lambda: bool(takers))
    assert 0.1 <= perf_counter() - start < 5
    assert deadline.is_busy
    release.set()
    thread.join(10)
    assert not thread.is_alive()
    assert (effects, len(takers), deadline.is_busy) == ([], 1, False)
    with replaceable(nobody):
        assert deadline.call_here(lambda: 1, 5) == 1


def test_each_of_many_calls_has_the_whole_time() -> None:
    """Neither a call before it nor a look at it shortens it."""
    deadline = Deadline()
    with replaceable(nobody):
        for _ in range(40):
            deadline.call_here(lambda: Event().wait(0.02), 0.2)


def test_the_thread_that_looks_for_late_calls_ends() -> None:
    """Soon after the last call, or with the deadline, and the next call has another one."""

    def watchers() -> int:
        return sum(each.name == "stillsafe-seldom-watch" for each in threading.enumerate())

    deadline = Deadline("stillsafe-seldom")
    for _ in range(2):
        with replaceable(nobody):
            assert deadline.call_here(lambda: 1, 0.05) == 1
        assert watchers() == 1
        wait_until(lambda: watchers() == 0)
    with replaceable(nobody):
        deadline.call_here(lambda: 1, 0.05)
    del deadline
    gc.collect()
    wait_until(lambda: watchers() == 0)
