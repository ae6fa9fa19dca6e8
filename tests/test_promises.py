"""The product's promises, each one as a test named after it, on a whole service: API, monitor and store together."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from stillsafe import service
from stillsafe.cli import main
from stillsafe.core.state import State
from stillsafe.errors import StillsafeError
from stillsafe.monitoring import run
from stillsafe.monitoring.replay import replay
from stillsafe.observer import offline
from stillsafe.observer.payload import Explanation
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.read.incidents import recent_incidents
from stillsafe.store.read.runs import all_runs
from stillsafe.store.read.state import current_state

STEP = timedelta(minutes=10)


@dataclass
class Whole:
    """A service on simulated time, as a client and an operator see it."""

    settings: Settings
    client: TestClient
    clock: "Clock"
    healthy: list[dict[str, float]]
    sent: int = 0

    def predict(self, **changed: Any) -> dict[str, Any]:
        """One answer."""
        answer = self.client.post("/v1/predict", json={"features": {**self.healthy[0], **changed}})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def step(self, count: int = 60, **changed: Any) -> State:
        """Ten minutes of traffic in batches, and one run of the monitor."""
        instances = [{**self.healthy[(self.sent + i) % len(self.healthy)], **changed} for i in range(count)]
        self.sent += count
        answer = self.client.post("/v1/predict/batch", json={"instances": instances})
        assert answer.status_code == 200, answer.text
        self.clock.now += STEP
        service.monitor(self.settings, now=self.clock.now)
        return State(self.client.get("/v1/state").json()["state"])

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What another program reads in the database."""
        with database.reading(self.store()) as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query)]

    def store(self) -> Engine:
        """The database as another process would open it."""
        return service.open_store(self.settings)


@dataclass
class Clock:
    """Simulated time."""

    now: datetime = field(default=datetime(2026, 4, 1, 9, tzinfo=UTC))

    def __call__(self) -> datetime:
        """Now."""
        return self.now


@pytest.fixture
def whole(named_store: str, made_service: Path, healthy_rows: list[dict[str, float]]) -> Iterator[Whole]:
    settings, clock = service.settings_of(made_service / "stillsafe.toml"), Clock()
    with TestClient(service.create_app(settings, clock=clock)) as client:
        yield Whole(settings, client, clock, healthy_rows)


BROKEN: dict[str, Any] = {"worst area": None}


def test_1_no_prediction_leaves_unrecorded(whole: Whole) -> None:
    """When an answer arrives, another program already finds its row; the database syncs before it commits."""
    for _ in range(5):
        answer = whole.predict()
        query = f"SELECT prediction FROM prediction_logs WHERE prediction_id = '{answer['prediction_id']}'"  # noqa: S608
        assert whole.rows(query) == [(str(answer["prediction"]),)]
    promised: dict[str, dict[str, object]] = {
        "sqlite": {"PRAGMA synchronous": 2, "PRAGMA journal_mode": "wal"},
        "postgresql": {"SHOW synchronous_commit": "on"},
    }
    for asked, told in promised[whole.store().dialect.name].items():
        assert whole.rows(asked) == [(told,)]


def test_2_no_single_anomaly_acts(whole: Whole) -> None:
    """One bad run does nothing, two warn, three degrade."""
    assert [whole.step(**BROKEN), whole.step(), whole.step(**BROKEN), whole.step()] == [State.NORMAL] * 4
    assert [whole.step(**BROKEN) for _ in range(3)] == [State.NORMAL, State.WARNING, State.DEGRADED]


def test_3_in_degraded_the_model_is_bypassed(whole: Whole) -> None:
    """The very next answer is the fallback's, without a confidence, and says why."""
    for _ in range(3):
        whole.step(**BROKEN)
    answer = whole.predict()
    assert (answer["decided_by"], answer["fallback_used"], answer["confidence"]) == ("fallback", True, None)
    assert "worst area is missing" in answer["reason"]
    rules = [rule for rule in whole.settings.fallback.rules if "worst_area" not in rule.when]
    assert answer["prediction"] in {whole.settings.fallback.default, *(rule.answer for rule in rules)}


def test_4_unknown_is_not_normal(whole: Whole) -> None:
    """A state that cannot be read gives a clear refusal, not an unmonitored answer of the model."""
    assert whole.predict()["decided_by"] == "model"
    whole.step()
    with database.writing(whole.store()) as connection:
        connection.exec_driver_sql("UPDATE system_state SET current_state = 'FINE', memory = '\"garbage\"'")
    answer = whole.client.post("/v1/predict", json={"features": whole.healthy[0]})
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert whole.client.get("/health/ready").status_code == 503


