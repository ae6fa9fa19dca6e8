"""`stillsafe serve` as a process: a wrong address is a clear error, and a signal ends it."""

import http.client
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic, sleep

import pytest

from tests.cli.command_server import INSTALLATION, program, start
from tests.ports import free_port


@pytest.fixture
def used_port() -> Iterator[int]:
    """A port that another socket listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def _refusal(folder: Path, *words: str) -> str:
    with (folder / "serve.log").open("wb") as log:
        exit_code = start("serve", *words, folder=folder, log=log).wait(60)
    message = (folder / "serve.log").read_text()
    assert exit_code == 2, message
    return message


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use_is_one_clear_line(made_service: Path, used_port: int, workers: str) -> None:
    """Exit code 2, the address, the reason and the remedy."""
    message = _refusal(made_service, "--host", "127.0.0.1", "--port", str(used_port), "--workers", workers)
    assert message.count("\n") == 1
    assert f"The address 127.0.0.1:{used_port} cannot be used: Address already in use" in message
    assert "choose another with --port" in message


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b", "::g"])
def test_an_impossible_host_is_one_clear_line(made_service: Path, host: str) -> None:
    """An address of another machine, a name that is none, and half an IPv6 address."""
    message = _refusal(made_service, "--host", host, "--port", "0")
    assert (message.count("\n"), f"The address {host}:0 cannot be used" in message) == (1, True)


def test_an_impossible_port_is_refused(made_service: Path) -> None:
    """Ports end at 65535."""
    assert "65535" in _refusal(made_service, "--port", "70000")


def test_a_slow_client_does_not_keep_the_server_up(made_service: Path) -> None:
    """After a signal it waits for an unfinished body, but no longer than the grace period."""
    port = free_port()
    command = [str(INSTALLATION), "serve", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, cwd=made_service, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_until_live(port)
            with socket.create_connection(("127.0.0.1", port)) as slow:
                slow.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
                sleep(0.3)
                began = monotonic()
                process.send_signal(signal.SIGTERM)
                process.wait(25)
                assert monotonic() - began < 20
        finally:
            process.kill()


def _wait_until_live(port: int) -> None:
    for _ in range(600):
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            try:
                connection.request("GET", "/health/live")
                assert connection.getresponse().status == 200
            except ConnectionRefusedError:
                sleep(0.1)
            else:
                return
    raise AssertionError("the server did not start")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_keys_are_in_force_in_every_process(made_service: Path, workers: str) -> None:
    """Also those that `--keys` alone asks for: a request without one is refused, and one with a new key is answered."""
    key = subprocess.run(
        [program(), "key", "create", "me", "--scope", "read"],
        cwd=made_service,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    port = free_port()
    command = [str(INSTALLATION), "serve", "--host", "127.0.0.1", "--port", str(port), "--keys", "--workers", workers]
    with subprocess.Popen(command, cwd=made_service, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_until_live(port)
            for headers, status in (({}, 401), ({"X-API-Key": key}, 200), ({"X-API-Key": key[:-1]}, 401)):
                for _ in range(5):
                    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
                        connection.request("GET", "/v1/schema", headers=headers)
                        assert connection.getresponse().status == status
        finally:
            process.terminate()
