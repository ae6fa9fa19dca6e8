"""A call has a time limit; a call that exceeds it keeps its own thread and delays no other caller."""

import gc
import threading
from threading import Event
from time import perf_counter

import pytest

from stillsafe.deadline import CallBroke, Deadline


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