def test_5_same_stored_metrics_same_decisions(whole: Whole) -> None:
    """Every decision of a story with a hold, a degradation and a recovery recomputes, from metrics and from logs."""
    _live_through_everything(whole)
    engine = service.open_store(whole.settings)
    found = replay(
        engine,
        from_logs=True,
        schema=whole.settings.schema_of_features,
        model_version=whole.settings.model.version,
        score=service.shadow_scorer(whole.settings),
    )
    assert found.difference is None
    assert found.runs == found.windows == 9


def test_6_the_llm_cannot_change_anything(
    made_service: Path, healthy_rows: list[dict[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an observer that lies or breaks, states, runs and incidents are byte for byte those with a good one."""

    def lies(_payload: object) -> object:
        return Explanation("Set the state to NORMAL.", "", "'; DROP TABLE system_state; --", "liar")

    def breaks(_payload: object) -> object:
        raise StillsafeError("no answer")

    stories = []
    for observer in (None, lies, breaks):
        for leftover in made_service.glob("stillsafe.db*"):
            leftover.unlink()
        with monkeypatch.context() as patched:
            if observer is not None:
                patched.setattr(offline, "explain", observer)
            settings, clock = service.settings_of(made_service / "stillsafe.toml"), Clock()
            with TestClient(service.create_app(settings, clock=clock)) as client:
                whole = Whole(settings, client, clock, healthy_rows)
                _live_through_everything(whole)
                stories.append(_story(whole))
    assert stories[0] == stories[1] == stories[2]


def test_7_the_watcher_is_watched(
    whole: Whole, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two intervals after the last run every surface says that the monitor has stopped."""
    whole.step()
    assert not whole.predict()["monitor_stale"]
    whole.clock.now += 2 * STEP + timedelta(seconds=1)
    assert whole.predict()["monitor_stale"]
    assert whole.client.get("/v1/state").json()["stale"]
    assert whole.client.get("/health/ready").json()["monitor"] == "stale"
    assert "stillsafe_monitor_stale 1.0" in whole.client.get("/metrics").text
    assert "stopped" in whole.client.get("/").text.lower() or "stale" in whole.client.get("/").text.lower()
    config = str(whole.settings.folder / "stillsafe.toml")
    for words, told in ((["status"], "The monitor is not running"), (["check"], "looks dead")):
        monkeypatch.setattr("sys.argv", ["stillsafe", *words, "--config", config])
        with pytest.raises(SystemExit):
            main()
        assert told in capsys.readouterr().out


def test_8_a_failed_run_never_looks_like_a_calm_one(
    whole: Whole, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that cannot finish exits non-zero, leaves nothing behind, and the next one goes on."""
    whole.step(**BROKEN)
    before = _story(whole)
    config = whole.settings.folder / "stillsafe.toml"
    with monkeypatch.context() as patched:
        patched.setattr(run, "decide", _fails)
        patched.setattr("sys.argv", ["stillsafe", "monitor", "--config", str(config), "--now", _later(whole)])
        with pytest.raises(SystemExit) as left:
            main()
    assert left.value.code == 1
    assert "disk on fire" in capsys.readouterr().err
    assert _story(whole) == before
    assert whole.step(**BROKEN) is State.WARNING


def _fails(*_arguments: object) -> None:
    raise StillsafeError("disk on fire")


def _later(whole: Whole) -> str:
    return (whole.clock.now + timedelta(minutes=1)).isoformat()


def _live_through_everything(whole: Whole) -> None:
    engine = service.open_store(whole.settings)
    whole.step()
    for _ in range(3):
        whole.step(**BROKEN)
    run.hold(engine, by="Ada", reason="to be sure", at=whole.clock.now)
    whole.step()
    run.release(engine, by="Ada", reason="sure", at=whole.clock.now)
    for _ in range(3):
        whole.step()
    assert whole.step(5) is State.NORMAL


def _story(whole: Whole) -> str:
    """Everything that was decided, as text."""
    engine = service.open_store(whole.settings)
    with database.reading(engine) as connection:
        runs = [(r.readings, r.memory, r.severity, r.state_after, r.reason) for r in all_runs(connection)]
        incidents = recent_incidents(connection, 100)
        state = current_state(connection)
    return json.dumps([runs, [repr(each) for each in incidents], repr(state)])
