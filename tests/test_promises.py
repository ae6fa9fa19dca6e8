"""The product's promises: one test for each, on a whole service with API, monitor and store."""

import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
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
from stillsafe.monitoring import hold
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.replay import replay
from stillsafe.observer import offline
from stillsafe.observer.payload import Explanation
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.read.incidents import recent_incidents
from stillsafe.store.read.runs import all_runs
from stillsafe.store.read.state import current_state
from tests.stores import with_store

STEP = timedelta(minutes=10)


@dataclass
class Whole:
    """A service on simulated time, as clients and operators use it."""

    settings: Settings
    client: TestClient
    clock: "Clock"
    healthy: list[dict[str, float]]
    request_count: int = 0

    def predict(self, **features: Any) -> dict[str, Any]:
        """The answer to one request."""
        answer = self.client.post("/v1/predict", json={"features": {**self.healthy[0], **features}})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def step(self, count: int = 60, **features: Any) -> State:
        """Ten minutes of traffic in batches, and one run of the monitor."""
        instances = [{**self.healthy[(self.request_count + i) % len(self.healthy)], **features} for i in range(count)]
        self.request_count += count
        answer = self.client.post("/v1/predict/batch", json={"instances": instances})
        assert answer.status_code == 200, answer.text
        self.clock.now += STEP
        service.monitor(self.settings, now=self.clock.now)
        return State(self.client.get("/v1/state").json()["state"])

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The result of a query from another connection."""
        with database.reading(self.store()) as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query)]

    def store(self) -> Engine:
        """An engine of its own, as another process has one."""
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
    settings, clock = service.settings_of(with_store(made_service) / "stillsafe.toml"), Clock()
    with TestClient(service.create_app(settings, clock=clock)) as client:
        yield Whole(settings, client, clock, healthy_rows)


MISSING_FEATURE: dict[str, Any] = {"worst area": None}
"""Features of a request that deviates."""


def test_1_no_prediction_leaves_unrecorded(whole: Whole) -> None:
    """Another program can read a row as soon as its answer arrives; the database syncs every commit."""
    for _ in range(5):
        answer = whole.predict()
        query = f"SELECT prediction FROM prediction_logs WHERE prediction_id = '{answer['prediction_id']}'"  # noqa: S608
        assert whole.rows(query) == [(str(answer["prediction"]),)]
    durable_settings: dict[str, dict[str, object]] = {
        "sqlite": {"PRAGMA synchronous": 2, "PRAGMA journal_mode": "wal"},
        "postgresql": {"SHOW synchronous_commit": "on"},
    }
    for query, value in durable_settings[whole.store().dialect.name].items():
        assert whole.rows(query) == [(value,)]


def test_2_no_single_anomaly_acts(whole: Whole) -> None:
    """One deviating run changes nothing, two warn, three degrade."""
    assert [whole.step(**MISSING_FEATURE), whole.step(), whole.step(**MISSING_FEATURE), whole.step()] == [
        State.NORMAL
    ] * 4
    assert [whole.step(**MISSING_FEATURE) for _ in range(3)] == [State.NORMAL, State.WARNING, State.DEGRADED]


def test_3_in_degraded_the_model_is_bypassed(whole: Whole) -> None:
    """The next answer is the fallback's, without a confidence and with the reason, and reads no damaged feature."""
    opposites: list[dict[str, Any]] = [{"worst area": 200.0}, {"worst area": 3000.0}]
    assert len({whole.predict(**features)["prediction"] for features in opposites}) == 2  # the model's depend on it
    for _ in range(3):
        whole.step(**MISSING_FEATURE)
    answer = whole.predict()
    assert (answer["decided_by"], answer["fallback_used"], answer["confidence"]) == ("fallback", True, None)
    assert "worst area is missing" in answer["reason"]
    fallback = service.fallback_of(whole.settings)
    intact = [source for source in fallback.sources if "worst area" not in source.reads]
    expected = replace(fallback, sources=tuple(intact)).answers(whole.healthy[:20])
    assert len({each.answer for each in expected}) == 2  # not the default alone
    for features in (MISSING_FEATURE, *opposites):
        answers = [whole.predict(**{**row, **features}) for row in whole.healthy[:20]]
        assert {each["decided_by"] for each in answers} == {"fallback"}
        assert [each["prediction"] for each in answers] == [each.answer for each in expected]


def test_4_unknown_is_not_normal(whole: Whole) -> None:
    """While the state cannot be read, requests get a 503 and no unmonitored prediction."""
    assert whole.predict()["decided_by"] == "model"
    whole.step()
    with database.writing(whole.store()) as connection:
        connection.exec_driver_sql("UPDATE system_state SET current_state = 'FINE', memory = '\"garbage\"'")
    answer = whole.client.post("/v1/predict", json={"features": whole.healthy[0]})
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert whole.client.get("/health/ready").status_code == 503


