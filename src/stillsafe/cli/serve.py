"""`serve`: the API and the dashboard behind uvicorn, in this process or in several workers."""

import logging
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
from stillsafe.check import exposure
from stillsafe.cli.app import DEFAULT_CONFIG, EXIT_FAILURE, Config, app
from stillsafe.cli.output import print_error, print_plain
from stillsafe.cli.workers import Workers
from stillsafe.errors import ConfigurationError, StoreError
from stillsafe.logs import LogEvent, log_event
from stillsafe.serving import direct_path
from stillsafe.serving.access.keys import list_keys
from stillsafe.serving.metrics import COUNTS_VARIABLE
from stillsafe.settings import Settings
from stillsafe.settings_exposure import is_loopback
from stillsafe.store.read.keys import KeyRecord

logger = logging.getLogger(__name__)

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
    keys: Annotated[
        bool | None,
        typer.Option(
            "--keys/--no-keys",
            help="Whether clients need a key; default: from the settings, else yes unless only this machine can reach "
            "the address.",
        ),
    ] = None,
) -> None:
    """Serve the API and the dashboard until stopped."""
    logs.set_up("INFO")
    settings = service.settings_of(config)
    logs.set_up("INFO", service=settings.service.name, model_version=settings.model.version)
    with listen(host or settings.serving.host, settings.serving.port if port is None else port) as server_socket:
        settings = _with_keys(settings, keys, server_socket)
        if workers == 1:
            application = service.create_app(settings)
            service.freeze_collector()
            _run(application, settings, server_socket)
        else:
            _run_workers(settings, config.resolve(), workers, server_socket)


def _with_keys(settings: Settings, option: bool | None, server_socket: socket.socket) -> Settings:
    """The settings with the decision whether clients need a key. Prints and logs who may reach the service.

    Raises:
        ConfigurationError: nothing decides it, other machines can reach the address, and there is no key.
    """
    host, port = server_socket.getsockname()[:2]
    choice = settings.exposure.keys if option is None else option
    are_needed = not is_loopback(host) if choice is None else choice
    keys = _stored_keys(settings) if are_needed else None
    if are_needed and keys is not None and not exposure.valid(keys):
        if choice is None:
            raise ConfigurationError(
                f"Other machines can reach {host}:{port}, and the service has no key.",
                f"Make one with {exposure.CREATE}, or give --no-keys if a proxy or a network decides who gets "
                "here. `keys` in [exposure] decides it for good.",
            )
        print_error(f"there is no key yet, so every request but /health is refused; {exposure.CREATE} makes one.")
    key_sentence = exposure.key_sentence(are_needed=are_needed, keys=keys)
    limit_sentence = exposure.limit_sentence(settings)
    address = exposure.address_sentence(host, port)
    for sentence in (f"{address} {exposure.host_sentence(settings, host)}", key_sentence, limit_sentence):
        print_plain(sentence)
    fields = {
        "address": f"{host}:{port}",
        "allowed_hosts": list(settings.exposure.allowed_hosts),
        "keys": key_sentence,
        "trusted_proxies": list(settings.exposure.trusted_proxies),
        "limits": limit_sentence,
        "process": os.getpid(),
    }
    log_event(logger, LogEvent.LISTENING, fields)
    return service.with_keys(settings, are_needed)


def _stored_keys(settings: Settings) -> list[KeyRecord] | None:
    """The service's keys, or None if the store cannot be read now."""
    engine = service.connect(settings)
    try:
        return list_keys(engine)
    except StoreError:
        return None
    finally:
        engine.dispose()


def _run_workers(settings: Settings, config: Path, workers: int, server_socket: socket.socket) -> None:
    """Serve in worker processes until stopped; a worker that dies is replaced."""
    service.create_app(settings)  # a wrong configuration fails here, once, and not in each worker
    os.environ[service.CONFIG_VARIABLE] = str(config)
    os.environ[service.KEYS_VARIABLE] = "on" if settings.exposure.keys else "off"
    with tempfile.TemporaryDirectory(prefix="stillsafe-counts-") as counts:
        os.environ[COUNTS_VARIABLE] = counts
        worker_config = _uvicorn_config(
            "stillsafe.service:app_from_environment",
            factory=True,
            workers=workers,
            **direct_path.server_options(settings.serving, settings.exposure),
        )
        supervisor = Workers(worker_config, sockets=[server_socket])
        supervisor.run()
    if supervisor.start_failed:
        sys.exit(EXIT_FAILURE)


def _run(application: FastAPI, settings: Settings, server_socket: socket.socket) -> None:
    """Serve in this process until stopped."""
    options = direct_path.server_options(settings.serving, settings.exposure)
    server = uvicorn.Server(_uvicorn_config(application, **options))
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
