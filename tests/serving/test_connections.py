"""What one client's connections may take from the others, against a served process and raw sockets."""

from pathlib import Path

import pytest

from stillsafe.serving.connections import server_options
from stillsafe.settings_sections import Serving
from tests.serving.server_process import request, seconds_until_closed, serve_folder, status


def test_an_idle_connection_outlives_those_of_proxies() -> None:
    """Nginx and load balancers keep theirs for 60 seconds: whoever closes first must not be the server."""
    assert server_options(Serving())["timeout_keep_alive"] >= 75


def test_an_idle_connection_stays_as_long_as_the_settings_say(made_service: Path) -> None:
    """A connection without a request is closed after `idle_seconds`, and the next one before that is answered."""
    with serve_folder(made_service, idle_seconds="8s") as server, server.connect() as connection:
        for _ in range(2):
            connection.sendall(request())
            assert status(connection) == 200
            with pytest.raises(TimeoutError):
                seconds_until_closed(connection, most=6)
        assert seconds_until_closed(connection) < 5
