"""A service folder and databases that an older release wrote go on working: `kept/` holds them.

The folder is of a loan service. Its database has 13 runs of rules 1: a degradation, a hold, a recovery, a quiet window.
"""

import lzma
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from fastapi.testclient import TestClient

from stillsafe import service
from stillsafe.core.schema import Row
from stillsafe.monitoring.recount import REDACTED_DOCUMENTS
from stillsafe.settings import DATABASE_VARIABLE
from stillsafe.store import database
from stillsafe.store.read.incidents import recent_incidents
from stillsafe.store.read.runs import all_runs, last_run
from stillsafe.store.read.state import version_states
from tests.cli.commands import document, stillsafe

COPIES = Path(__file__).parent / "kept"
LAST_RUN = datetime(2026, 3, 1, 10, 10, tzinfo=UTC)
STEP = timedelta(minutes=10)
VERSION = "49b4989a"


@dataclass
class OlderService:
    """The kept service on one of its databases, and new traffic for it.

    Attributes:
        folder: the service folder.
        random: of the traffic.
        now: the simulated time.
    """

    folder: Path
    random: Random
    now: datetime = LAST_RUN

    def __call__(self) -> datetime:
        """The simulated time, as a clock."""
        return self.now

    @property
    def settings_file(self) -> Path:
        """The folder's settings."""
        return self.folder / "stillsafe.toml"

    def command(self, *words: str) -> str:
        """The output of a command, which succeeds."""
        process = stillsafe(self.folder, *words)
        assert process.returncode == 0, process.stderr
        return process.stdout

    def person(self) -> Row:
        """A customer as those that the model was trained on."""
        return {
            "age": self.random.randint(18, 79),
            "income": round(self.random.lognormvariate(10, 0.5)),
            "ratio": round(self.random.betavariate(2, 3), 3),
            "country": self.random.choices(["de", "fr", "it", "es"], [4, 3, 2, 1])[0],
            "channel": self.random.choice(["web", "shop"]),
        }

    def interval(self, client: TestClient, *, is_broken: bool) -> tuple[str, list[dict[str, Any]]]:
        """Ten minutes of traffic and the run after it: the state, and the last answers."""
        answers: list[dict[str, Any]] = []
        for _ in range(4):
            self.now += STEP / 5
            rows = [self.person() | ({"ratio": None} if is_broken else {}) for _ in range(30)]
            response = client.post("/v1/predict/batch", json={"instances": rows})
            assert response.status_code == 200, response.text
            answers = response.json()["results"]
        self.now += STEP / 5
        decision = service.monitor(self.settings_file, now=self.now).decision
        assert decision is not None
        return decision.memory.effective_state.value, answers


def restore_sqlite(folder: Path) -> None:
    """The kept SQLite database, where the folder's settings expect it."""
    (folder / "stillsafe.db").write_bytes(lzma.decompress((COPIES / "stillsafe.db.xz").read_bytes()))


def restore_postgresql(url: str) -> None:
    """The kept dump, in the schema of the address instead of `public`."""
    schema = parse_qs(urlsplit(url).query)["options"][0].removeprefix("-csearch_path=")
    dump = lzma.decompress((COPIES / "postgresql.sql.xz").read_bytes()).decode()
    statements = "\n".join(line for line in dump.splitlines() if not line.startswith("\\"))
    with psycopg.connect(url.partition("?")[0], autocommit=True) as connection:
        connection.execute(statements.replace("public.", f"{schema}.").encode())


