"""A service with keys behind the example's nginx serves all that has business with it, and tells them apart."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import sync_playwright

from stillsafe.serving.sources import source_of
from tests.attack.front import ADDRESSES, NAME, Proxy, program, proxy_before, sample, scraper_of
from tests.attack.rows import stored_sources
from tests.cli.commands import stillsafe
from tests.faults.api import BODY
from tests.faults.figures import Figure
from tests.serving.server_process import ServerProcess, serve_folder

GOOD: dict[str, Any] = {"features": BODY}
EXPOSURE = f'[exposure]\nallowed_hosts = ["{NAME}"]\ntrusted_proxies = ["127.0.0.1"]\n'
CLIENT_ADDRESS = "127.0.0.3"
"""Where a client of the proxy comes from; the proxy's own connections come from 127.0.0.1."""
REFRESH_SOON = "document.dispatchEvent(new Event('visibilitychange'))"
"""The page updates itself each minute, and whenever a person comes back to it."""
"""The page's own refresh, in a second instead of a quarter of the monitor's interval."""


@contextmanager
def behind_proxy(pristine_service: Path, place: Path, *options: str) -> Iterator[tuple[ServerProcess, Proxy]]:
    """A service with the settings that the example names, and the proxy before it."""
    folder, proxy_folder = Path(shutil.copytree(pristine_service, place / "service")), place / "nginx"
    proxy_folder.mkdir()
    file = folder / "stillsafe.toml"
    file.write_text(file.read_text().replace("[exposure]\n", EXPOSURE))
    with (
        serve_folder(folder, *options, max_connections_per_address=10_000) as target,
        proxy_before(target.port, proxy_folder) as proxy,
    ):
        yield target, proxy


@pytest.fixture(scope="module")
def keyed_service(
    pristine_service: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ServerProcess, Proxy]]:
    """With keys."""
    with behind_proxy(pristine_service, tmp_path_factory.mktemp("keyed"), "--keys") as pair:
        yield pair


def create_key(target: ServerProcess, name: str, scope: str) -> str:
    """A key that `stillsafe key create` prints."""
    process = stillsafe(target.log_file.parent, "key", "create", name, "--scope", scope)
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


def client_of(proxy: Proxy, key: str | None = None, **headers: str) -> httpx2.Client:
    """A client from an address of its own, that keeps its connection."""
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    transport = httpx2.HTTPTransport(verify=proxy.tls, local_address=CLIENT_ADDRESS)
    return httpx2.Client(transport=transport, base_url=f"https://{ADDRESSES[0]}:{proxy.port}", headers=headers)


def test_an_inference_client_predicts(keyed_service: tuple[ServerProcess, Proxy]) -> None:
    """On one connection, under the public name; the source of each row is the key, and never the proxy."""
    target, proxy = keyed_service
    key = create_key(target, "shop", "predict")
    with client_of(proxy, key, Host=f"{NAME}:{proxy.port}") as client:
        answers = [client.post("/v1/predict", json=GOOD) for _ in range(20)]
        batch = client.post("/v1/predict/batch", json={"instances": [BODY] * 3})
        client_ports = {each.extensions["network_stream"].get_extra_info("client_addr")[1] for each in answers}
    assert [each.status_code for each in (*answers, batch)] == [200] * 21
    assert len(client_ports) == 1
    assert stored_sources(target) == {source_of("key:shop", "salt"): 23}


def test_whoever_has_no_key_is_refused(keyed_service: tuple[ServerProcess, Proxy]) -> None:
    """By whatever name or address they come, and whatever they write into the headers of a proxy."""
    target, proxy = keyed_service
    counts = stored_sources(target)
    with client_of(proxy) as client:
        for headers in ({}, {"X-Forwarded-For": "127.0.0.1"}, {"Forwarded": "for=127.0.0.1"}, {"X-API-Key": "stsf_x"}):
            assert client.post("/v1/predict", json=GOOD, headers=headers).status_code == 401
            assert client.get("/metrics", headers=headers).status_code == 401
        assert client.get("/health/ready", headers={"Host": "evil.example"}).status_code == 403
    assert stored_sources(target) == counts


