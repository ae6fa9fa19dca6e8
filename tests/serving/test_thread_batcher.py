"""The micro-batcher for threads: each call gets its own answers, whoever answered the batch."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock, Thread

import pytest

from stillsafe.serving.batcher import BatcherClosed
from stillsafe.serving.thread_batcher import ThreadBatcher


def test_each_call_gets_the_answers_to_its_items() -> None:
    """Many threads, in order within each call; no item is answered twice."""
    items_answered: list[int] = []

    def double(items: Sequence[int]) -> list[int]:
        items_answered.extend(items)
        return [2 * item for item in items]

    batcher = ThreadBatcher(double, 8, Lock())
    calls = [list(range(first, first + 3)) for first in range(0, 300, 3)]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(batcher.submit, calls))
    assert answers == [[2 * item for item in call] for call in calls]
    assert sorted(items_answered) == list(range(300))


def test_calls_that_wait_share_a_batch() -> None:
    """While the first one is answered, all others collect; a long call is answered by itself."""
    start, go_on = Event(), Event()
    batches: list[int] = []

    def answer(items: Sequence[int]) -> list[int]:
        batches.append(len(items))
        if len(batches) == 1:
            start.set()
            go_on.wait(60)
        return [*items]

    batcher = ThreadBatcher(answer, 4, Lock())
    threads = [Thread(target=batcher.submit, args=([0],))]
    threads[0].start()
    assert start.wait(60)
    for items in ([1], [2], [3], list(range(9))):
        threads.append(Thread(target=batcher.submit, args=(items,)))
        threads[-1].start()
        while len(batcher._queue) < len(threads) - 1:
            pass
    go_on.set()
    for thread in threads:
        thread.join()
    assert batches == [1, 3, 9]


def test_an_error_is_raised_by_every_call_of_its_batch_and_by_no_other() -> None:
    """The batcher goes on."""

    def answer(items: Sequence[int]) -> list[int]:
        if 0 in items:
            raise ZeroDivisionError
        return [*items]

    batcher = ThreadBatcher(answer, 4, Lock())
    with pytest.raises(ZeroDivisionError):
        batcher.submit([0])
    assert batcher.submit([1]) == [1]
    assert batcher.submit([]) == []


def test_an_interrupt_of_the_thread_that_answers_ends_no_other_thread_silently() -> None:
    """It is raised where it happened; whoever waited for that batch gets an error, and not a wait without end."""
    start, go_on = Event(), Event()
    errors: list[BaseException] = []

    def answer(items: Sequence[int]) -> list[int]:
        if 0 in items:
            start.set()
            go_on.wait(60)
        if 1 in items:
            raise KeyboardInterrupt
        return [*items]

    def submit(items: Sequence[int]) -> None:
        try:
            batcher.submit(items)
        except (BatcherClosed, KeyboardInterrupt) as error:
            errors.append(error)

    batcher = ThreadBatcher(answer, 8, Lock())
    threads = [Thread(target=submit, args=([0],))]
    threads[0].start()
    assert start.wait(60)
    for item in (1, 2):
        threads.append(Thread(target=submit, args=([item],)))
        threads[-1].start()
        while len(batcher._queue) < item:
            pass
    go_on.set()
    for thread in threads:
        thread.join()
    assert sorted(type(error).__name__ for error in errors) == [BatcherClosed.__name__, "KeyboardInterrupt"]
    assert batcher.submit([3]) == [3]
