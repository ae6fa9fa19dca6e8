"""What one client's connections may take from the others, against a served process and raw sockets."""

import asyncio
import json
import pickle
import resource
import select
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillsafe.serving.connections import (
    MOST_HEADERS,
    MOST_JOINED_BYTES,
    MOST_PENDING,
    PIECE_BYTES,
    AnswerWriter,
    ConnectionRegistry,
    Limit,
)
from stillsafe.serving.direct_path import server_options
from stillsafe.settings_exposure import Exposure
from stillsafe.settings_sections import Serving
from tests.serving.server_process import ServerProcess, request, seconds_until_closed, serve_folder, status

HEAD_BYTES = 10_000
START = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
def server(made_service: Path) -> Iterator[ServerProcess]:
    """A server whose limits are so low that tests reach them soon."""
    limits: dict[str, Any] = {"max_connections": 30, "max_connections_per_address": 20, "idle_seconds": "4s"}
    with serve_folder(made_service, max_head_bytes=HEAD_BYTES, head_seconds="2s", **limits) as process:
        yield process


def _is_answered(server: ServerProcess) -> bool:
    with server.connect() as connection:
        connection.sendall(request())
        return status(connection) == 200


def _limits_in_log(server: ServerProcess) -> list[str]:
    return [line["limit"] for line in server.events("connection_limit")]


def test_an_idle_connection_outlives_those_of_proxies() -> None:
    """Proxies keep theirs for 60 seconds: whoever closes first must not be the server."""
    assert server_options(Serving())["timeout_keep_alive"] >= 75


def test_an_idle_connection_stays_as_long_as_the_settings_say(made_service: Path) -> None:
    """A connection without a request is closed after `idle_seconds`, and the next one before that is answered."""
    with serve_folder(made_service, idle_seconds="8s", head_seconds="1s") as server, server.connect() as connection:
        for _ in range(2):
            connection.sendall(request())
            assert status(connection) == 200
            with pytest.raises(TimeoutError):
                seconds_until_closed(connection, most=6)
        assert seconds_until_closed(connection) < 5
        assert _limits_in_log(server) == []


def test_a_head_may_have_just_the_bytes_of_the_limit(server: ServerProcess) -> None:
    """A head of the limit is answered, however it is cut into pieces; one byte more is 431, and the connection ends."""
    for size in (HEAD_BYTES, PIECE_BYTES, 1_000):
        for excess, expected in ((0, 200), (1, 431)):
            padding = HEAD_BYTES + excess - len(START) - len("x: \r\n\r\n")
            head = START + b"x: " + b"a" * padding + b"\r\n\r\n"
            assert len(head) == HEAD_BYTES + excess
            with server.connect() as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for start in range(0, len(head), size):
                    connection.sendall(head[start : start + size])
                    sleep(0.01)
                assert status(connection) == expected
                if excess:
                    assert seconds_until_closed(connection) < 1
    assert _limits_in_log(server) == ["max_head_bytes"]


def test_a_crowd_at_the_door_is_bounded(made_service: Path) -> None:
    """Connections that wait to be accepted delay those that are served: no more of them wait than the limit."""
    with serve_folder(made_service) as server, ExitStack() as stack:
        server.process.send_signal(signal.SIGSTOP)
        crowd = [stack.enter_context(socket.socket()) for _ in range(MOST_PENDING + 100)]
        waiting = select.poll()
        for connection in crowd:
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", server.port))
            waiting.register(connection, select.POLLOUT)
        sleep(0.5)
        assert 0 < len(waiting.poll(0)) <= MOST_PENDING + 1  # the kernel's queue holds one more
        server.process.send_signal(signal.SIGCONT)
        assert _is_answered(server)


CHUNKED_HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS = (
    b"GET /" + b"a" * 100,
    START + b"cookie: ",
    START + b"a-long-name",
    CHUNKED_HEAD + b"1\r\n{\r\n0\r\ntrailer: ",
    CHUNKED_HEAD + b"1;extension=",
)


def test_endless_lines_are_cut_at_the_limit(server: ServerProcess) -> None:
    """Whatever the parser would collect, path, header, trailer or extension: 100 MB are cut off after a few KB."""
    for beginning in ENDLESS:
        with server.connect() as connection:
            connection.sendall(beginning)
            sent_bytes, piece = 0, b"a" * 100_000
            with suppress(ConnectionError):
                while sent_bytes < 100_000_000:
                    connection.sendall(piece)
                    sent_bytes += len(piece)
        assert sent_bytes < 20_000_000  # what the kernel holds for both ends
        assert _is_answered(server)
    assert _limits_in_log(server) == ["max_head_bytes"]


