"""`db` and `prune`: the database's schema, its backup, and the deletion of old requests."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Engine

from stillsafe import service
from stillsafe.cli.app import DEFAULT_CONFIG, Config, Json, app
from stillsafe.cli.command_table import command_group
from stillsafe.cli.output import error_console, format_time, print_plain, print_result, progress_bar
from stillsafe.errors import ConfigurationError
from stillsafe.monitoring import registration, retention
from stillsafe.monitoring.baseline_redaction import redact_baselines
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.settings_retention import Retention
from stillsafe.settings_sections import parse_duration
from stillsafe.store import database
from stillsafe.store.read.requests import RequestTable

LONGEST_AGE = timedelta(days=36_500)

db_app = command_group("The database's schema.")
app.add_typer(db_app, name="db")


@db_app.command("upgrade")
def db_upgrade(
    config: Config = DEFAULT_CONFIG,
    no_backup: Annotated[
        bool, typer.Option("--no-backup", help="SQLite: upgrade without a copy of the file beside it.")
    ] = False,
    add_service: Annotated[
        bool, typer.Option("--add-service", help="Also add this service to a database that has only other services.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring the database to this version's schema, while the service goes on. SQLite is copied first.

    A database that does not exist is created, empty.
    """
    settings = service.settings_of(config)
    engine = service.connect(settings)
    current, newest, backup = database.revision(engine), database.known_revisions()[0], None
    if current not in {None, newest} and not no_backup:
        backup = _back_up(engine, str(current), newest)
    database.upgrade(engine)
    if add_service or not registration.has_services(engine):
        registration.ensure_registered(engine)
    baseline_ids = redact_baselines(engine, LogFormat.of(settings))
    database.truncate_write_ahead_log(engine)
    document: dict[str, object] = {"from": current, "to": newest, "backup": None if backup is None else str(backup)}
    document["redacted_baselines"] = baseline_ids
    sentence = f"The database is at revision {newest}" + (", as it was before." if current == newest else ".")
    if current is None:
        sentence += " It is new: it has no predictions, no state and no incidents."
    if baseline_ids:
        sentence += f" Features that the log hides were removed from: {', '.join(baseline_ids)}."
    print_result(document, as_json, lambda: print_plain(sentence))
    registration.require_registered(engine)


