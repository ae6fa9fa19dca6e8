"""The lane: what waits is answered together, in order, and a failure goes to those it concerns."""

import asyncio
from collections.abc import Callable
from threading import Event
from typing import TypeVar

import pytest

from stillsafe.serving.batcher import Lane, LaneClosed

T = TypeVar("T")


class Recorded:
    """Squares numbers, once it may, and remembers what it was given together."""

    def __init__(self) -> None:
        self.drains: list[list[int]] = []
        self.may = Event()
        self.entered = Event()

    def __call__(self, items: list[int]) -> list[int]:
        """The squares."""
        self.drains.append(items)
        self.entered.set()
        assert self.may.wait(5)
        if 13 in items:
            raise RuntimeError("unlucky")
        return [item * item for item in items]


def _run(story: Callable[[Lane[int, int], Recorded], object], max_batch: int = 100) -> None:
    async def told() -> None:
        answer = Recorded()
        lane: Lane[int, int] = Lane(answer, max_batch)
        lane.start()
        try:
            async with asyncio.timeout(10):
                await story(lane, answer)  # type: ignore[misc] # a story is a coroutine function
        finally:
            answer.may.set()
            await lane.close()

    asyncio.run(told())


async def _gathered(lane: Lane[int, int], answer: Recorded, *requests: list[int]) -> list[asyncio.Task[list[int]]]:
    """The first request is being answered while the others gather behind it."""
    first = asyncio.create_task(lane.submit([0]))
    await asyncio.to_thread(answer.entered.wait, 5)
    tasks = [first]
    for request in requests:
        tasks.append(asyncio.create_task(lane.submit(request)))
        await asyncio.sleep(0)
    answer.may.set()
    return tasks


def test_all_that_waits_is_answered_by_one_call() -> None:
    """Requests that came while another was answered go together, and each gets its own answers in order."""

    async def story(lane: Lane[int, int], answer: Recorded) -> None:
        tasks = await _gathered(lane, answer, [1], [2, 3], [4])
        assert await asyncio.gather(*tasks) == [[0], [1], [4, 9], [16]]
        assert answer.drains == [[0], [1, 2, 3, 4]]

    _run(story)


def test_a_drain_stops_at_the_limit_and_splits_no_request() -> None:
    """What does not fit waits for the next drain; one large request goes whole and by itself, and keeps its turn."""

    async def story(lane: Lane[int, int], answer: Recorded) -> None:
        tasks = await _gathered(lane, answer, [1], [2], [3], [4, 5, 6, 7, 8], [9])
        await asyncio.gather(*tasks)
        assert answer.drains == [[0], [1, 2], [3], [4, 5, 6, 7, 8], [9]]

    _run(story, max_batch=2)


def test_a_failure_goes_to_everybody_in_the_drain_and_to_nobody_else() -> None:
    """Those before and after are answered."""

    async def story(lane: Lane[int, int], answer: Recorded) -> None:
        tasks = await _gathered(lane, answer, [13], [2])
        failed = await asyncio.gather(*tasks, return_exceptions=True)
        assert failed[0] == [0]
        assert [type(error) for error in failed[1:]] == [RuntimeError, RuntimeError]
        assert await lane.submit([3]) == [9]

    _run(story)


def test_a_client_that_went_away_costs_nobody_else_anything() -> None:
    """A request cancelled before its turn is dropped, one cancelled during its turn is answered to nobody."""

    async def story(lane: Lane[int, int], answer: Recorded) -> None:
        first = asyncio.create_task(lane.submit([0]))
        await asyncio.to_thread(answer.entered.wait, 5)
        gone, stays = asyncio.create_task(lane.submit([1])), asyncio.create_task(lane.submit([2]))
        await asyncio.sleep(0)
        first.cancel()
        gone.cancel()
        await asyncio.gather(first, gone, return_exceptions=True)
        answer.may.set()
        assert await stays == [4]
        assert answer.drains == [[0], [2]]

    _run(story)


def test_closing_answers_what_was_accepted_and_accepts_nothing_more() -> None:
    """Nobody who was let in is left waiting."""

    async def story(lane: Lane[int, int], answer: Recorded) -> None:
        tasks = await _gathered(lane, answer, [1], [2])
        await lane.close()
        assert await asyncio.gather(*tasks) == [[0], [1], [4]]
        with pytest.raises(LaneClosed):
            await lane.submit([3])
        lane.start()
        assert await lane.submit([3]) == [9]

    _run(story)


def test_nothing_to_ask_needs_no_turn() -> None:
    """An empty request is answered without a drain."""

    async def story(lane: Lane[int, int], answer: Recorded) -> None:
        assert await lane.submit([]) == []
        assert answer.drains == []

    _run(story)


def test_what_is_left_over_is_answered_before_the_lane_closes() -> None:
    """A request that did not fit was accepted all the same."""

    async def story(lane: Lane[int, int], answer: Recorded) -> None:
        tasks = await _gathered(lane, answer, [1], [2, 3])
        await lane.close()
        assert await asyncio.gather(*tasks) == [[0], [1], [4, 9]]

    _run(story, max_batch=2)