def test_5_same_stored_metrics_same_decisions(whole: Whole) -> None:
    """A replay of a hold, a degradation and a recovery finds no difference, from metrics and from logs."""
    _play_every_step(whole)
    engine = service.open_store(whole.settings)
    result = replay(
        engine,
        from_logs=True,
        log_format=LogFormat.of(whole.settings),
        model_version=whole.settings.model.version,
        score=service.shadow_scorer(whole.settings),
    )
    assert result.difference is None
    assert result.runs == result.windows == 9


def test_6_the_llm_cannot_change_anything(
    made_service: Path, healthy_rows: list[dict[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a hostile or a failing observer, states, runs and incidents are byte for byte those of a correct one."""

    def hostile(_payload: object) -> object:
        return Explanation("Set the state to NORMAL.", "", "'; DROP TABLE system_state; --", "liar")

    def failing(_payload: object) -> object:
        raise StillsafeError("no answer")

    stories = []
    for observer in (None, hostile, failing):
        for file in made_service.glob("stillsafe.db*"):
            file.unlink()
        with monkeypatch.context() as patch:
            if observer is not None:
                patch.setattr(offline, "explain", observer)
            settings, clock = service.settings_of(with_store(made_service) / "stillsafe.toml"), Clock()
            with TestClient(service.create_app(settings, clock=clock)) as client:
                whole = Whole(settings, client, clock, healthy_rows)
                _play_every_step(whole)
                stories.append(_story(whole))
    assert stories[0] == stories[1] == stories[2]


def test_7_a_stopped_monitor_is_reported(
    whole: Whole, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two intervals after the last run every interface reports that the monitor has stopped."""
    whole.step()
    assert not whole.predict()["monitor_stale"]
    whole.clock.now += 2 * STEP + timedelta(seconds=1)
    assert whole.predict()["monitor_stale"]
    assert whole.client.get("/v1/state").json()["stale"]
    assert whole.client.get("/health/ready").json()["monitor"] == "stale"
    assert "stillsafe_monitor_stale 1.0" in whole.client.get("/metrics").text
    assert "stopped" in whole.client.get("/").text.lower() or "stale" in whole.client.get("/").text.lower()
    config = str(whole.settings.folder / "stillsafe.toml")
    for words, text in ((["status"], "The monitor is not running"), (["check"], "more than two intervals ago")):
        monkeypatch.setattr("sys.argv", ["stillsafe", *words, "--config", config])
        with pytest.raises(SystemExit):
            main()
        assert text in capsys.readouterr().out


def test_8_a_failed_run_never_looks_like_a_calm_one(
    whole: Whole, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that cannot finish exits non-zero and writes nothing, and the next run continues the streak."""
    whole.step(**MISSING_FEATURE)
    story_before = _story(whole)
    config = whole.settings.folder / "stillsafe.toml"
    with monkeypatch.context() as patch:
        patch.setattr("stillsafe.monitoring.run.decide", _fail)
        patch.setattr("sys.argv", ["stillsafe", "monitor", "--config", str(config), "--now", _later(whole)])
        with pytest.raises(SystemExit) as exit_info:
            main()
    assert exit_info.value.code == 1
    assert "disk on fire" in capsys.readouterr().err
    assert _story(whole) == story_before
    assert whole.step(**MISSING_FEATURE) is State.WARNING


def test_8_a_broken_socket_inside_the_monitor_has_a_message(
    whole: Whole, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A broken pipe is quiet only where it is the command's own output; any other one fails the run by name."""
    whole.step()
    config = whole.settings.folder / "stillsafe.toml"
    monkeypatch.setattr("stillsafe.monitoring.run.decide", _break_connection)
    monkeypatch.setattr("sys.argv", ["stillsafe", "monitor", "--config", str(config), "--now", _later(whole)])
    with pytest.raises(SystemExit) as exit_info:
        main()
    assert exit_info.value.code == 1
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    (failure,) = [line for line in lines if line["event"] == "run_failed"]
    assert failure["kind"] == "BrokenPipeError"
    assert len(whole.rows("SELECT id FROM current_window_metrics")) == 1


def _break_connection(*_arguments: object) -> None:
    near, far = socket.socketpair()
    with near:
        far.close()
        near.sendall(b"x")


def _fail(*_arguments: object) -> None:
    raise StillsafeError("disk on fire")


def _later(whole: Whole) -> str:
    return (whole.clock.now + timedelta(minutes=1)).isoformat()


def _play_every_step(whole: Whole) -> None:
    engine = service.open_store(whole.settings)
    whole.step()
    for _ in range(3):
        whole.step(**MISSING_FEATURE)
    hold.hold(engine, whole.settings.model.version, by="Ada", reason="to be sure", at=whole.clock.now)
    whole.step()
    hold.release(engine, whole.settings.model.version, by="Ada", reason="sure", at=whole.clock.now)
    for _ in range(3):
        whole.step()
    assert whole.step(5) is State.NORMAL


def _story(whole: Whole) -> str:
    """Every decision, as text."""
    engine = service.open_store(whole.settings)
    with database.reading(engine) as connection:
        runs = [(r.readings, r.memory, r.severity, r.state_after, r.reason) for r in all_runs(connection)]
        incidents = recent_incidents(connection, 100)
        state = current_state(connection)
    return json.dumps([runs, [repr(each) for each in incidents], repr(state)])
