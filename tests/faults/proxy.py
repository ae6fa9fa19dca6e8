"""A small TCP proxy before a server, for tests that disturb the line: it may refuse, swallow or cut."""

import asyncio
from contextlib import suppress
from threading import Thread


class Proxy:
    """One listening port before another one.

    `mode` is `ok`, `refuse` (connections are cut at once), `blackhole` (nothing passes, nothing ends) or `reset`
    (as refuse, and open ones are cut too).
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self.mode = "ok"
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    @property
    def url(self) -> str:
        """The address of the database behind it."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def set(self, mode: str) -> None:
        """Change how the line behaves, for open connections too."""
        self.mode = mode
        if mode in ("reset", "refuse"):
            self._loop.call_soon_threadsafe(self._cut)

    def close(self) -> None:
        """End it."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        self._loop.run_forever()
        self._server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._cut()
        self._loop.run_until_complete(asyncio.sleep(0.01))
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def _cut(self) -> None:
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        if self.mode in ("reset", "refuse"):
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.transport.abort()
            return
        self._open.add(far_writer)
        await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if self.mode == "blackhole":
                    await asyncio.Event().wait()  # what was sent into a hole never comes out of it
                writer.write(data)
                await writer.drain()
        writer.close()
