"""A service whose database is missing, empty or another one: no command goes on as if nothing had ever happened."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from stillsafe import service
from stillsafe.cli.app import app
from stillsafe.settings import DATABASE_VARIABLE
from stillsafe.store import database
from tests.postgres import STORES

from .commands import Command, document

USES: dict[str, tuple[str, ...]] = {
    "check": (),
    "check --deep": (),
    "prune": ("--older-than", "90d"),
    "hold": ("--reason", "a drill"),
    "release": ("--reason", "the drill is over"),
    "explain": ("1",),
    "explain --pending": (),
    "monitor": (),
    "monitor --try": (),
    "monitor --discard-after": ("2026-03-01T12:00:00Z", "--reason", "a wrong clock"),
    "replay": (),
    "replay --from-logs": (),
    "serve": ("--port", "0"),
    "serve --workers": ("2", "--port", "0"),
    "status": (),
    "status --all": (),
    "baseline create": (),
    "baseline extend": (),
    "baseline activate": ("none",),
    "baseline list": (),
    "baseline show": (),
    "db backup": ("copy.db",),
    "db rename": ("nobody",),
    "incidents list": (),
    "incidents show": ("1",),
    "incidents export": ("1", "--out", "incident.html"),
    "key create": ("web", "--scope", "read"),
    "key list": (),
    "key revoke": ("web",),
    "labels add": ("labels.csv",),
    "performance": (),
    "predictions show": ("none",),
    "predictions export": ("copy.csv",),
    "windows show": (),
    "alerts list": (),
    "erase": ("--id", "order-1", "--reason", "asked", "--yes"),
    "score": ("sample.csv", "--out", "answers.csv"),
}
"""Every command that uses the database, by its words."""
OTHERS = {
    "backtest",
    "demo",
    "doctor",
    "tour",
    "init",
    "db upgrade",
    "db current",
    "schedule install",
    "schedule show",
    "schedule remove",
    "model show",
    "model accept",
    "alerts test",
    "export prometheus-rules",
    "export grafana-dashboard",
}
"""Commands that use no database of the service, create it, or (`doctor`) report that it is missing."""


def _command_words(command: Any, words: tuple[str, ...] = ()) -> Iterator[str]:
    """The words of each command below a group of the command line."""
    children = getattr(command, "commands", None)
    if children is None:
        yield " ".join(words)
        return
    for name, child in children.items():
        yield from _command_words(child, (*words, name))


def test_every_command_is_here() -> None:
    """A new command that uses the database must be tried without one."""
    commands = {" ".join(word for word in use.split() if not word.startswith("--")) for use in USES}
    assert commands | OTHERS == set(_command_words(typer.main.get_command(app)))


def _remove(url: str) -> None:
    Path(url.removeprefix("sqlite:///")).unlink(missing_ok=True)


def _empty(url: str) -> None:
    """The server's schema is empty already; a file is one without tables."""
    if url.startswith("sqlite"):
        Path(url.removeprefix("sqlite:///")).write_bytes(b"")


def _of_another_service(url: str) -> None:
    _empty(url)
    engine = database.connect(url, "another")
    database.upgrade(engine)
    with database.writing(engine) as connection:
        connection.exec_driver_sql("INSERT INTO services (name) VALUES ('another')")
    engine.dispose()


def _without_service(url: str) -> None:
    _empty(url)
    engine = database.connect(url)
    database.upgrade(engine)
    engine.dispose()


LOSSES: dict[str, tuple[str, Callable[[str], None]]] = {
    "missing file": ("sqlite", _remove),
    "empty file": ("sqlite", _empty),
    "tables of another service": ("sqlite", _of_another_service),
    "empty schema": ("postgresql", _empty),
    "tables without a service": ("postgresql", _without_service),
    "another service's schema": ("postgresql", _of_another_service),
}


@pytest.fixture(params=LOSSES)
def lost_store(
    request: pytest.FixtureRequest, made_service: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The address of a database that the service of the settings has not used, as a loss leaves it."""
    kind, lose = LOSSES[request.param]
    url = STORES[kind](request)
    monkeypatch.setenv(DATABASE_VARIABLE, url)
    lose(url)
    return url


def _content(url: str) -> object:
    """The names of a folder's files, or the tables of a server and the services in them."""
    if url.startswith("sqlite"):
        file = Path(url.removeprefix("sqlite:///"))
        return file.exists() and _rows(url)
    return _rows(url)


def _rows(url: str) -> object:
    engine = database.connect(url)
    try:
        if database.revision(engine) is None:
            return None
        with database.reading(engine) as connection:
            services = connection.exec_driver_sql("SELECT name FROM services").scalars().all()
            runs = connection.exec_driver_sql("SELECT count(*) FROM operator_actions").scalar()
            return list(services), runs, connection.exec_driver_sql("SELECT count(*) FROM baseline_metrics").scalar()
    finally:
        engine.dispose()


def test_no_command_creates_a_database_or_starts_anew(lost_store: str, run: Command, made_service: Path) -> None:
    """Every command fails with a sentence that says what to do, and leaves the place of the database as it is."""
    content = _content(lost_store)
    for use, words in USES.items():
        if use == "db backup" and content not in (False, None):
            continue  # whatever has tables can be copied
        code, out, errors = run(*use.split(), *words)
        assert code in {1, 2}, (use, out, errors)
        if use not in {"db backup", "db rename"}:
            assert "stillsafe db " in out + errors, (use, out, errors)
            assert "NORMAL" not in out, (use, out)
        assert _content(lost_store) == content, use


def test_an_upgrade_creates_the_database(lost_store: str, run: Command, request: pytest.FixtureRequest) -> None:
    """`db upgrade` does so on demand, and after it the service works; a second service is added with an option."""
    code, _, errors = run("db", "upgrade")
    if "another" in request.node.callspec.id:
        assert (code, "no service 'tumours'. It has: another." in errors) == (2, True)
        code, _, errors = run("db", "upgrade", "--add-service")
    assert code == 0, errors
    assert document(run("status", "--json")[1])["state"] == "NORMAL"
    assert lost_store == service.settings_of(Path("stillsafe.toml")).database_url


def test_a_hold_survives_the_file_that_was_away(run: Command, made_service: Path) -> None:
    """A volume is away for a moment: status and cron's run fail, and afterwards the hold is as it was."""
    assert run("hold", "--reason", "a drill")[0] == 0
    file, other_place = made_service / "stillsafe.db", made_service / "away.db"
    file.rename(other_place)
    for words in (("status",), ("monitor",), ("replay",)):
        assert run(*words)[0] == 2
    assert not file.exists()
    other_place.rename(file)
    assert document(run("status", "--json")[1])["held"]["reason"] == "a drill"