def test_a_probe_by_address_needs_no_name_and_no_key(keyed_service: tuple[ServerProcess, Proxy]) -> None:
    """Also under an address of the proxy that is none of the service's, as a load balancer's probe has it."""
    _, proxy = keyed_service
    with client_of(proxy) as client:
        for address in ADDRESSES:
            answers = [client.get(f"https://{address}:{proxy.port}/health/{each}") for each in ("live", "ready")]
            assert [each.status_code for each in answers] == [200, 200]
            assert answers[1].json().keys() == {"status", "judged"}
        assert client.get(f"https://{ADDRESSES[1]}:{proxy.port}/v1/state").status_code == 403


def test_prometheus_scrapes(keyed_service: tuple[ServerProcess, Proxy], tmp_path: Path) -> None:
    """With the configuration of the examples and a key that may read."""
    target, proxy = keyed_service
    with scraper_of(proxy, create_key(target, "prometheus", "read"), tmp_path) as port:
        assert sample(port, 'up{job="stillsafe"}') == 1
        assert sample(port, 'stillsafe_state{job="stillsafe",state="NORMAL"}') == 1
        assert sample(port, 'stillsafe_key_requests_total{key="prometheus",result="admitted"}') >= 1


def test_a_person_logs_in_and_sees_the_dashboard_change(keyed_service: tuple[ServerProcess, Proxy]) -> None:
    """In a real browser: the session is kept over the page's own refresh, in a cookie that only HTTPS carries."""
    target, proxy = keyed_service
    key = create_key(target, "person", "read")
    problems: list[str] = []
    arguments = ["--no-sandbox", f"--host-resolver-rules=MAP {NAME} {ADDRESSES[0]}"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program("chromium"), args=arguments)
        context = browser.new_context(ignore_https_errors=True)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.goto(f"https://{NAME}:{proxy.port}/")
        page.get_by_label("A key with the scope").fill(key)
        page.get_by_role("button", name="Log in").click()
        page.get_by_text("never run").first.wait_for()
        (cookie,) = context.cookies()
        assert (cookie["httpOnly"], cookie["secure"], cookie["sameSite"]) == (True, True, "Strict")
        monitor = stillsafe(target.log_file.parent, "monitor")
        assert monitor.returncode == 0, monitor.stderr
        page.evaluate(REFRESH_SOON)
        page.get_by_text("never run").first.wait_for(state="detached")
        assert page.get_by_role("button", name="Log out").is_visible()
        browser.close()
    assert problems == []


def test_no_key_is_in_any_log(keyed_service: tuple[ServerProcess, Proxy], figure: Figure) -> None:
    """Neither the proxy's nor the service's."""
    target, proxy = keyed_service
    lines = proxy.access_log.read_text().splitlines()
    assert lines
    assert "stsf_" not in proxy.access_log.read_text() + target.log_file.read_text()
    figure("behind nginx: requests that the proxy passed on or refused", len(lines))


def test_without_keys_the_source_is_the_forwarded_address(pristine_service: Path, tmp_path: Path) -> None:
    """That of the client, whatever it says of itself, and not the proxy's; who is no proxy forwards nothing."""
    with behind_proxy(pristine_service, tmp_path, "--no-keys") as (target, proxy):
        with client_of(proxy) as client:
            for headers in ({}, {"X-Forwarded-For": "10.0.0.9"}, {"Forwarded": "for=10.0.0.9"}):
                assert client.post("/v1/predict", json=GOOD, headers=headers).status_code == 200
        transport = httpx2.HTTPTransport(local_address=CLIENT_ADDRESS)
        with httpx2.Client(transport=transport, base_url=f"http://127.0.0.1:{target.port}") as direct_client:
            answer = direct_client.post("/v1/predict", json=GOOD, headers={"X-Forwarded-For": "10.0.0.9"})
            assert answer.status_code == 200
        sources = stored_sources(target)
    assert sources == {source_of(f"address:{CLIENT_ADDRESS}", "salt"): 4}
