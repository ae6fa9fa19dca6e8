"""A call may take only so long; one that is late is left behind, and makes nobody else wait."""

from threading import Event
from time import perf_counter

import pytest

from stillsafe.serving.deadline import CallBroke, Deadline


def test_a_call_in_time_is_just_a_call() -> None:
    """Its value comes back, or its exception, call after call."""
    deadline = Deadline()
    assert [deadline.call(lambda: 1 + 1, 5) for _ in range(3)] == [2, 2, 2]
    with pytest.raises(ZeroDivisionError):
        deadline.call(lambda: 1 // 0, 5)
    assert not deadline.stuck


def test_a_late_call_is_left_behind_and_the_next_fail_at_once() -> None:
    """Nobody waits twice for the same hang; when it ends, calls are made again."""
    deadline, ended = Deadline(), Event()
    with pytest.raises(TimeoutError):
        deadline.call(ended.wait, 0.05)
    assert deadline.stuck
    began = perf_counter()
    with pytest.raises(TimeoutError):
        deadline.call(lambda: 1, 5)
    assert perf_counter() - began < 1
    ended.set()
    while deadline.stuck:
        pass
    assert deadline.call(lambda: 1, 5) == 1


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, BaseException])
def test_a_panic_ends_neither_the_thread_nor_the_caller(kind: type[BaseException]) -> None:
    """What is no Exception comes back as one that names it, and the next call is made."""

    def panic() -> None:
        raise kind

    deadline = Deadline()
    with pytest.raises(CallBroke, match=kind.__name__):
        deadline.call(panic, 5)
    assert deadline.call(lambda: 1, 5) == 1
