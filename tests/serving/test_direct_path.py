"""The direct path gives the answers of the way through ASGI, on real sockets, and leaves to it what it cannot do."""

import json
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from threading import Thread
from time import sleep
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from stillsafe.core.state import State
from stillsafe.serving.app import build
from stillsafe.serving.direct_path import server_options
from stillsafe.serving.fast_path import FastPathApp
from stillsafe.store.read.request_id import prediction_by_id
from tests.serving.services import GOOD, OLD, Service, fresh
from tests.test_tracing import HEADERS, Spans

TENSORS = {"inputs": [{"name": name, "shape": [1], "datatype": "BYTES", "data": ["x"]} for name in GOOD]}
BODIES: list[tuple[str, Any]] = [
    ("/v1/predict", {"features": GOOD}),
    ("/v1/predict", {"id": "order-7", "features": GOOD}),
    ("/v1/predict", {"features": {**GOOD, "age": "x"}}),
    ("/v1/predict", [1]),
    ("/v1/predict/batch", {"instances": [GOOD, OLD, {}]}),
    ("/v1/fallback", {"features": OLD}),
    ("/v1/record", {"features": GOOD, "prediction": "yes", "probabilities": {"no": 0.1, "yes": 0.9}}),
    ("/v2/models/stay/infer", TENSORS),
    ("/v1/nothing", {"features": GOOD}),
]
PLAIN, IN_CHUNKS = "", "Transfer-Encoding: chunked"
"""Headers of a request that takes the direct path, and of the same one that does not."""


class Site:
    """A served service, and the paths of the requests that went through ASGI."""

    def __init__(self, port: int, asgi_paths: list[str]) -> None:
        self.asgi_paths = asgi_paths
        self.address = ("127.0.0.1", port)

    def connect(self) -> socket.socket:
        """A new connection."""
        return socket.create_connection(self.address, timeout=10)

    def ask(self, content: bytes, count: int = 1) -> list[tuple[int, dict[str, str], Any]]:
        """What answers content on a connection of its own: status, headers and document of each answer."""
        with self.connect() as connection:
            connection.sendall(content)
            with connection.makefile("rb") as stream:
                return [_read(stream) for _ in range(count)]


def _read(stream: Any) -> tuple[int, dict[str, str], Any]:
    status = int(stream.readline().split()[1])
    lines = iter(lambda: stream.readline().decode().strip(), "")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return status, headers, json.loads(stream.read(int(headers["content-length"])))


def _request(path: str, document: Any, *headers: str) -> bytes:
    body = json.dumps(document).encode()
    length = f"Content-Length: {len(body)}"
    if IN_CHUNKS in headers:
        length, body = "", b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", length, *headers]
    return "\r\n".join([*filter(None, lines), "", ""]).encode() + body


