"""Requests that come together share a reading, and none gets one that began before it came."""

import asyncio
from itertools import count
from threading import Event

import pytest

from stillsafe.serving.shared_reading import SharedReading


def test_a_crowd_is_read_for_once() -> None:
    """A hundred that come while one is read for get the next reading, and one after them the one after that."""
    numbers, may_go, has_begun = count(), Event(), Event()

    def read() -> int:
        has_begun.set()
        assert may_go.wait(20)
        return next(numbers)

    async def story() -> list[int]:
        reading = SharedReading(read)
        first = asyncio.create_task(reading.result())
        await asyncio.to_thread(has_begun.wait, 20)
        crowd = [asyncio.create_task(reading.result()) for _ in range(100)]
        await asyncio.sleep(0)
        crowd[0].cancel()
        may_go.set()
        results = await asyncio.gather(first, *crowd[1:])
        return [*results, await reading.result()]

    assert asyncio.run(story()) == [0, *[1] * 99, 2]


def test_an_error_is_everybody_s_and_ends_nothing() -> None:
    """All that wait get it, and the next one is read for anew, also in another event loop."""
    errors = [ValueError("a"), None]

    def read() -> str:
        error = errors.pop(0) if errors else None
        if error is not None:
            raise error
        return "read"

    reading = SharedReading(read)

    async def story() -> list[object]:
        return list(await asyncio.gather(*(reading.result() for _ in range(3)), return_exceptions=True))

    assert [str(each) for each in asyncio.run(story())] == ["a"] * 3
    assert asyncio.run(story()) == ["read"] * 3


def test_a_request_that_leaves_alone_ends_quietly(caplog: pytest.LogCaptureFixture) -> None:
    """An error for which nobody waits is no line of the log."""

    async def story() -> None:
        def read() -> None:
            raise ValueError

        task = asyncio.create_task(SharedReading(read).result())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0.1)

    asyncio.run(story())
    assert caplog.records == []
