"""No web page of another site reaches a service: not its predictions, not its readings, not its evidence."""

import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Thread
from time import monotonic, sleep

import pytest
import uvicorn
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from stillsafe.core.state import State
from stillsafe.dashboard import views
from stillsafe.serving.app import build
from stillsafe.serving.gate import CACHE_SIZE, MOST_HOST_BYTES, Gate, host_name, is_same_origin, machine_names
from tests.serving.services import GOOD, Service

Headers = Mapping[str, str]
PATHS = [
    ("POST", "/v1/predict"),
    ("POST", "/v1/predict/batch"),
    ("GET", "/v1/predict"),
    ("OPTIONS", "/v1/predict"),
    ("GET", "/v1/state"),
    ("GET", "/v1/incidents"),
    ("GET", "/metrics"),
    ("GET", "/health/live"),
    ("GET", "/"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("GET", "/nowhere"),
]
FOREIGN: list[Headers] = [
    {"Origin": "http://evil.example"},
    {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "http://{host}.evil.example"},
    {"Origin": "http://evil.example/{host}"},
    {"Origin": "http://{host}@evil.example"},
    {"Origin": "http://localhost:1"},
    {"Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    {"Sec-Fetch-Site": "a value of a later standard"},
    {"Origin": "http://{host}", "Sec-Fetch-Site": "same-site"},
]
FOREIGN_HOSTS = [
    "evil.example",
    "evil.example:{port}",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "localhost@evil.example",
    "evil.example@localhost:x",
    "10.0.0.7",
    "localhost:8000:8000",
    "[::1].evil.example",
    "a" * (MOST_HOST_BYTES + 1),
    "",
]
OWN_HOSTS = ["localhost", "LOCALHOST:1", "localhost.", "127.0.0.1:{port}", "[::1]:8000", socket.gethostname()]


@contextmanager
def running(app: FastAPI, http: str = "httptools") -> Iterator[int]:
    """A real server on loopback with one of uvicorn's parsers; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, http=http, log_config=None, access_log=False))
        thread = Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        limit = monotonic() + 30
        while not server.started and monotonic() < limit:
            sleep(0.01)
        try:
            assert server.started
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(30)


@pytest.fixture
def application(service: Service) -> FastAPI:
    """The API with the dashboard."""
    service.decide(State.NORMAL)
    pages = views.router(service.engine, service.context.settings, service.clock)
    return build(service.context, pages=pages)


def raw(port: int, lines: list[str], body: bytes = b"", method: str = "POST", path: str = "/v1/predict") -> bytes:
    """The answer to a request written byte by byte."""
    head = [f"{method} {path} HTTP/1.1", *lines, f"Content-Length: {len(body)}", "Connection: close", "", ""]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall("\r\n".join(head).encode("latin-1") + body)
        answer = bytearray()
        while part := connection.recv(65_536):
            answer += part
    return bytes(answer)


def status_of(answer: bytes) -> int:
    """The status of a raw answer."""
    return int(answer.split(b" ", 2)[1])


def counted_requests(client: TestClient) -> set[str]:
    """Every counter of requests that `/metrics` shows, above zero."""
    text = client.get("/metrics").text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {str(s) for s in samples if s.value and ("refus" in s.name or "predict" in s.name or "synth" in s.name)}


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_page_of_another_site_reaches_nothing(service: Service, application: FastAPI, headers: Headers) -> None:
    """Each path is answered 403 with a problem; nothing is logged, recorded or counted as anybody's refusal."""
    with TestClient(application) as client:
        counts = counted_requests(client)
        for method, path in PATHS:
            values = {name: value.format(host="testserver") for name, value in headers.items()}
            response = client.request(method, path, headers=values, content=b"x")
            assert (response.status_code, response.json()["status"]) == (403, 403), path
            assert response.headers["content-type"] == "application/problem+json"
            assert not any(name.startswith("access-control") for name in response.headers)
        assert counted_requests(client) == counts
    assert (service.log(), service.refusals()) == ([], [])


def test_the_page_that_sends_simple_requests_in_a_mass_is_nobody(service: Service, application: FastAPI) -> None:
    """`fetch(..., {mode: 'no-cors'})` with a text, a form or a Blob, beside an honest client."""
    good = json.dumps({"features": GOOD}).encode()
    kinds = ["Content-Type: text/plain;charset=UTF-8", "Content-Type: application/x-www-form-urlencoded", None]
    with running(application) as port:
        for kind in kinds:
            for body in (b"x", good, b'{"features": {}}'):
                site = [f"Host: 127.0.0.1:{port}", "Origin: http://evil.example", "Sec-Fetch-Site: cross-site"]
                assert status_of(raw(port, site + ([kind] if kind else []), body)) == 403
        assert status_of(raw(port, [f"Host: 127.0.0.1:{port}"], good)) == 200
    assert (len(service.log()), service.refusals()) == (1, [])


@pytest.mark.parametrize("parser", ["httptools", "h11"])
def test_no_foreign_name_is_served_on_loopback(service: Service, application: FastAPI, parser: str) -> None:
    """DNS rebinding: the page's own name resolves to this machine, and the browser calls it the same origin."""
    good = json.dumps({"features": GOOD}).encode()
    with running(application, parser) as port:
        for host in FOREIGN_HOSTS:
            name = host.format(port=port)
            page = [f"Host: {name}", f"Origin: http://{name}", "Sec-Fetch-Site: same-origin"]
            for lines in ([f"Host: {name}"], [*page, "Content-Type: application/json"]):
                for method, path in PATHS:
                    answer = raw(port, lines, good, method, path)
                    is_probe = name == "10.0.0.7" and path.startswith("/health/")
                    codes = (200,) if is_probe else (403, 400) if parser == "h11" else (403,)
                    assert status_of(answer) in codes, (host, path)
    assert (service.log(), service.refusals()) == ([], [])


@pytest.mark.parametrize("parser", ["httptools", "h11"])
def test_every_name_of_this_machine_is_served_on_loopback(service: Service, application: FastAPI, parser: str) -> None:
    """With any port, because a tunnel or a container may have another; HTTP/1.0 needs no name at all."""
    good = json.dumps({"features": GOOD}).encode()
    with running(application, parser) as port:
        for host in OWN_HOSTS:
            assert status_of(raw(port, [f"Host: {host.format(port=port)}"], good)) == 200, host
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(b"GET /health/live HTTP/1.0\r\n\r\n")
            assert status_of(connection.recv(65_536)) == 200
    assert (len(service.log()), service.refusals()) == (len(OWN_HOSTS), [])


@pytest.mark.parametrize("root", ["", "/mounted"])
def test_health_is_told_under_any_address_and_no_name(root: str) -> None:
    """A probe has the address of a proxy; no name that a page could have given this machine is one."""
    gate = Gate(["models.example"])
    hosts = {b"10.0.0.7:8443": True, b"[2001:db8::1]": True, b"10.0.0.7.evil.example": False, b"evil.example": False}
    paths = {"/health/live": True, "/health/ready": True, "/v1/state": False, "/": False, "/healthy": False}
    for host, is_address in hosts.items():
        for path, is_health in paths.items():
            scope = {
                "method": "GET",
                "path": root + path,
                "root_path": root,
                "server": ("127.0.0.1", 8000),
                "headers": [(b"host", host)],
            }
            assert (gate.problem(scope) is None) is (is_address and is_health), (host, path)


def test_a_repeated_header_of_origin_is_refused(service: Service, application: FastAPI) -> None:
    """Of two values no one knows which is meant."""
    host, own = "Host: localhost", "Origin: http://localhost"
    pairs = [
        [host, "Host: evil.example"],
        ["Host: evil.example", host],
        [host, "Origin: http://evil.example", own],
        [host, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-origin"],
    ]
    with running(application) as port:
        for lines in pairs:
            assert status_of(raw(port, [*lines, "Content-Type: application/json"], b"{}")) == 403, lines
        assert status_of(raw(port, [host, "X-A: 1", "X-A: 2"], json.dumps({"features": GOOD}).encode())) == 200
    assert service.refusals() == []


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/predict/batch"])
@pytest.mark.parametrize("kind", [None, "", "; charset=utf-8"])
def test_a_browser_must_name_the_content_type(
    service: Service, client: TestClient, path: str, kind: str | None
) -> None:
    """A body without one needs no permission of a page; it is refused, and is nobody's refusal."""
    document = {"features": GOOD} if path == "/v1/predict" else {"instances": [GOOD]}
    body, kinds = json.dumps(document), {} if kind is None else {"Content-Type": kind}
    own: list[Headers] = [
        {"Origin": "http://testserver"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"},
    ]
    for headers in own:
        assert client.post(path, content=body, headers={**headers, **kinds}).status_code == 415
        complete = {**headers, "Content-Type": "application/json"}
        assert client.post(path, content=body, headers=complete).status_code == 200
    assert service.refusals() == []
    assert client.post(path, content=body, headers=kinds).status_code == 200
    assert len(service.log()) == len(own) + 1


def test_the_own_pages_work_in_a_browser(application: FastAPI) -> None:
    """The dashboard, its style and the API's page, opened by hand and followed within the site."""
    good = json.dumps({"features": GOOD}).encode()
    with running(application) as port:
        host = f"Host: localhost:{port}"
        for path in ("/", "/docs", "/openapi.json", "/v1/state", "/metrics"):
            for headers in ([], ["Sec-Fetch-Site: none"], ["Sec-Fetch-Site: same-origin"]):
                assert status_of(raw(port, [host, *headers], method="GET", path=path)) == 200, path
        own = [host, f"Origin: http://localhost:{port}", "Sec-Fetch-Site: same-origin"]
        assert status_of(raw(port, [*own, "Content-Type: application/json"], good)) == 200


def test_a_link_that_a_person_follows_is_served(client: TestClient, service: Service) -> None:
    """A whole page in its own window is read by nobody else; a frame, an image, a form and a script's request are."""
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert client.get("/docs", headers=link).status_code == 200
    frame, image = link | {"Sec-Fetch-Dest": "iframe"}, link | {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    for headers in (frame, image, link | {"Origin": "http://evil.example"}):
        assert client.get("/docs", headers=headers).status_code == 403
    form = link | {"Content-Type": "application/json"}
    assert client.post("/v1/predict", json={"features": GOOD}, headers=form).status_code == 403
    assert (service.log(), service.refusals()) == ([], [])


def test_a_mounted_service_has_the_same_gate(service: Service, application: FastAPI) -> None:
    """Below another path the fast path is not taken, and with middleware neither: the gate is before both."""
    outer = FastAPI()
    outer.mount("/mounted", application)
    foreign = {"Origin": "http://evil.example"}
    with TestClient(outer) as client:
        assert client.post("/mounted/v1/predict", content=b"x", headers=foreign).status_code == 403
    assert service.refusals() == []


@pytest.mark.parametrize(
    ("names", "address", "host", "is_served"),
    [
        ([], "10.0.0.7", "anything.example", True),
        ([], "/run/stillsafe.sock", "anything.example", True),
        ([], None, "anything.example", True),
        ([], "127.0.0.2", "127.0.0.2:8000", True),
        ([], "127.0.0.1", "127.0.0.2:8000", False),
        ([], "::1", "evil.example", False),
        ([], "::1", "[::1]:8000", True),
        ([], "::ffff:127.0.0.1", "evil.example", False),
        ([], "::ffff:127.0.0.1", "127.0.0.1", True),
        ([], "localhost", "evil.example", False),
        (["models.example"], "10.0.0.7", "models.example:443", True),
        (["models.example"], "10.0.0.7", "MODELS.example.", True),
        (["models.example"], "10.0.0.7", "evil.example", False),
        (["models.example"], "10.0.0.7", "10.0.0.7:8000", True),
        (["models.example"], "10.0.0.7", "localhost", False),
        (["models.example"], "127.0.0.1", "models.example", True),
        (["models.example"], "127.0.0.1", "localhost", True),
        (["models.example"], "127.0.0.1", "evil.example", False),
        (["models.example"], "/run/stillsafe.sock", "evil.example", False),
        (["fd00::7"], "10.0.0.7", "[fd00::7]:80", True),
        (["*"], "127.0.0.1", "evil.example", True),
        (["*"], "10.0.0.7", "evil.example", True),
    ],
)
def test_which_names_are_served_where(names: list[str], address: str | None, host: str, is_served: bool) -> None:
    """By default on loopback the names of this machine; with the setting its names everywhere; the own address always.

    A probe by address, which a container's platform sends, therefore needs no setting.
    """
    server = None if address is None else (address, 8000)
    scope = {"method": "GET", "path": "/v1/state", "server": server, "headers": [(b"host", host.encode())]}
    assert (Gate(names).problem(scope) is None) == is_served


@pytest.mark.parametrize(
    ("origin", "host", "is_same"),
    [
        ("http://a:8000", "a:8000", True),
        ("https://a", "a", True),
        ("https://a", "a:443", True),
        ("http://A:80", "a", True),
        ("http://[::1]:8000", "[::1]:8000", True),
        ("http://a:8000", "a", False),
        ("http://a", "a:443", False),
        ("http://a", "b", False),
        ("http://a/", "a", False),
        ("file://a", "a", False),
        ("null", "null", False),
        ("http://a", None, False),
        ("http://", "", False),
    ],
)
def test_an_origin_is_a_host_and_a_port(origin: str, host: str | None, is_same: bool) -> None:
    """Another port is another site; a default port may be left out; a proxy may end TLS."""
    assert is_same_origin(origin.encode(), None if host is None else host.encode()) == is_same


def test_a_setting_of_the_service_reaches_the_gate(service: Service) -> None:
    """`[exposure] allowed_hosts` is in force for the application."""
    other = service.with_settings(exposure={"allowed_hosts": ["models.example"]})
    with TestClient(build(other.context), base_url="http://models.example") as client:
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/live", headers={"Host": "evil.example"}).status_code == 403


def test_names_are_read_without_port_and_final_dot() -> None:
    """What is no host name has none; the machine's own names are in lower case."""
    names = {b"A.b:1": "a.b", b"a.": "a", b"[::1]:1": "::1", b"a b": "", b"a/b": "", b"": "", b"\xff:x": "", b"a:": "a"}
    assert {host: host_name(host) for host in names} == names
    assert machine_names() >= {"localhost", "127.0.0.1", "::1"}
    assert all(name == name.lower() != "" for name in machine_names())


def test_hostile_names_fill_no_memory() -> None:
    """The kept results are few and short, whatever names come."""
    gate = Gate()
    for number in range(3 * CACHE_SIZE):
        for host in (b"%d.example" % number, b"%d" % number * 1000):
            scope = {"method": "GET", "path": "/", "server": ("127.0.0.1", 1), "headers": [(b"host", host)]}
            assert gate.problem(scope) is not None
    assert gate._is_allowed.cache_info().currsize == CACHE_SIZE