@contextmanager
def _running_site(service: Service, patch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The service in a thread, on a port of its own."""
    asgi_paths: list[str] = []
    call = FastPathApp.__call__

    async def note(app: FastPathApp, scope: Scope, receive: Receive, send: Send) -> None:
        asgi_paths.append(scope.get("path", ""))
        await call(app, scope, receive, send)

    patch.setattr(FastPathApp, "__call__", note)
    context = service.context
    options = server_options(context.settings.serving)
    server = uvicorn.Server(
        uvicorn.Config(build(context), proxy_headers=False, log_config=None, access_log=False, **options)
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=server.run, args=([listener],))
        thread.start()
        while not server.started:
            sleep(0.01)
        asgi_paths.clear()
        yield Site(listener.getsockname()[1], asgi_paths)
        server.should_exit = True
        thread.join()


@pytest.fixture
def site(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A healthy service that is served."""
    service.decide(State.NORMAL)
    with _running_site(service, monkeypatch) as site:
        yield site


def _comparable(document: Any) -> Any:
    """A response without what differs between two requests."""
    if isinstance(document, dict):
        return {k: _comparable(v) for k, v in document.items() if k not in ("prediction_id", "timestamp", "id")}
    return [_comparable(each) for each in document] if isinstance(document, list) else document


@pytest.mark.parametrize(("path", "body"), BODIES)
def test_both_ways_give_the_same_answer(site: Site, path: str, body: Any) -> None:
    """Status, headers and document; the direct way passes ASGI by, for each path of the endpoint."""
    ((status, headers, document),) = site.ask(_request(path, body, PLAIN))
    assert site.asgi_paths == ([path] if path == "/v1/nothing" else [])
    ((asgi_status, asgi_headers, asgi_document),) = site.ask(_request(path, body, IN_CHUNKS))
    assert site.asgi_paths[-1] == path
    assert (status, _comparable(document)) == (asgi_status, _comparable(asgi_document))
    assert {**headers, "content-length": "", "date": ""} == {**asgi_headers, "content-length": "", "date": ""}


@pytest.mark.parametrize(
    "content",
    [
        _request("/v1/predict", {"features": GOOD}, "Expect: nothing"),
        _request("/v1/predict", {"features": GOOD}, "Connection: close"),
        _request("/v1/predict?x=1", {"features": GOOD}),
        _request("/v1/predict", {"features": GOOD}).replace(b"HTTP/1.1", b"HTTP/1.0"),
        _request("/v1/predict", {"features": {**GOOD, "town": "x" * 10_000}}),
    ],
)
def test_what_needs_asgi_gets_it(site: Site, content: bytes) -> None:
    """An expectation, the end of a connection, a query, an old protocol, a long body."""
    ((status, _, _),) = site.ask(content)
    assert len(site.asgi_paths) == 1
    assert status == (422 if len(content) > 10_000 else 200)


def test_a_trace_comes_back_and_belongs_to_its_request_alone(site: Site, service: Service) -> None:
    """Also where one follows another on the same connection: the header and the row have it, the next ones do not."""
    traced_request = _request("/v1/predict", {"features": GOOD}, "X-Request-Id: order-7")
    answers = site.ask(traced_request + _request("/v1/predict", {"features": GOOD}), 2)
    assert site.asgi_paths in ([], ["/v1/predict"])  # the second, where it arrived before the first was answered
    assert [headers.get("x-request-id") for _, headers, _ in answers] == ["order-7", None]
    with site.connect() as open_socket, open_socket.makefile("rb") as stream:
        for content in (traced_request, _request("/v1/predict", {"features": GOOD})):
            open_socket.sendall(content)
            answers.append(_read(stream))
    with service.context.reading() as connection:
        rows = [prediction_by_id(connection, document["prediction_id"]) for _, _, document in answers]
    assert [row and row.trace_id for row in rows] == ["order-7", None] * 2


@pytest.mark.parametrize("is_broken", [False, True])
def test_a_request_is_a_span(service: Service, monkeypatch: pytest.MonkeyPatch, is_broken: bool) -> None:
    """A child of the client's, with the status of the answer; also where answering breaks."""

    def broken_ids(_count: int) -> list[str]:
        raise KeyError("secret")

    spans = Spans()
    context = fresh(service.context, tracer=spans, **({"new_ids": broken_ids} if is_broken else {}))
    content = _request("/v1/predict", {"features": GOOD}, *(f"{name}: {value}" for name, value in HEADERS.items()))
    with _running_site(Service(context), monkeypatch) as site:
        ((status, headers, _),) = site.ask(content)
        assert site.asgi_paths == []
        site.ask(_request("/v1/predict", {"features": GOOD}, IN_CHUNKS))
    assert {name: headers[name] for name in HEADERS} == HEADERS
    requests = [each for each in spans.ends if each[0] == "POST /v1/predict"]
    assert [parent for _, parent, _, _ in requests] == [int("b7ad6b7169203331", 16), 0]
    assert status == (500 if is_broken else 200)
    assert [attributes["http.response.status_code"] for *_, attributes in requests] == [status] * 2


def test_requests_that_follow_each_other_are_answered_in_order(site: Site) -> None:
    """On one connection, without waiting for the answers, by both ways in turn."""
    ids = [f"order-{i}" for i in range(30)]
    contents = [
        _request("/v1/predict", {"id": name, "features": GOOD}, IN_CHUNKS if i % 3 == 2 else PLAIN)
        for i, name in enumerate(ids)
    ]
    answers = site.ask(b"".join(contents), len(ids))
    assert [document["id"] for _, _, document in answers] == ids


def test_a_request_in_pieces_is_answered(site: Site) -> None:
    """Wherever it is cut: what is not there as a whole takes the way through ASGI."""
    content = _request("/v1/predict", {"features": GOOD})

    @given(st.lists(st.integers(1, len(content) - 1), max_size=4))
    @settings(max_examples=15, deadline=None)
    def answers_all_cuts(cuts: list[int]) -> None:
        edges = [0, *sorted(cuts), len(content)]
        with site.connect() as connection, connection.makefile("rb") as stream:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(2):
                for start, end in pairwise(edges):
                    connection.sendall(content[start:end])
                    sleep(0.002)
                assert _read(stream)[0] == 200

    answers_all_cuts()


def test_a_client_that_leaves_costs_nobody_else_anything(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Its answer is dropped, no error is logged, and the others are answered."""
    for _ in range(20):
        with site.connect() as connection:
            connection.sendall(_request("/v1/predict", {"features": GOOD}))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert site.ask(_request("/v1/predict", {"features": GOOD}))[0][0] == 200
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_a_client_that_reads_nothing_fills_no_memory(site: Site) -> None:
    """Once its answers back up, the next request waits for them, as with ASGI, and goes on when they are read."""
    count = 1_000
    contents = _request("/v1/predict", {"features": GOOD}) * count
    with site.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        sender = Thread(target=connection.sendall, args=(contents,))
        sender.start()
        sleep(0.3)
        with connection.makefile("rb") as stream:
            assert {_read(stream)[0] for _ in range(count)} == {200}
        sender.join()


def test_an_internal_error_is_answered_and_logged(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client gets a problem without the cause; the server's log has the traceback."""

    def broken_ids(_count: int) -> list[str]:
        raise KeyError("secret")

    with _running_site(Service(fresh(service.context, new_ids=broken_ids)), monkeypatch) as site:
        ((status, headers, document),) = site.ask(_request("/v1/predict", {"features": GOOD}))
    assert (status, headers["content-type"], site.asgi_paths) == (500, "application/problem+json", [])
    assert "secret" not in json.dumps(document)
    assert "KeyError" in caplog.text


def test_added_middleware_sees_every_prediction(service: Service) -> None:
    """The direct path is closed where an application has any."""
    app = build(service.context)
    assert isinstance(app, FastPathApp)
    assert b"/v1/predict" in app.direct_methods
    app.add_middleware(lambda inner: inner)
    assert app.direct_methods == {}
