"""A receiver of webhooks in this process, and a service with alerts."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


class Receiver:
    """What arrived: the headers and the documents, oldest first; and what is answered."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.paths: list[str] = []
        self.url = ""

    @property
    def documents(self) -> list[dict[str, Any]]:
        """The bodies."""
        return [json.loads(body) for body in self.bodies]


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A receiver that answers with the next of its statuses, or 204."""
    arrivals = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            arrivals.bodies.append(self.rfile.read(length))
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def _answer(self) -> None:
            arrivals.paths.append(self.path)
            arrivals.headers.append(dict(self.headers.items()))
            status = arrivals.statuses.pop(0) if arrivals.statuses else 204
            self.send_response(status)
            if status == 302:
                self.send_header("Location", arrivals.url)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    arrivals.url = f"http://127.0.0.1:{server.server_port}/hook"
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield arrivals
    server.shutdown()
    server.server_close()
    thread.join()
