"""What a guard has in a process: one batcher for each event loop that is open."""

import asyncio

from stillsafe.serving.guard_process import GuardProcess
from tests.serving.services import Service


def test_a_batcher_for_each_loop(service: Service) -> None:
    """The same in one loop; those of loops that have ended are let go."""
    process = GuardProcess(service.context)

    async def batchers() -> bool:
        return process.loop_batcher() is process.loop_batcher()

    assert asyncio.run(batchers())
    assert asyncio.run(batchers())
    assert len(process.loops) == 1