def test_a_body_and_a_head_in_one_piece_count_apart(server: ServerProcess) -> None:
    """Requests that follow each other on one connection, each smaller than the limit, are all answered in order."""
    body = json.dumps({"features": 1, "synthetic": True}).ljust(HEAD_BYTES - 100).encode()
    post = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    get = START + b"x: " + b"a" * (HEAD_BYTES - 500) + b"\r\n\r\n"
    with server.connect() as connection:
        threading.Thread(target=connection.sendall, args=((post + get) * 50,)).start()
        assert _statuses(connection, 100) == [422, 200] * 50


def test_a_client_that_never_waits_is_answered_in_order(server: ServerProcess) -> None:
    """Thousands of requests in one write are answered, and another client is answered in between."""
    count = 2_000
    with server.connect() as connection:
        threading.Thread(target=connection.sendall, args=(request() * count,)).start()
        began = monotonic()
        assert _is_answered(server)
        assert monotonic() - began < 1
        assert _statuses(connection, count) == [200] * count


def _statuses(connection: socket.socket, count: int) -> list[int]:
    """The statuses of so many answers on one connection."""
    reader = connection.makefile("rb")
    statuses = []
    for _ in range(count):
        statuses.append(int(reader.readline().split()[1]))
        lines = dict(line.lower().strip().split(b": ", 1) for line in iter(reader.readline, b"\r\n"))
        reader.read(int(lines[b"content-length"]))
    reader.close()
    return statuses


def test_a_head_that_does_not_end_is_cut(server: ServerProcess) -> None:
    """A silent connection, and a head that stays half-sent, end after `head_seconds`; that is logged once."""
    half_heads = {b"": b"", b"GET / HT": b"408", START: b"408", b"\r\n": b"408"}
    half_heads[request() + b"GET /"] = b"200"  # the first request is answered, and idle time passes for the second
    with ExitStack() as stack:
        connections = {each: stack.enter_context(server.connect()) for each in half_heads}
        for beginning, connection in connections.items():
            connection.sendall(beginning)
        for beginning, connection in connections.items():
            assert half_heads[beginning] in connection.recv(65_536)
            assert seconds_until_closed(connection, 8) < 7
    assert _limits_in_log(server) == ["head_seconds"]


def test_a_head_that_drips_is_cut(server: ServerProcess) -> None:
    """A byte from time to time does not keep a connection: neither in a head nor in a body that nobody reads."""
    for beginning in (START + b"x: ", b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n"):
        with server.connect() as connection:
            connection.sendall(beginning)
            began = monotonic()
            with suppress(ConnectionError):
                while monotonic() - began < 10:
                    connection.sendall(b"a")
                    sleep(0.1)
            assert 1.5 < monotonic() - began < 6
    assert _limits_in_log(server) == ["head_seconds"]


def test_silent_connections_lock_nobody_out(server: ServerProcess) -> None:
    """A new client takes the place of a silent one, also at the limit of its own address; it is logged once."""
    with ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(server.connect())
            assert _is_answered(server)
    assert _limits_in_log(server) == ["max_connections_per_address"]


def test_idle_connections_lock_nobody_out(made_service: Path) -> None:
    """Where no connection is silent, a new client takes the place of the one that was idle longest."""
    with serve_folder(made_service, max_connections_per_address=5) as server, ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(5)]
        for each in connections:
            each.sendall(request())
            assert status(each) == 200
        assert _is_answered(server)
        assert seconds_until_closed(connections[0]) < 1
        connections[1].sendall(request())
        assert status(connections[1]) == 200


