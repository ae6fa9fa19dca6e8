"""The micro-batcher: waiting requests are answered together and in order; an error goes to its own batch."""

import asyncio
import gc
import threading
from collections.abc import Callable, Sequence
from threading import Event, Thread
from typing import Any, TypeVar

import pytest

from stillsafe.deadline import CallBroke, Deadline
from stillsafe.serving.batcher import SHARED_SECONDS, BatcherClosed, MicroBatcher
from tests.faults.api import wait_until

T = TypeVar("T")


class RecordingAnswer:
    """Squares numbers once it is allowed to, and records the batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_answer = Event()
        self.is_entered = Event()

    def __call__(self, items: Sequence[int]) -> list[int]:
        """The squares."""
        self.batches.append([*items])
        self.is_entered.set()
        assert self.may_answer.wait(5)
        if 13 in items:
            raise RuntimeError("unlucky")
        return [item * item for item in items]


def _run(story: Callable[[MicroBatcher[int, int], RecordingAnswer], object], max_batch: int = 100) -> None:
    async def run_story() -> None:
        answer = RecordingAnswer()
        batcher: MicroBatcher[int, int] = MicroBatcher(answer, max_batch)
        batcher.start()
        try:
            async with asyncio.timeout(10):
                await story(batcher, answer)  # type: ignore[misc] # a story is a coroutine function
        finally:
            answer.may_answer.set()
            await batcher.close()

    asyncio.run(run_story())


async def _collect(
    batcher: MicroBatcher[int, int], answer: RecordingAnswer, *requests: list[int]
) -> list[asyncio.Task[Sequence[int]]]:
    """The tasks of the first request, which is being answered, and of the others, which wait."""
    first = asyncio.create_task(batcher.submit([0]))
    await asyncio.to_thread(answer.is_entered.wait, 5)
    tasks = [first]
    for request in requests:
        tasks.append(asyncio.create_task(batcher.submit(request)))
        await asyncio.sleep(0)
    answer.may_answer.set()
    return tasks


def test_all_that_waits_is_answered_by_one_call() -> None:
    """Requests that came while another was answered go together, and each gets its own answers in order."""

    async def story(batcher: MicroBatcher[int, int], answer: RecordingAnswer) -> None:
        tasks = await _collect(batcher, answer, [1], [2, 3], [4])
        assert await asyncio.gather(*tasks) == [[0], [1], [4, 9], [16]]
        assert answer.batches == [[0], [1, 2, 3, 4]]

    _run(story)


def test_a_batch_stops_at_the_limit_and_splits_no_request() -> None:
    """What does not fit waits for the next batch; a large request is alone in its batches, and the others go before."""

    async def story(batcher: MicroBatcher[int, int], answer: RecordingAnswer) -> None:
        tasks = await _collect(batcher, answer, [1], [2], [3], [4, 5, 6, 7, 8], [9])
        await asyncio.gather(*tasks)
        assert answer.batches == [[0], [1, 2], [3], [4, 5], [9], [6, 7], [8]]

    _run(story, max_batch=2)


def test_an_error_goes_to_every_request_of_its_batch_and_no_other() -> None:
    """Earlier and later batches are answered."""

    async def story(batcher: MicroBatcher[int, int], answer: RecordingAnswer) -> None:
        tasks = await _collect(batcher, answer, [13], [2])
        failures = await asyncio.gather(*tasks, return_exceptions=True)
        assert failures[0] == [0]
        assert [type(error) for error in failures[1:]] == [RuntimeError, RuntimeError]
        assert await batcher.submit([3]) == [9]

    _run(story)


def test_a_cancelled_request_affects_no_other() -> None:
    """A request cancelled before its turn is dropped; the answer to one cancelled later is dropped."""

    async def story(batcher: MicroBatcher[int, int], answer: RecordingAnswer) -> None:
        first = asyncio.create_task(batcher.submit([0]))
        await asyncio.to_thread(answer.is_entered.wait, 5)
        cancelled_request, kept_request = (
            asyncio.create_task(batcher.submit([1])),
            asyncio.create_task(batcher.submit([2])),
        )
        await asyncio.sleep(0)
        first.cancel()
        cancelled_request.cancel()
        await asyncio.gather(first, cancelled_request, return_exceptions=True)
        answer.may_answer.set()
        assert await kept_request == [4]
        assert answer.batches == [[0], [2]]

    _run(story)


def test_closing_answers_what_was_accepted_and_accepts_nothing_more() -> None:
    """Every accepted request is answered."""

    async def story(batcher: MicroBatcher[int, int], answer: RecordingAnswer) -> None:
        tasks = await _collect(batcher, answer, [1], [2])
        await batcher.close()
        assert await asyncio.gather(*tasks) == [[0], [1], [4]]
        with pytest.raises(BatcherClosed):
            await batcher.submit([3])
        batcher.start()
        assert await batcher.submit([3]) == [9]

    _run(story)


def test_an_empty_request_needs_no_batch() -> None:
    """It is answered at once."""

    async def story(batcher: MicroBatcher[int, int], answer: RecordingAnswer) -> None:
        assert await batcher.submit([]) == []
        assert answer.batches == []

    _run(story)


def test_requests_over_the_limit_are_answered_before_the_batcher_closes() -> None:
    """A request that did not fit was accepted."""

    async def story(batcher: MicroBatcher[int, int], answer: RecordingAnswer) -> None:
        tasks = await _collect(batcher, answer, [1], [2, 3])
        await batcher.close()
        assert await asyncio.gather(*tasks) == [[0], [1], [4, 9]]

    _run(story, max_batch=2)


def test_a_large_request_takes_turns_with_others() -> None:
    """In parts of the limit while others come, in order within itself; after a second without others as a whole."""

    async def story(batcher: MicroBatcher[int, int], answer: RecordingAnswer) -> None:
        large = [1, 2, 3, 4, 5]
        tasks = await _collect(batcher, answer, large, [6], large, [7])
        squares = [1, 4, 9, 16, 25]
        assert await asyncio.gather(*tasks) == [[0], squares, [36], squares, [49]]
        assert answer.batches == [[0], [1, 2], [6], [1, 2], [7], [3, 4], [3, 4], [5, 5]]
        batcher._shared_at -= SHARED_SECONDS
        answer.batches.clear()
        assert await batcher.submit(large) == squares
        assert answer.batches == [large]

    _run(story, max_batch=2)


def test_large_requests_alone_are_answered_whole_again() -> None:
    """A second after the last small one, though large ones came all the time: their last parts are no small ones."""

    async def story(batcher: MicroBatcher[int, int], answer: RecordingAnswer) -> None:
        answer.may_answer.set()
        await batcher.submit([1])
        for _ in range(3):
            answer.batches.clear()
            assert await batcher.submit([*range(20, 27)]) == [each * each for each in range(20, 27)]
            sizes = [len(batch) for batch in answer.batches]
            batcher._shared_at -= SHARED_SECONDS / 2
        assert sizes == [7]

    _run(story, max_batch=3)


def test_an_error_in_a_part_is_the_whole_request_s() -> None:
    """Its remaining parts are not answered; others are."""

    async def story(batcher: MicroBatcher[int, int], answer: RecordingAnswer) -> None:
        tasks = await _collect(batcher, answer, [1, 2, 13, 4, 5], [6])
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [results[0], type(results[1]), results[2]] == [[0], RuntimeError, [36]]
        assert answer.batches == [[0], [1, 2], [6], [13, 4]]

    _run(story, max_batch=2)


def _threads() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name == "stillsafe-batcher"}


def test_another_thread_answers_a_batch_whose_call_is_late() -> None:
    """Each request gets one answer; batches after it do too, while the call hangs, and when it returns nothing more."""
    deadline, release, calls = Deadline(), Event(), []

    def answer(items: Sequence[int]) -> list[str]:
        calls.append([*items])
        try:
            deadline.call_here(lambda: release.wait(30) if items[0] == 1 and len(calls) == 1 else None, 0.2)
        except TimeoutError:
            return [f"{item} late" for item in items]
        return [f"{item}" for item in items]

    async def story() -> None:
        batcher: MicroBatcher[int, str] = MicroBatcher(answer, 10, is_repeatable=True)
        batcher.start()
        async with asyncio.timeout(20):
            assert await batcher.submit([1, 2]) == ["1 late", "2 late"]
            assert await batcher.submit([3]) == ["3 late"]
            release.set()
            await asyncio.to_thread(wait_until, lambda: not deadline.is_busy)
            assert await batcher.submit([4]) == ["4"]
            await batcher.close()

    others = _threads()
    asyncio.run(story())
    assert calls == [[1, 2], [1, 2], [3], [4]]
    wait_until(lambda: not _threads() - others)


def test_a_thread_that_is_slow_to_take_over_loses_no_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch after the late one goes to the new thread, however soon the late one is answered."""
    deadline, release, start = Deadline(), Event(), Thread.start

    def slow_start(thread: Thread) -> None:
        start(thread)
        Event().wait(0.1)

    def answer(items: Sequence[int]) -> Sequence[int]:
        try:
            deadline.call_here(lambda: release.wait(30) if items[0] == 1 else True, 0.1)
        except TimeoutError:
            return [-item for item in items]
        return items

    async def story() -> None:
        batcher: MicroBatcher[int, int] = MicroBatcher(answer, 10, is_repeatable=True)
        batcher.start()
        async with asyncio.timeout(10):
            assert [*await batcher.submit([1]), *await batcher.submit([2])] == [-1, -2]
            await batcher.close()

    monkeypatch.setattr(Thread, "start", slow_start)
    asyncio.run(story())
    release.set()


