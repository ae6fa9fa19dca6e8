"""`serve` listens where it is told to, or says why it cannot. `tests/serving/test_serve.py` serves for real."""

import pytest

from stillsafe.cli.serve import listen
from stillsafe.errors import ConfigurationError

from .commands import Command


def test_a_free_port_is_taken() -> None:
    """Port 0 is any free port, which is then listened on."""
    with listen("127.0.0.1", 0) as server_socket:
        assert server_socket.getsockname()[1] > 0


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "a" * 300])
def test_an_impossible_address_is_refused(host: str) -> None:
    """An address that is not of this machine, or none at all, is an error with a remedy."""
    with pytest.raises(ConfigurationError, match="choose another with --port or --host"):
        listen(host, 0)


def test_a_port_in_use_is_a_misconfiguration(run: Command) -> None:
    """The command fails with exit code 2 before it loads a model."""
    with listen("127.0.0.1", 0) as server_socket:
        code, _, errors = run("serve", "--port", str(server_socket.getsockname()[1]))
    assert (code, "cannot be used" in errors) == (2, True)