def test_connections_at_work_are_kept_and_new_ones_refused(made_service: Path) -> None:
    """Where each connection has a request, a new one gets 503 and ends, and the others are answered."""
    with serve_folder(made_service, max_connections=5) as server, ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(3)]
        for each in connections:
            each.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{")
        sleep(0.3)
        with server.connect() as connection:
            assert status(connection) == 503
            assert seconds_until_closed(connection) < 1
        for each in connections:
            each.sendall(b"}")
            assert status(each) == 422
        sleep(0.1)
        assert _is_answered(server)
        assert _limits_in_log(server) == ["max_connections_per_address"]


SLOW_BODY = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{"
SLOW_CHUNKS = CHUNKED_HEAD + b"1\r\n{\r\n"
UNREAD = request("/docs/swagger-ui-bundle.js") * 10


@pytest.mark.parametrize("beginning", [SLOW_BODY, SLOW_CHUNKS, UNREAD], ids=["body", "chunks", "unread"])
def test_stalled_connections_lock_nobody_out(made_service: Path, beginning: bytes) -> None:
    """Clients that owe a body, or read no answer, are no work: after a moment a new client takes the place of one."""
    with serve_folder(made_service, max_connections=8) as server, ExitStack() as stack:
        connections = [stack.enter_context(socket.socket()) for _ in range(4)]
        for each in connections:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            each.connect(("127.0.0.1", server.port))
            each.sendall(beginning)
        sleep(3.5)
        for _ in range(3):
            assert _is_answered(server)
        assert _limits_in_log(server) == ["max_connections_per_address"]


def test_more_silent_connections_than_descriptors_lock_nobody_out(made_service: Path) -> None:
    """The limit of all connections is below that of open files, so the service goes on reading its database."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4_096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    with serve_folder(made_service, descriptors=256) as server, ExitStack() as stack:
        for _ in range(400):
            stack.enter_context(server.connect())
        with server.connect() as connection:
            connection.sendall(request("/health/ready"))
            assert status(connection) == 200
        assert _limits_in_log(server) == ["max_connections_per_address"]


def test_a_client_that_reads_no_answer_is_cut(server: ServerProcess) -> None:
    """Answers that nobody reads do not stay in memory for longer than `idle_seconds`."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.connect(("127.0.0.1", server.port))
        connection.setblocking(False)
        began = monotonic()
        with suppress(ConnectionError):
            while monotonic() - began < 20:
                try:
                    connection.send(request("/openapi.json") * 10)
                except BlockingIOError:
                    sleep(0.1)
        assert monotonic() - began < 15
    assert _is_answered(server)
    assert _limits_in_log(server) == ["idle_seconds"]


def test_a_request_has_a_hundred_headers_at_most(server: ServerProcess) -> None:
    """One more is 431, whether the request has a body or another one behind it; the service goes on."""
    for count, expected in ((MOST_HEADERS, 200), (MOST_HEADERS + 1, 431)):
        for rest in (b"", b"x", request()):
            body = b"content-length: %d\r\n" % len(rest)
            with server.connect() as connection:
                connection.sendall(START + b"a:b\r\n" * (count - 2) + body + b"\r\n" + rest)
                assert status(connection) == expected
    assert "Traceback" not in server.log_file.read_text()


def test_a_trailer_is_no_header(server: ServerProcess) -> None:
    """A proxy that decides by headers has not seen it: neither a host, nor a site, nor a content type."""
    body = b'{"features": 1}'
    for trailer in (b"Origin: http://evil.example", b"Content-Type: text/plain", b"Host: evil.example"):
        with server.connect() as connection:
            connection.sendall(CHUNKED_HEAD + b"%x\r\n%s\r\n0\r\n%s\r\n\r\n" % (len(body), body, trailer))
            assert status(connection) == 422


def test_a_body_in_small_chunks_delays_nobody(server: ServerProcess) -> None:
    """Its parsing pauses after each slice; it is answered all the same, and so is what follows on its connection."""
    body = b"1\r\n \r\n" * 100_000 + b"0\r\n\r\n"
    with server.connect(timeout=60) as connection:
        threading.Thread(target=connection.sendall, args=((CHUNKED_HEAD + body + request()) * 2,)).start()
        assert _is_answered(server)
        assert _statuses(connection, 4) == [422, 200] * 2


def test_requests_that_cannot_be_read_fill_no_log(server: ServerProcess) -> None:
    """Neither what is no HTTP nor a protocol that is not spoken: a line each, however many there are."""
    upgrade = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: %s\r\n\r\n"
    requests = [b"rubbish\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /\x00 HTTP/1.1\r\n\r\n"]
    requests += [upgrade % b"websocket", upgrade % b"h2c"]
    line_count = len(server.log_file.read_text().splitlines())
    for _ in range(10):
        for content in requests:
            with server.connect() as connection:
                connection.sendall(content)
                assert connection.recv(65_536)
    lines = server.log_file.read_text().splitlines()[line_count:]
    assert sorted(json.loads(line)["reason"] for line in lines) == ["rubbish", "upgrade"]


def test_workers_have_the_limits(made_service: Path) -> None:
    """The options reach a worker process, which gets them pickled."""
    assert pickle.loads(pickle.dumps(server_options(Serving())))["ws"] == "none"  # noqa: S301 - its own bytes
    with serve_folder(made_service, "--workers", "2", max_head_bytes=2_000) as server, server.connect() as connection:
        connection.sendall(START + b"x: " + b"a" * 3_000)
        assert status(connection) == 431


def test_the_limits_of_connections_follow_the_open_files() -> None:
    """All connections are fewer than the files that may be open; one address has half of them, or what is set."""
    limits = ConnectionRegistry(Serving(max_connections=10**9)).limits
    assert limits[Limit.CONNECTIONS] < resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert limits[Limit.CONNECTIONS_PER_ADDRESS] == pytest.approx(limits[Limit.CONNECTIONS] / 2, abs=1)
    settings = Serving(max_connections=10, max_connections_per_address=50)
    assert ConnectionRegistry(settings).limits[Limit.CONNECTIONS_PER_ADDRESS] == 10


class _Connection:
    """A connection at work, as the registry sees it."""

    idle_until = None
    stall_seconds = 0.0

    def __init__(self, registry: ConnectionRegistry, peer: str) -> None:
        self.address, self.is_trusted = peer, registry.proxies.trusts(peer)
        self.loop = asyncio.get_running_loop()

    def cut_if_stalled(self, now: float) -> None:
        """Nothing is stalled."""


def test_a_trusted_proxy_has_no_limit_of_its_own() -> None:
    """It carries the connections of all clients: only the limit of all connections holds for it."""
    settings = Serving(max_connections=6, max_connections_per_address=2)

    async def connection_count(peer: str) -> int:
        registry = ConnectionRegistry(settings, Exposure(trusted_proxies=("10.0.0.0/24",)))
        count = 0
        for _ in range(10):
            connection: Any = _Connection(registry, peer)
            if registry.admit(connection):
                registry.note_head(connection)
                count += 1
        return count

    assert asyncio.run(connection_count("10.0.0.7")) == 6
    assert asyncio.run(connection_count("10.0.1.7")) == 2


class _Sink(asyncio.Transport):
    """What was sent, by system call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.calls.append(bytes(data))

    def close(self) -> None:
        self.is_closed = True


@given(
    answers=st.lists(
        st.tuples(
            st.sampled_from([b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 404 Not Found\r\n\r\n"]),
            st.lists(st.sampled_from([b"", b"body", b"HTTP/1.1 200 OK"]), max_size=3),
            st.booleans(),
        ),
        max_size=4,
    )
)
def test_a_head_leaves_with_its_body(answers: list[tuple[bytes, list[bytes], bool]]) -> None:
    """Every byte is sent, in order; a head and the piece after it in one call, one without a body at its end."""
    sink, expected = _Sink(), b""
    writer = AnswerWriter(sink)
    for head, pieces, waits in answers:
        count = len(sink.calls)
        if waits:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            assert len(sink.calls) == count + 1  # the client sends no body before it
            expected, count = expected + sink.calls[-1], count + 1
        for piece in (head, *pieces):
            writer.write(piece)
        assert sink.calls[count:][:1] == ([head + pieces[0]] if pieces else [])
        writer.flush()
        expected += head + b"".join(pieces)
        assert b"".join(sink.calls) == expected
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    writer.write(b"x" * (MOST_JOINED_BYTES + 1))
    assert [len(call) for call in sink.calls[-2:]] == [19, MOST_JOINED_BYTES + 1]  # a long body is not copied
    writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    writer.close()
    assert (sink.calls[-1], sink.is_closed) == (b"HTTP/1.1 204 No Content\r\n\r\n", True)


def test_answers_without_a_body_are_sent(server: ServerProcess) -> None:
    """To HEAD, to a client that waits for 100 Continue, and to the last request of a connection."""
    body = json.dumps({"features": {}}).encode()
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with server.connect() as connection:
        connection.sendall(b"HEAD" + request().removeprefix(b"GET"))
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
    with server.connect() as connection:
        connection.sendall(head + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert status(connection) == 100
        connection.sendall(body)
        assert status(connection) == 422
    with server.connect() as connection:
        connection.sendall(head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert status(connection) == 422
        assert seconds_until_closed(connection) < 1
