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
LONG_NUMBER = b'{"features":{"mean radius":' + b"1" * 1_000_000 + b"}}"
REPEATED_KEYS = b'{"features":{' + b",".join([b'"k":1'] * 160_000) + b"}}"
NUMBERS = b'{"instances":[' + b",".join([b"1.5e300"] * 120_000) + b"]}"
DEEP = b"[" * 1_000_000
FOREIGN_DIGIT = UNKNOWN_KEYS[:-2] + ',"x":\u0661}}'.encode()
SMALL_CHUNKS = b"1\r\n \r\n" * 200_000 + b"0\r\n\r\n"
MANY_HEADERS = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n" + b"a:b\r\n" * 2_500 + b"\r\n"
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


def _send_again(content: bytes) -> Act:
    """Raw requests on one connection, one after the other; whatever comes back is read."""

    def act(port: int, stop: Event) -> None:
        while not stop.is_set():
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
                while not stop.is_set():
                    connection.sendall(content)
                    if not connection.recv(65_536):
                        break

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


CHUNKED_HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
READY = b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n"
LABELS = json.dumps({"labels": [{"id": f"nothing {number}", "label": "1"} for number in range(1_000)]}).encode()
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
MORE_OF_ONE_CONNECTION: Mapping[str, tuple[Act, ...]] = {
    "a number of 1 MB": (_post_again(PREDICT, LONG_NUMBER),),
    "1 MB of one key": (_post_again(PREDICT, REPEATED_KEYS),),
    "1 MB of numbers": (_post_again(BATCH, NUMBERS),),
    "a million brackets": (_post_again(PREDICT, DEEP),),
    "a digit of another script": (_post_again(PREDICT, FOREIGN_DIGIT),),
    "200,000 chunks of a byte": (_send_again(CHUNKED_HEAD + SMALL_CHUNKS),),
    "2,500 headers": (_send_again(MANY_HEADERS),),
    "100 requests in one write": (_send_again(READY * 100),),
    "refused requests": (_post_again(PREDICT, b"x"),),
    "labels of nothing": (_post_again("/v1/labels", LABELS),),
    "readiness": (_get_again("/health/ready"),),
    "the OpenAPI document": (_get_again("/openapi.json"),),
    "the largest file": (_get_again("/docs/swagger-ui-bundle.js"),),
    "performance": (_get_again("/v1/performance?by=window&limit=100"),),
    "incidents": (_get_again("/v1/incidents?limit=1000"),),
}
"""Further members of the same kinds, for the long form."""
READERS: Mapping[str, tuple[Act, ...]] = {
    "4 viewers of the dashboard": (_get_again("/"),) * 4,
    "all runs in one answer": (_get_again("/v1/windows?limit=1000"),),
    "200 sockets that read nothing": (_hold_connections(200, WINDOWS),),
    "200 half heads": (_hold_connections(200, b"GET / HTTP/1.1\r\nHost: loc"),),
    "2 scrapers of the metrics": (_get_again("/metrics"),) * 2,
}
MORE_READERS: Mapping[str, tuple[Act, ...]] = {
    "30 probes of readiness": (_get_again("/health/ready"),) * 30,
    "200 slow bodies": (_hold_connections(200, CHUNKED_HEAD + b"1\r\n{\r\n"),),
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