@db_app.command("backup")
def db_backup(file: Path, config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Copy a SQLite database into a new file, whole and as of one moment, while the service goes on."""
    engine = service.connect(service.settings_of(config))
    if engine.dialect.name != "sqlite":
        raise ConfigurationError("The database is PostgreSQL's.", "Use pg_dump; docs/operations.md shows how.")
    if database.revision(engine) is None:
        database.require_current(engine)  # a copy of nothing would pass for a backup
    with progress_bar("Copying the database"):
        database.back_up(engine, file)
    size = file.stat().st_size
    print_result({"backup": str(file), "bytes": size}, as_json, lambda: print_plain(f"{file}: {size:,} bytes."))


@db_app.command("current")
def db_current(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Show the schema's revision in the database and in this version."""
    engine = service.connect(service.settings_of(config))
    current, newest = database.revision(engine), database.known_revisions()[0]
    sentence = f"Database: {current or 'no tables yet'}. This Stillsafe: {newest}."
    print_result({"database": current, "stillsafe": newest}, as_json, lambda: print_plain(sentence))


@db_app.command("rename")
def db_rename(old_name: str, config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Rename a service of the database to the settings' name. Its log, state and incidents stay its own."""
    settings = service.settings_of(config)
    engine = service.connect(settings)
    database.require_current(engine)
    registration.rename(engine, old_name, settings.service.name)
    document = {"from": old_name, "to": settings.service.name}
    sentence = f"The service {old_name!r} is now {settings.service.name!r}."
    print_result(document, as_json, lambda: print_plain(sentence))


@app.command()
def prune(
    older_than: Annotated[
        str | None,
        typer.Option("--older-than", help="The age from which rows are deleted: 90d, 12h, 30m; else by [retention]."),
    ] = None,
    config: Config = DEFAULT_CONFIG,
    archive: Annotated[
        Path | None, typer.Option("--archive", metavar="DIR", help="Write the rows to Parquet files there first.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be deleted.")] = False,
    vacuum: Annotated[
        bool, typer.Option("--vacuum", help="Then shrink the database's file; SQLite accepts no writes meanwhile.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Delete old predictions and refusals while the service goes on; decisions and incidents are kept."""
    settings = service.settings_of(config)
    retention_ages = Retention() if older_than is not None else settings.retention
    if older_than is None and not retention_ages.is_set:
        raise ConfigurationError("No age is named.", "Give --older-than 90d, or set [retention] in the settings.")
    age = _ages(retention_ages) if older_than is None else _age(older_than)
    now = service.utc_now()
    engine = service.open_store(settings)
    with progress_bar("Pruning") as progress:
        result = retention.prune(
            engine,
            now=now,
            older_than=age,
            window=timedelta(seconds=settings.policy.window_seconds),
            folder=archive,
            dry_run=dry_run,
            progress=progress,
        )
    label_count, text_count = retention.prune_texts(
        engine,
        now=now,
        labels=_span(retention_ages.labels),
        explanations=_span(retention_ages.explanations),
        dry_run=dry_run,
    )
    shrink = vacuum and not dry_run
    if shrink:
        retention.vacuum(engine)
    document = result.document() | {"vacuumed": shrink, "label_count": label_count, "text_count": text_count}
    print_result(document, as_json, lambda: print_prune(document, engine.dialect.name))


def _back_up(engine: Engine, current: str, newest: str) -> Path | None:
    """Copy a SQLite database beside its file; for a server, print advice."""
    if engine.dialect.name != "sqlite":
        error_console.print(
            "A failed upgrade changes nothing. To be able to undo a successful one, run pg_dump before it."
        )
        return None
    copy = Path(f"{engine.url.database}.before-{newest}")
    error_console.print(f"Copying revision {current} to {copy}; --no-backup upgrades without.", markup=False)
    with progress_bar("Copying the database"):
        database.back_up(engine, copy)
    return copy


def _ages(section: Retention) -> dict[RequestTable, timedelta]:
    """The ages of the tables of requests, of those that have one."""
    seconds = {RequestTable.PREDICTIONS: section.predictions, RequestTable.REFUSALS: section.refusals}
    return {table: timedelta(seconds=age) for table, age in seconds.items() if age is not None}


def _span(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


def _age(text: str) -> timedelta:
    try:
        age = timedelta(seconds=float(str(parse_duration(text))))
    except (ValueError, OverflowError):
        raise ConfigurationError(f"{text!r} is no duration.", "Write it as 90d, 12h or 30m.") from None
    if not timedelta(0) < age <= LONGEST_AGE:
        raise ConfigurationError(
            f"{text!r} must be longer than 0 and at most {LONGEST_AGE.days} days.", "Write it as 90d, 12h or 30m."
        )
    return age


def print_prune(document: dict[str, Any], dialect: str) -> None:
    """Print the text of `prune`: what was deleted, what was kept and why, and the size of the file."""
    verb = "would be deleted" if document["dry_run"] else "archived and deleted" if document["archive"] else "deleted"
    counts = f"{document['prediction_count']} predictions and {document['refusal_count']} refusals"
    print_plain(f"{counts} from before {format_time(document['before'])} {verb}.")
    if document["label_count"] or document["text_count"]:
        print_plain(f"{document['label_count']} older labels and {document['text_count']} explanations {verb}.")
    if document["held_back_by"]:
        print_plain(f"Newer rows are kept because a run needs them: {document['held_back_by']}.")
    if document["dry_run"] or not document["prediction_count"] + document["refusal_count"]:
        return
    if document["vacuumed"]:
        print_plain("The database's file was shrunk.")
    elif dialect == "sqlite":
        print_plain("The file keeps its size, and new rows fill the space. To shrink it, add --vacuum in a quiet hour.")
    else:
        print_plain("The server reuses their space after its next autovacuum.")