@pytest.fixture(params=["sqlite", "postgresql"])
def older(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OlderService:
    """The service on a copy of each database, as the older release left it."""
    folder = Path(shutil.copytree(COPIES / "loan", tmp_path / "loan"))
    if request.param == "sqlite":
        restore_sqlite(folder)
    else:
        url = str(request.getfixturevalue("postgres_url"))
        restore_postgresql(url)
        monkeypatch.setenv(DATABASE_VARIABLE, url)
    return OlderService(folder, Random(5))


def test_an_older_database_is_refused_with_the_remedy(older: OlderService) -> None:
    """Nothing is changed before the owner says so: commands and server name the command that upgrades."""
    for words in (("monitor",), ("replay",), ("incidents", "list")):
        process = stillsafe(older.folder, *words)
        assert process.returncode != 0
        assert "older version: back it up, then run `stillsafe db upgrade`" in process.stderr
    assert document(older.command("db", "current", "--json"))["database"] == "0003"


def test_it_becomes_the_service_that_upgrades_it(older: OlderService) -> None:
    """Under the name of the settings, with its runs, its state and its incident; SQLite is copied before."""
    result = document(older.command("db", "upgrade", "--json"))
    engine = service.open_store(service.settings_of(older.settings_file))
    with database.reading(engine) as connection:
        assert database.service_id(connection) == 1
        runs, (state,), (incident,) = (
            list(all_runs(connection)),
            version_states(connection),
            recent_incidents(connection, 9),
        )
    assert [run.id for run in runs] == list(range(1, 14))
    assert {run.rules_version for run in runs} == {1}
    assert (state.model_version, state.state.value, state.checked_at) == (VERSION, "NORMAL", LAST_RUN)
    assert (incident.incident_id, incident.severity, incident.resolved) == (
        "inc-20260301T085000-000000",
        "CRITICAL",
        True,
    )
    assert (result["backup"] is not None) == (engine.dialect.name == "sqlite")
    engine.dispose()


def test_its_runs_replay_from_the_log(older: OlderService) -> None:
    """Every state folds, and the levels of the older rules are taken as they are.

    The upgrade removed single incomes from its baseline, so windows that would be counted otherwise now are named.
    """
    older.command("db", "upgrade")
    text = older.command("replay", "--from-logs")
    assert "No difference" in text
    assert "levels of 13 runs decided by rules 1 not recomputed" in " ".join(text.split())
    result = document(older.command("replay", "--from-logs", "--json"))
    assert (result["runs"], result["difference"]) == (13, None)
    assert result["windows"] + len(result["not_recounted"]) == 13
    assert set(result["not_recounted"].values()) == {REDACTED_DOCUMENTS}


def test_it_degrades_and_recovers_by_new_traffic(older: OlderService) -> None:
    """It serves, and goes NORMAL, WARNING, DEGRADED, NORMAL; old and new runs replay together.

    The new degradation is a relapse of the old one, so it takes twice as many calm runs.
    """
    older.command("db", "upgrade")
    states, deciders = [], []
    with TestClient(service.create_app(older.settings_file, clock=older)) as client:
        for number in range(12):
            state, answers = older.interval(client, is_broken=2 <= number < 6)
            states.append(state)
            deciders.append({answer["decided_by"] for answer in answers})
        present = client.get("/v1/state").json()
    assert states == ["NORMAL"] * 3 + ["WARNING"] + ["DEGRADED"] * 7 + ["NORMAL"]
    assert deciders == [{"model"}] * 5 + [{"fallback"}] * 7
    assert present["state"] == "NORMAL"
    engine = service.open_store(service.settings_of(older.settings_file))
    with database.reading(engine) as connection:
        new, _ = recent_incidents(connection, 9)
        run = last_run(connection)
    engine.dispose()
    assert (new.severity, new.resolved) == ("CRITICAL", True)
    assert run is not None
    assert (run.id, run.rules_version, run.window["fresh"]["prediction_count"]) == (25, 3, 120)
    result = document(older.command("replay", "--from-logs", "--json"))
    assert (result["runs"], result["difference"]) == (25, None)
    assert all(int(run_id) <= 13 for run_id in result["not_recounted"])
    assert result["windows"] == 25 - len(result["not_recounted"])


def test_its_quiet_rows_are_not_judged_twice(older: OlderService) -> None:
    """The first run of the new release reads what came after the last one of the old, and nothing before."""
    older.command("db", "upgrade")
    with TestClient(service.create_app(older.settings_file, clock=older)) as client:
        older.interval(client, is_broken=False)
    engine = service.open_store(service.settings_of(older.settings_file))
    with database.reading(engine) as connection:
        run = last_run(connection)
    engine.dispose()
    assert run is not None
    assert (run.window["fresh"]["prediction_count"], run.late_count, run.expired_count) == (120, 0, 0)
    assert run.window_start == older.now - timedelta(minutes=15)
