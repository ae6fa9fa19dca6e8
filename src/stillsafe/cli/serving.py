"""Commands that make a service and run it: init, check, serve, demo."""

import os
import secrets
import sys
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

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
    from stillsafe import init as initialisation

    logs.set_up("ERROR")  # the model is tried with what it may not tolerate, and would say so each time

    with show.progress("Looking at the model and the sample") as progress:
        created = initialisation.create_service(
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
    port: Annotated[int | None, typer.Option(help="Port to listen on; default: from the settings.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that serve the same port.")] = 1,
) -> None:
    """Serve the API and the dashboard until stopped."""
    logs.set_up("INFO")
    settings = service.settings_of(config)
    address = host or settings.serving.host, settings.serving.port if port is None else port
    if workers == 1:
        application = service.create_app(settings)
        uvicorn.run(application, host=address[0], port=address[1], log_config=None, access_log=False)
        return
    service.create_app(settings)  # fails here, once and clearly, rather than in every worker
    os.environ[service.CONFIG_VARIABLE] = str(config.resolve())
    uvicorn.run(
        "stillsafe.service:app_from_environment",
        factory=True,
        host=address[0],
        port=address[1],
        workers=workers,
        log_config=None,
        access_log=False,
    )


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