def test_closing_waits_for_the_thread_that_took_over() -> None:
    """And not for the one whose call hangs."""
    deadline, release = Deadline(), Event()

    def answer(items: Sequence[int]) -> Sequence[int]:
        try:
            deadline.call_here(lambda: release.wait(30), 0.2)
        except TimeoutError:
            return [-item for item in items]
        return items

    async def story() -> None:
        batcher: MicroBatcher[int, int] = MicroBatcher(answer, 10, is_repeatable=True)
        batcher.start()
        async with asyncio.timeout(20):
            request = asyncio.create_task(batcher.submit([7]))
            await asyncio.sleep(0)
            await batcher.close()
            assert await request == [-7]

    asyncio.run(story())
    release.set()


def test_a_panic_is_the_batch_s_own_error() -> None:
    """It ends neither the thread nor the event loop."""

    def answer(items: Sequence[int]) -> Sequence[int]:
        if items[0] == 13:
            raise SystemExit
        return items

    async def story() -> None:
        batcher: MicroBatcher[int, int] = MicroBatcher(answer, 10)
        batcher.start()
        with pytest.raises(CallBroke, match="SystemExit"):
            await batcher.submit([13])
        assert await batcher.submit([1]) == [1]
        await batcher.close()

    asyncio.run(story())


