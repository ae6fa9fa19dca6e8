"""What becomes of a peer that cannot be had or does not run: a reason, never silence and never a process left over."""

import sys
from pathlib import Path

import pytest
from benchmarks.environments import NotInstalled
from benchmarks.servers import NotStarted

from benchmarks import environments, servers
from tests.ports import free_port

SERVER = "import http.server, sys; http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]))"
WITH_CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SERVER!r}, sys.argv[1]])"


def test_what_cannot_be_installed_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The installer's own words; and the environment is not taken for ready the next time."""
    monkeypatch.setattr(environments, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(environments, "REQUIREMENTS", tmp_path)
    (tmp_path / "peer.txt").write_text("no requirement at all\n")
    for _ in range(2):
        with pytest.raises(NotInstalled, match="requirement"):
            environments.python("peer")


def test_what_does_not_start_says_why(tmp_path: Path) -> None:
    """The error has the end of its log."""
    command = [sys.executable, "-c", "raise SystemExit('the model is missing')"]
    port = free_port()
    with (
        pytest.raises(NotStarted, match="the model is missing"),
        servers.running(command, port=port, ready="/", folder=tmp_path, environment={}),
    ):
        pass


def test_no_process_of_a_server_is_left(tmp_path: Path) -> None:
    """Children end with it, also where the server itself forgets them."""
    port = free_port()
    command = [sys.executable, "-c", WITH_CHILD, str(port)]
    with servers.running(command, port=port, ready="/", folder=tmp_path, environment={}) as running:
        session = servers._session(running.process.pid)
        assert len(session) == 2
        assert running.memory_bytes() > 0
    assert not servers._session(running.process.pid)
