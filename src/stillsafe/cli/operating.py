"""Commands that judge, hold, recompute and arrange: monitor, replay, hold, release, baseline, schedule."""

import getpass
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from stillsafe import logs, service
from stillsafe.cli import show
from stillsafe.cli.app import (
    DEFAULT_CONFIG,
    DONE,
    FAILED,
    Config,
    Json,
    answer,
    app,
    baseline_app,
    console,
    schedule_app,
)
from stillsafe.errors import ConfigurationError
from stillsafe.monitoring import baseline, run, schedule
from stillsafe.monitoring.archive import Archive
from stillsafe.monitoring.replay import replay as recompute

Now = Annotated[
    str | None, typer.Option("--now", help="Judge as if it were this time (ISO 8601; UTC unless it says otherwise).")
]


@app.command()
def monitor(config: Config = DEFAULT_CONFIG, now: Now = None, as_json: Json = False) -> None:
    """One monitoring run and out: what cron starts. Exit 0 done, 1 failed, 2 misconfigured."""
    logs.set_up("INFO")
    done = service.monitor(config, now=service.utc_now() if now is None else _time(now))
    answer(show.run_document(done), as_json, lambda: show.run(done))


@app.command()
def replay(
    config: Config = DEFAULT_CONFIG,
    from_logs: Annotated[bool, typer.Option("--from-logs", help="Recount every window from the log, too.")] = False,
    archive: Annotated[
        Path | None,
        typer.Option("--archive", metavar="DIR", help="Where `prune` put rows, to be counted with the log's."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Recompute every stored decision; exit 1 and the first difference if there is any."""
    if archive is not None and not from_logs:
        raise ConfigurationError("An archive is read only with the log.", "Add --from-logs.")
    settings = service.settings_of(config)
    engine = service.open_store(settings)
    with show.progress("Recomputing") as progress:
        found = recompute(
            engine,
            from_logs=from_logs,
            schema=settings.schema_of_features,
            model_version=settings.model.version,
            score=service.shadow_scorer(settings),
            archived=None if archive is None else Archive(archive),
            progress=lambda runs: progress(f"Recomputing: {runs} runs"),
        )
    answer(asdict(found), as_json, lambda: show.replayed(found))
    sys.exit(DONE if found.difference is None else FAILED)


@app.command()
def hold(
    reason: Annotated[str, typer.Option(help="Why; it is recorded.")],
    config: Config = DEFAULT_CONFIG,
    by: Annotated[str | None, typer.Option(help="Who; default: the user of this shell.")] = None,
    as_json: Json = False,
) -> None:
    """The kill switch: force DEGRADED until released. Recorded with who and why."""
    settings = service.settings_of(config)
    engine = service.open_store(settings)
    memory = run.hold(engine, by=_words(by or getpass.getuser()), reason=_words(reason), at=service.utc_now())
    document = {"state": memory.effective_state.value, "held": True, "evidence_says": memory.state.value}
    enforced = settings.service.mode == "enforce"
    told = (
        "Held: the fallback answers from now on." if enforced else "Held, but in mode observe the model still answers."
    )
    answer(document, as_json, lambda: console.print(told, markup=False))


@app.command()
def release(
    reason: Annotated[str, typer.Option(help="Why; it is recorded.")],
    config: Config = DEFAULT_CONFIG,
    by: Annotated[str | None, typer.Option(help="Who; default: the user of this shell.")] = None,
    as_json: Json = False,
) -> None:
    """End a hold: the evidence decides again."""
    engine = service.open_store(service.settings_of(config))
    memory = run.release(engine, by=_words(by or getpass.getuser()), reason=_words(reason), at=service.utc_now())
    document = {"state": memory.effective_state.value, "held": False}
    told = f"Released: the state is {memory.effective_state.value}, as the evidence says."
    answer(document, as_json, lambda: console.print(told, markup=False))


@baseline_app.command("create")
def baseline_create(
    config: Config = DEFAULT_CONFIG,
    first: Annotated[
        int | None, typer.Option(min=1, help="From the first so many healthy predictions (default 10,000).")
    ] = None,
    since: Annotated[str | None, typer.Option("--from", help="From a span of time: its start (ISO 8601).")] = None,
    until: Annotated[str | None, typer.Option("--to", help="From a span of time: its end (ISO 8601).")] = None,
    reference: Annotated[Path | None, typer.Option("--file", help="From a reference file that `init` wrote.")] = None,
    accept_contradiction: Annotated[
        bool, typer.Option("--accept-contradiction", help="Make it although its halves deviate from one another.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a baseline of the served model version and make it the active one."""
    ways = [first is not None, since is not None or until is not None, reference is not None]
    if sum(ways) > 1:
        raise ConfigurationError("A baseline has one source.", "Use one of --first, --from/--to and --file.")
    settings = service.settings_of(config)
    engine = service.open_store(settings)
    if reference is not None:
        made = baseline.load_reference(engine, reference)
    else:
        made = baseline.create(
            engine,
            settings,
            at=service.utc_now(),
            first=first,
            since=None if since is None else _time(since),
            until=None if until is None else _time(until),
            accept_contradiction=accept_contradiction,
        )
    answer(show.baseline_document(made, active=True), as_json, lambda: show.baseline(made, active=True))


@baseline_app.command("activate")
def baseline_activate(baseline_id: str, config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Make a stored baseline the active one of its model version."""
    chosen = baseline.activate(service.open_store(service.settings_of(config)), baseline_id)
    document = {"baseline_id": chosen.baseline_id, "model_version": chosen.model_version, "active": True}
    told = f"{chosen.baseline_id} is now the active baseline of model version {chosen.model_version}."
    answer(document, as_json, lambda: console.print(told, markup=False))


@schedule_app.command("install")
def schedule_install(
    config: Config = DEFAULT_CONFIG,
    print_only: Annotated[bool, typer.Option("--print", help="Print the entry instead of installing it.")] = False,
) -> None:
    """Add the crontab entry that starts the monitor, or replace it. Other entries are left alone."""
    settings = service.settings_of(config)
    place, python = config.resolve(), Path(sys.executable)
    every = settings.monitor.every
    if print_only:
        console.print(schedule.entry(place, every, python=python), markup=False)
        return
    console.print(schedule.install(place, every, python=python), markup=False)


@schedule_app.command("show")
def schedule_show(config: Config = DEFAULT_CONFIG) -> None:
    """Show the crontab entry of this service; exit 1 where there is none."""
    entry = schedule.show(config.resolve())
    console.print(entry or "No crontab entry starts this service's monitor.", markup=False)
    sys.exit(DONE if entry else FAILED)


@schedule_app.command("remove")
def schedule_remove(config: Config = DEFAULT_CONFIG) -> None:
    """Remove the crontab entry of this service."""
    removed = schedule.remove(config.resolve())
    console.print("Removed." if removed else "There was no entry to remove.", markup=False)


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{text!r} is no time.", "Write it as ISO 8601: 2026-01-31T12:00:00Z.") from None
    if not 1970 <= at.year < 9000:
        raise ConfigurationError(f"{text!r} is no time to judge.", "Give a year from 1970 to 8999.")
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _words(reason: str) -> str:
    if not reason.strip():
        raise ConfigurationError("A reason is needed.", "It is recorded for whoever asks later.")
    if not reason.isprintable():
        raise ConfigurationError("There are control characters in it.", "Write one line of plain text.")
    return reason.strip()
