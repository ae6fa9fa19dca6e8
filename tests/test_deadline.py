"""A call has a time limit; a call that exceeds it keeps its own thread and delays no other caller."""

import gc
import subprocess
import sys
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


def replaceable_thread(work: Callable[[], object], take_over: Callable[[], None]) -> Thread:
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
    """Once; its own call is late at once, and the late thread's work ends with its call, whatever came of that."""
    deadline, release, takers, effects = Deadline(), Event(), [], []

    def late() -> None:
        release.wait(10)
        if fails:
            raise ValueError

    def work() -> None:
        deadline.call_here(late, 0.1)
        effects.append("late")

    def work_again() -> None:
        with replaceable(nobody, is_late=True):
            with pytest.raises(TimeoutError):
                deadline.call_here(lambda: 1, 5)
            takers.append(threading.current_thread().name)

    start = perf_counter()
    thread = replaceable_thread(work, Thread(target=work_again).start)
    wait_until(lambda: bool(takers))
    assert 0.1 <= perf_counter() - start < 5
    assert deadline.is_busy
    release.set()
    thread.join(10)
    assert not thread.is_alive()
    assert (effects, len(takers), deadline.is_busy) == ([], 1, False)
    work_again()  # a late thread calls nothing, though the deadline is idle by now
    with replaceable(nobody):
        assert deadline.call_here(lambda: 1, 5) == 1


def test_a_call_that_nobody_can_take_over_goes_on() -> None:
    """Where no thread can be started, its caller gets its value, late; the deadline is as good as before."""
    deadline, trials = Deadline(), []

    def fail() -> None:
        trials.append(1)
        raise RuntimeError("can't start new thread")

    def late() -> int:
        wait_until(lambda: len(trials) > 1)
        return 1

    with replaceable(fail):
        assert deadline.call_here(late, 0.1) == 1
    with replaceable(nobody):
        assert deadline.call_here(lambda: 2, 5) == 2


def test_a_thread_that_cannot_be_started_leaves_the_deadline_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is the call's, and the next call has a thread."""
    deadline = Deadline()

    def fail(_thread: Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch, replaceable(nobody):
        patch.setattr(Thread, "start", fail)
        for call in (deadline.call_here, deadline.call):
            with pytest.raises(RuntimeError):
                call(lambda: 1, 5)
    assert not deadline.is_busy
    assert deadline.call(lambda: 1, 5) == 1
    with replaceable(nobody):
        assert deadline.call_here(lambda: 1, 5) == 1


def test_a_model_that_calls_another_is_replaceable_and_the_other_is_not() -> None:
    """The other one has a thread of its deadline's, and blocks may be nested."""
    outer, inner = Deadline("stillsafe-outer"), Deadline("stillsafe-inner")

    def inner_name() -> str:
        return inner.call_here(lambda: threading.current_thread().name, 5)

    with replaceable(nobody):
        assert outer.call_here(inner_name, 5) == "stillsafe-inner"
        with replaceable(nobody, is_late=True), pytest.raises(TimeoutError):
            outer.call_here(lambda: 1, 5)
        assert outer.call_here(threading.current_thread, 5) is threading.current_thread()


FORK = """
import os
from threading import Event
from stillsafe.deadline import Deadline, replaceable
deadline, late = Deadline(), Deadline()
with replaceable(lambda: None):
    deadline.call_here(lambda: 1, 5)
deadline.call(lambda: 1, 5)
try:
    late.call(Event().wait, 0.05)
except TimeoutError:
    pass
with deadline._lock:
    process = os.fork()
if process:
    raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
with replaceable(lambda: None):
    assert deadline.call_here(lambda: 2, 5) == 2
assert [each.call(lambda: 3, 5) for each in (deadline, late)] == [3, 3]
os._exit(0)
"""


def test_a_fork_has_threads_of_its_own() -> None:
    """Also where a call was late in the parent."""
    command = [sys.executable, "-W", "ignore", "-c", FORK]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0


def test_each_of_many_calls_has_the_whole_time() -> None:
    """Neither a call before it nor a look at it shortens it."""
    deadline = Deadline()
    with replaceable(nobody):
        for _ in range(15):
            deadline.call_here(lambda: Event().wait(0.1), 1.0)


def test_one_thread_checks_for_late_calls_until_the_deadline_is_closed_or_gone() -> None:
    """It waits while nothing is called, and a call after a pause or after the end is watched too."""

    def watcher_count() -> int:
        return sum(each.name == "stillsafe-seldom-watch" for each in threading.enumerate())

    def be_late(deadline: Deadline) -> None:
        release = Event()
        thread = replaceable_thread(lambda: deadline.call_here(lambda: release.wait(10), 0.05), release.set)
        thread.join(10)
        assert release.is_set()

    deadlines = [Deadline("stillsafe-seldom")]
    for _ in range(2):
        for pause in (0.0, 1.2):
            with replaceable(nobody):
                assert deadlines[0].call_here(lambda: 1, 1.0) == 1
            assert watcher_count() == 1
            Event().wait(pause)
        be_late(deadlines[0])
        deadlines[0].close()
        wait_until(lambda: watcher_count() == 0)
    with replaceable(nobody):
        deadlines[0].call_here(lambda: 1, 1.0)
    deadlines.clear()
    gc.collect()
    wait_until(lambda: watcher_count() == 0)