def test_a_batcher_that_nobody_has_ends_its_thread() -> None:
    """Also one whose event loop ended without closing it, and one that goes on in another loop."""

    async def story(batcher: MicroBatcher[int, int]) -> None:
        batcher.start()
        assert await batcher.submit([1]) == [1]

    others = _threads()
    batchers: list[MicroBatcher[int, int]] = [MicroBatcher(lambda items: items, 10)]
    asyncio.run(story(batchers[0]))
    asyncio.run(story(batchers[0]))
    wait_until(lambda: len(_threads() - others) == 1)
    batchers.clear()
    gc.collect()
    wait_until(lambda: not _threads() - others)


def test_a_batch_that_cannot_be_repeated_is_called_once() -> None:
    """A call that is late is its own error, in the thread that made it."""
    deadline, release, calls = Deadline(), Event(), []

    def answer(items: Sequence[int]) -> Sequence[int]:
        calls.append([*items])
        deadline.call_here(lambda: release.wait(30), 0.1)
        return items

    async def story() -> None:
        batcher: MicroBatcher[int, int] = MicroBatcher(answer, 10)
        batcher.start()
        with pytest.raises(TimeoutError):
            await batcher.submit([1])
        await batcher.close()

    asyncio.run(story())
    release.set()
    assert calls == [[1]]


async def _close_while_answering(
    batcher: MicroBatcher[int, int], answer: RecordingAnswer
) -> tuple[asyncio.Task[Sequence[int]], asyncio.Task[None]]:
    """The tasks of a request that is being answered, and of the close that waits for it."""
    request = asyncio.create_task(batcher.submit([3]))
    await asyncio.to_thread(answer.is_entered.wait, 5)
    closing = asyncio.create_task(batcher.close())
    await asyncio.sleep(0)
    return request, closing


def test_a_close_that_is_cancelled_loses_no_answer() -> None:
    """What was accepted is answered all the same."""

    async def story(batcher: MicroBatcher[int, int], answer: RecordingAnswer) -> None:
        request, closing = await _close_while_answering(batcher, answer)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        with pytest.raises(BatcherClosed):
            await batcher.submit([4])
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0)
        assert not closing.done()
        answer.may_answer.set()
        await closing
        assert await request == [9]

    _run(story)


def test_a_start_while_the_batcher_closes_loses_no_answer() -> None:
    """In the same loop it goes on; what was accepted before and after is answered."""

    async def story(batcher: MicroBatcher[int, int], answer: RecordingAnswer) -> None:
        request, closing = await _close_while_answering(batcher, answer)
        batcher.start()
        other_request = asyncio.create_task(batcher.submit([4]))
        await asyncio.sleep(0)
        answer.may_answer.set()
        assert [*await asyncio.gather(request, other_request)] == [[9], [16]]
        await closing
        assert await batcher.submit([5]) == [25]

    _run(story)


def test_a_loop_that_ended_while_the_batcher_closed_leaves_nothing_to_the_next() -> None:
    """Its requests are gone with it, and the next loop's are answered."""
    answer = RecordingAnswer()
    batcher: MicroBatcher[int, int] = MicroBatcher(answer, 10)

    async def abandon() -> None:
        batcher.start()
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(batcher.submit([1]))]
        await asyncio.to_thread(answer.is_entered.wait, 5)
        tasks.append(asyncio.create_task(batcher.close()))
        await asyncio.sleep(0)

    async def go_on() -> None:
        batcher.start()
        answer.may_answer.set()
        async with asyncio.timeout(10):
            assert await batcher.submit([2]) == [4]
        await batcher.close()

    asyncio.run(abandon())
    asyncio.run(go_on())
