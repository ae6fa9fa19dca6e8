"""Commands on the database itself: db, and prune, the only one that deletes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from sqlalchemy import Engine

from stillsafe import service
from stillsafe.cli import show
from stillsafe.cli.app import DEFAULT_CONFIG, Config, Json, answer, app, complaints, console, db_app
from stillsafe.errors import ConfigurationError
from stillsafe.monitoring import retention as retention
from stillsafe.monitoring.retention import Pruned
from stillsafe.settings import seconds
from stillsafe.store import database

LONGEST_DAYS = 36_500


@db_app.command("upgrade")
def db_upgrade(
    config: Config = DEFAULT_CONFIG,
    no_backup: Annotated[
        bool, typer.Option("--no-backup", help="SQLite: upgrade without a copy of the file beside it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Bring the database to this version's schema, while the service goes on. SQLite is copied first."""
    engine = database.connect(service.settings_of(config).database_url)
    found, newest, copy = database.revision(engine), database.known_revisions()[0], None
    if found not in {None, newest} and not no_backup:
        copy = _copied_before(engine, str(found), newest)
    database.upgrade(engine)
    document = {"from": found, "to": newest, "backup": None if copy is None else str(copy)}
    told = f"The database is at revision {newest}" + (", as it was before." if found == newest else ".")
    answer(document, as_json, lambda: console.print(told, markup=False))


@db_app.command("backup")
def db_backup(file: Path, config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Copy a SQLite database into a new file, whole and as of one moment, while the service goes on."""
    engine = database.connect(service.settings_of(config).database_url)
    if engine.dialect.name != "sqlite":
        raise ConfigurationError("The database is PostgreSQL's.", "Use pg_dump; docs/operations.md shows how.")
    with show.progress("Copying the database"):
        database.back_up(engine, file)
    document = {"backup": str(file), "bytes": file.stat().st_size}
    answer(document, as_json, lambda: console.print(f"{file}: {document['bytes']:,} bytes.", markup=False))


@db_app.command("current")
def db_current(config: Config = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Show the schema's revision in the database and in this version."""
    engine = database.connect(service.settings_of(config).database_url)
    found, newest = database.revision(engine), database.known_revisions()[0]
    told = f"Database: {found or 'no tables yet'}. This Stillsafe: {newest}."
    answer({"database": found, "stillsafe": newest}, as_json, lambda: console.print(told, markup=False))


@app.command()
def prune(
    older_than: Annotated[str, typer.Option("--older-than", help="What may go: 90d, 12h, 30m.")],
    config: Config = DEFAULT_CONFIG,
    archive: Annotated[
        Path | None, typer.Option("--archive", metavar="DIR", help="Write the rows to Parquet files there first.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would go.")] = False,
    vacuum: Annotated[
        bool, typer.Option("--vacuum", help="Then shrink the database's file; SQLite lets nobody write meanwhile.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Delete old predictions and refusals while the service goes on; decisions and incidents stay for ever."""
    age = _age(older_than)
    settings = service.settings_of(config)
    engine = service.open_store(settings)
    window = timedelta(seconds=settings.policy.window_seconds)
    with _bar() as progress:
        done = retention.prune(
            engine,
            now=service.utc_now(),
            older_than=age,
            window=window,
            folder=archive,
            dry_run=dry_run,
            progress=progress,
        )
    shrunk = vacuum and not dry_run
    if shrunk:
        retention.vacuum(engine)
    answer(asdict(done) | {"vacuumed": shrunk}, as_json, lambda: _tell(done, engine.dialect.name, shrunk))


def _copied_before(engine: Engine, found: str, newest: str) -> Path | None:
    """A copy beside the SQLite file; for a server, advice."""
    if engine.dialect.name != "sqlite":
        complaints.print(
            "An upgrade that fails changes nothing. For the way back from one that succeeds: pg_dump first."
        )
        return None
    copy = Path(f"{engine.url.database}.before-{newest}")
    complaints.print(f"Copying revision {found} to {copy}; --no-backup upgrades without.", markup=False)
    with show.progress("Copying the database"):
        database.back_up(engine, copy)
    return copy


def _age(text: str) -> timedelta:
    try:
        age = timedelta(seconds=float(str(seconds(text))))
    except (ValueError, OverflowError):
        raise ConfigurationError(f"{text!r} is no duration.", "Write it as 90d, 12h or 30m.") from None
    if not timedelta(0) < age <= timedelta(days=LONGEST_DAYS):
        raise ConfigurationError(f"{text!r} is no age to keep rows for.", "Write it as 90d, 12h or 30m.")
    return age


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error; silent where nobody watches."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=complaints, transient=True, disable=not complaints.is_terminal) as bar:
        task = bar.add_task("Pruning", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _tell(done: Pruned, database: str, vacuumed: bool) -> None:
    verb = "would go" if done.dry_run else "archived and deleted" if done.archive else "deleted"
    counts = f"{done.prediction_count} predictions and {done.refusal_count} refusals"
    console.print(f"{counts} from before {done.before:%Y-%m-%d %H:%M:%S} UTC {verb}.", markup=False)
    if done.held_back_by:
        console.print(f"Newer ones stay, for a run needs them: {done.held_back_by}.", markup=False)
    if done.dry_run or not done.prediction_count + done.refusal_count:
        return
    if vacuumed:
        console.print("Their space was given back.", markup=False)
    elif database == "sqlite":
        told = "The file keeps its size, and new rows fill the space. To shrink it, add --vacuum in a quiet hour."
        console.print(told, markup=False)
    else:
        console.print("The server reuses their space after its next autovacuum.", markup=False)
