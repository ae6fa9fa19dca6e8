"""`serve`: the API and the dashboard behind uvicorn, in this process or in several workers."""

import os
import socket
import sys
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from fastapi import FastAPI

from stillsafe import logs, service
from stillsafe.cli.app import DEFAULT_CONFIG, EXIT_FAILURE, Config, app
from stillsafe.cli.workers import Workers
from stillsafe.errors import ConfigurationError
from stillsafe.serving import connections
from stillsafe.serving.metrics import COUNTS_VARIABLE
from stillsafe.settings import Settings

GRACE_SECONDS = 10
"""How long open connections may delay a server that is stopping."""

_uvicorn_config = partial(
    uvicorn.Config,
    log_config=None,
    access_log=False,
    proxy_headers=False,  # the client's address is never used
    timeout_graceful_shutdown=GRACE_SECONDS,
)


@app.command()
def serve(
    config: Config = DEFAULT_CONFIG,
    host: Annotated[str | None, typer.Option(help="Address to listen on; default: from the settings.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on; default: from the settings.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that serve the same port.")] = 1,
) -> None:
    """Serve the API and the dashboard until stopped."""
    logs.set_up("INFO")
    settings = service.settings_of(config)
    logs.set_up("INFO", service=settings.service.name, model_version=settings.model.version)
    with listen(host or settings.serving.host, settings.serving.port if port is None else port) as server_socket:
        if workers == 1:
            application = service.create_app(settings)
            service.freeze_collector()
            _run(application, settings, server_socket)
        else:
            _run_workers(settings, config.resolve(), workers, server_socket)


def _run_workers(settings: Settings, config: Path, workers: int, server_socket: socket.socket) -> None:
    """Serve in worker processes until stopped; a worker that dies is replaced."""
    service.create_app(settings)  # a wrong configuration fails here, once, and not in each worker
    os.environ[service.CONFIG_VARIABLE] = str(config)
    with tempfile.TemporaryDirectory(prefix="stillsafe-counts-") as counts:
        os.environ[COUNTS_VARIABLE] = counts
        worker_config = _uvicorn_config(
            "stillsafe.service:app_from_environment",
            factory=True,
            workers=workers,
            **connections.server_options(settings.serving),
        )
        supervisor = Workers(worker_config, sockets=[server_socket])
        supervisor.run()
    if supervisor.start_failed:
        sys.exit(EXIT_FAILURE)


def _run(application: FastAPI, settings: Settings, server_socket: socket.socket) -> None:
    """Serve in this process until stopped."""
    server = uvicorn.Server(_uvicorn_config(application, **connections.server_options(settings.serving)))
    with suppress(KeyboardInterrupt):
        server.run(sockets=[server_socket])
    if not server.started:
        sys.exit(EXIT_FAILURE)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on an address.

    Raises:
        ConfigurationError: the address is in use, or does not belong to this machine.
    """
    server_socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server_socket.bind((host, port))
        server_socket.listen()
    except (OSError, ValueError) as error:  # bind raises ValueError for a name that cannot be encoded
        server_socket.close()
        reason = getattr(error, "strerror", None) or "it is no address"
        raise ConfigurationError(
            f"The address {host}:{port} cannot be used: {reason}; choose another with --port or --host."
        ) from error
    return server_socket
