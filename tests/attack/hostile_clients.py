"""Clients that each take what they can of one service, from one connection or one kind of reading."""

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from threading import Event, Thread

from tests.faults.api import BODY

PREDICT, BATCH = "/v1/predict", "/v1/predict/batch"
JSON_TYPE = {"Content-Type": "application/json"}
PIECE = b"a" * 65_536
HEAD_BYTES = 100_000_000
UNKNOWN_KEYS = b'{"features":{' + b",".join(b'"key%06d":1' % number for number in range(70_000)) + b"}}"
ARRAYS = b'{"features":[' + b",".join([b"[]"] * 330_000) + b"]}"
INSTANCE = b"{" + b",".join(b'"key%03d":1' % number for number in range(80)) + b"}"
UNKNOWN_BATCH = b'{"instances":[' + b",".join([INSTANCE] * 990) + b"]}"
FULL_BATCH = json.dumps({"instances": [BODY] * 1_000}).encode()
Act = Callable[[int, Event], None]


def _post_again(path: str, body: bytes) -> Act:
    def act(port: int, stop: Event) -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=120)
        while not stop.is_set():
            with suppress(OSError, HTTPException):
                connection.request("POST", path, body, JSON_TYPE)
                connection.getresponse().read()
        connection.close()

    return act


def _get_again(path: str) -> Act:
    def act(port: int, stop: Event) -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=120)
        while not stop.is_set():
            with suppress(OSError, HTTPException):
                connection.request("GET", path)
                connection.getresponse().read()
        connection.close()

    return act


def _send_long_heads(port: int, stop: Event) -> None:
    while not stop.is_set():
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ")
            for _ in range(HEAD_BYTES // len(PIECE)):
                connection.sendall(PIECE)


def _hold_connections(count: int, first_bytes: bytes) -> Act:
    """So many connections that send some bytes, read nothing and stay open."""

    def act(port: int, stop: Event) -> None:
        connections = []
        for _ in range(count):
            with suppress(OSError):
                connection = socket.socket()
                connections.append(connection)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                connection.settimeout(5)
                connection.connect(("127.0.0.1", port))
                connection.sendall(first_bytes)
        stop.wait()
        for connection in connections:
            connection.close()

    return act


def _connect_again(port: int, stop: Event) -> None:
    while not stop.is_set():
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"rubbish\r\n\r\n")


WINDOWS = b"GET /v1/windows?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n"
ONE_CONNECTION: Mapping[str, tuple[Act, ...]] = {
    "nobody": (),
    "a head of 100 MB": (_send_long_heads,),
    "1 MB of unknown keys": (_post_again(PREDICT, UNKNOWN_KEYS),),
    "1 MB of empty arrays": (_post_again(PREDICT, ARRAYS),),
    "990 instances of 80 unknown keys": (_post_again(BATCH, UNKNOWN_BATCH),),
    "1,000 good instances": (_post_again(BATCH, FULL_BATCH),),
    "connections of rubbish": (_connect_again,),
}
READERS: Mapping[str, tuple[Act, ...]] = {
    "4 viewers of the dashboard": (_get_again("/"),) * 4,
    "all runs in one answer": (_get_again("/v1/windows?limit=1000"),),
    "200 sockets that read nothing": (_hold_connections(200, WINDOWS),),
    "200 half heads": (_hold_connections(200, b"GET / HTTP/1.1\r\nHost: loc"),),
    "2 scrapers of the metrics": (_get_again("/metrics"),) * 2,
}


@contextmanager
def acting(acts: tuple[Act, ...], port: int) -> Iterator[None]:
    """Let hostile clients act until the block ends."""
    stop = Event()
    threads = [Thread(target=act, args=(port, stop), daemon=True) for act in acts]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(150)
