"""A small TCP proxy in front of a server: it can refuse connections, drop data and reset connections."""

import asyncio
from contextlib import suppress
from threading import Thread


class Proxy:
    """A listening port that forwards to another port.

    `mode` is `ok`, `refuse` (new connections are reset), `blackhole` (data are dropped, connections stay open) or
    `reset` (new and open connections are reset). `exchange_count` is how often a client sent something after an answer.
    """

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.port = 0
        self.mode = "ok"
        self.exchange_count = 0
        self._is_clients_turn = True
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    @property
    def url(self) -> str:
        """URL of the database behind the proxy."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def set(self, mode: str) -> None:
        """Change the mode, for open connections too."""
        self.mode = mode
        if mode in ("reset", "refuse"):
            self._loop.call_soon_threadsafe(self._abort_connections)

    def close(self) -> None:
        """Stop the proxy."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        self._loop.run_forever()
        self._server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._abort_connections()
        self._loop.run_until_complete(asyncio.sleep(0.01))
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def _abort_connections(self) -> None:
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
        await asyncio.gather(self._forward(reader, far_writer, is_client=True), self._forward(far_reader, writer))

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_client: bool = False
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                self.exchange_count += is_client and self._is_clients_turn
                self._is_clients_turn = not is_client
                if self.mode == "blackhole":
                    await asyncio.Event().wait()  # dropped data are never delivered
                writer.write(data)
                await writer.drain()
        writer.close()
