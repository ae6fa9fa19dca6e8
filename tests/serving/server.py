"""A service as a process of its own, for tests that kill it: `python -m tests.serving.server FOLDER`."""

import socket
import sys
from pathlib import Path

import uvicorn

from stillsafe.serving.app import build
from tests.serving.services import opened


def main(folder: Path) -> None:
    """Serve until killed; the port is the first line on standard output."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(100)
    for service in opened(folder):
        server = uvicorn.Server(uvicorn.Config(build(service.context), log_config=None, access_log=False))
        sys.stdout.write(f"{listening.getsockname()[1]}\n")
        sys.stdout.flush()
        server.run(sockets=[listening])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
