"""Commands that make a service and run it: init, check, serve, demo."""

import os
import secrets
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
from uvicorn.supervisors import Multiprocess

from stillsafe import logs, service
from stillsafe.check import Verdict
from stillsafe.check import check as look
from stillsafe.cli import show
from stillsafe.cli.app import (
    DEFAULT_CONFIG,
    FAILED,
    MISCONFIGURED,
    Config,
    Json,
    answer,
    app,
    console,
)
from stillsafe.errors import ConfigurationError
from stillsafe.serving.metrics import COUNTS_VARIABLE
from stillsafe.settings import Settings

GRACE_SECONDS = 10
_config = partial(
    uvicorn.Config,
    log_config=None,
    access_log=False,
    proxy_headers=False,  # nothing asks who the client is
    timeout_graceful_shutdown=GRACE_SECONDS,
)
"""How long open connections may keep a stopping server up."""


@app.command()
def init(
    model: Annotated[Path, typer.Option(help="The fitted model: a .skops file, or .joblib with --trust-joblib.")],
    sample: Annotated[Path, typer.Option(help="Healthy data that the model was not trained on: CSV or Parquet.")],
    label: Annotated[str | None, typer.Option(help="The column with the true answers, if the sample has one.")] = None,
    out: Annotated[Path, typer.Option(help="The service folder to write.")] = Path("service"),
    name: Annotated[str | None, typer.Option(help="The service's name; default: the folder's.")] = None,
    version: Annotated[str | None, typer.Option(help="The model's version; default: from its hash.")] = None,
    trust_joblib: Annotated[
        bool, typer.Option("--trust-joblib", help="Load a joblib or pickle file: it can run any code.")
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Give an existing service folder new settings; its log and its old settings are kept."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Look at a fitted model and a sample of healthy data, and write a service folder to review."""
    # Imported here: scikit-learn takes seconds to import.
    from stillsafe.init.create import create_service

    logs.set_up("ERROR")  # the model is tried with what it may not tolerate, and would say so each time

    with show.progress("Looking at the model and the sample") as progress:
        created = create_service(
            model,
            sample,
            label=label,
            out=out,
            name=name,
            version=version,
            trust_joblib=trust_joblib,
            force=force,
            now=service.utc_now(),
            salt=secrets.token_hex(16),
            progress=progress,
        )
    answer(show.created_document(created), as_json, lambda: show.created(created))


@app.command()
def check(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Find out now what would fail later: settings, model, schema, fallback, database, clock, cron."""
    findings = look(config, now=service.utc_now())
    document = [{"subject": f.subject, "verdict": f.verdict.value, "told": f.told} for f in findings]
    answer(document, as_json, lambda: show.findings(findings))
    if any(finding.verdict is Verdict.ERROR for finding in findings):
        sys.exit(MISCONFIGURED)


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
    address = host or settings.serving.host, settings.serving.port if port is None else port
    listening = _listening(*address)
    if workers == 1:
        application = service.create_app(settings)
        service.settle()
        _run(application, listening)
    else:
        _run_workers(settings, config.resolve(), workers, listening)


def _run_workers(settings: Settings, config: Path, workers: int, listening: socket.socket) -> None:
    """Serve in processes of their own until stopped; one that dies is started again."""
    service.create_app(settings)  # what is wrong fails here, once and clearly, rather than in each of them
    os.environ[service.CONFIG_VARIABLE] = str(config)
    with tempfile.TemporaryDirectory(prefix="stillsafe-counts-") as counts:
        os.environ[COUNTS_VARIABLE] = counts
        each = _config(
            "stillsafe.service:app_from_environment",
            factory=True,
            workers=workers,
        )
        Multiprocess(each, sockets=[listening]).run()


def _run(application: FastAPI, listening: socket.socket) -> None:
    """Serve in this process until stopped."""
    config = _config(application)
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listening])
    if not server.started:
        sys.exit(FAILED)


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        ConfigurationError: the address is in use, or is none of this machine.
    """
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen()
    except (OSError, ValueError) as error:  # a ValueError where the name cannot even be written as one
        listening.close()
        told = getattr(error, "strerror", None) or "it is no address"
        raise ConfigurationError(
            f"The address {host}:{port} cannot be used: {told}; choose another with --port or --host."
        ) from error
    return listening


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where the demo's service folder is written.")] = Path("stillsafe-demo"),
    keep_open: Annotated[bool, typer.Option("--open", help="Keep the API and the dashboard up afterwards.")] = False,
    as_json: Json = False,
) -> None:
    """The whole story on real data in about a minute: healthy, broken upstream, noticed, bypassed, mended."""
    from stillsafe.demo import StoryDidNotHappen, play

    logs.set_up("ERROR")

    try:
        told = play(out, console=console, keep_open=keep_open, quiet=as_json)
    except StoryDidNotHappen as error:
        console.print(f"The story did not happen: {error}", markup=False)
        sys.exit(FAILED)
    if as_json:
        answer(told, as_json, lambda: None)
