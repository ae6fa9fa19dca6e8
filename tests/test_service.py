"""The composition: what the settings of a service folder become."""

import os
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import MetaData
from starlette.testclient import TestClient

from stillsafe import service
from stillsafe.cli.output import console
from stillsafe.cli.status import outage_document, print_outage
from stillsafe.core.schema import Row
from stillsafe.errors import ConfigurationError, ModelError, RunRefused, SchemaMismatch, StoreError
from stillsafe.logs import LogEvent
from stillsafe.monitoring import registration
from stillsafe.serving.failover import Failover, StoreStatus
from stillsafe.settings import DATABASE_VARIABLE, load
from stillsafe.store import database
from stillsafe.store.read.baselines import active_baseline
from tests.ports import free_port
from tests.stores import DISK_FULL, NO_PERMISSION, accept_inserts, refuse_inserts, with_store


def _change(folder: Path, old: str, new: str) -> Path:
    """The settings file with one text replaced."""
    file = folder / "stillsafe.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    return file


def test_a_new_database_gets_tables_and_the_reference_baseline(made_service: Path, named_store: str) -> None:
    """Opening it again changes nothing."""
    settings = service.settings_of(made_service / "stillsafe.toml")
    assert settings.database_url == named_store
    ids = []
    for create in (True, False):
        engine = service.open_store(settings, create=create)
        with database.reading(engine) as connection:
            baseline = active_baseline(connection, settings.model.version)
        assert baseline is not None
        ids.append(baseline.baseline_id)
        engine.dispose()
    assert ids[0] == ids[1]


def test_a_running_service_does_not_go_on_with_an_empty_database(
    made_service: Path, named_store: str, healthy_rows: list[dict[str, float]]
) -> None:
    """Its database is replaced by a new one, as if the model had never been judged: 503, and not NORMAL."""
    settings = service.settings_of(with_store(made_service) / "stillsafe.toml")
    with TestClient(service.create_app(settings), raise_server_exceptions=False) as client:
        assert client.post("/v1/predict", json={"features": healthy_rows[0]}).status_code == 200
        engine = database.connect(named_store, "another")
        present = MetaData()
        present.reflect(engine)
        present.drop_all(engine)
        assert client.post("/v1/predict", json={"features": healthy_rows[0]}).status_code == 503
        database.upgrade(engine)
        registration.ensure_registered(engine)
        engine.dispose()
        for path in ("/v1/state", "/health/ready"):
            assert client.get(path).status_code == 503, path
        assert client.post("/v1/predict", json={"features": healthy_rows[0]}).status_code == 503


@pytest.mark.parametrize("code", [DISK_FULL, NO_PERMISSION])
def test_failing_inserts_are_known_to_readiness_and_to_the_log(
    made_service: Path,
    named_store: str,
    healthy_rows: list[dict[str, float]],
    caplog: pytest.LogCaptureFixture,
    code: str,
) -> None:
    """A server's rows wait in the spool, or requests get 503, and so does readiness; each outage has two log lines."""
    settings = service.settings_of(with_store(made_service) / "stillsafe.toml")
    engine = database.connect(named_store)
    dialect, tables = engine.dialect.name, ("prediction_logs", "refusals")
    with TestClient(service.create_app(settings), raise_server_exceptions=False) as client:

        def statuses() -> set[int]:
            """Of some requests, a good one and a bad one in turn."""
            bodies: list[Any] = [{"features": healthy_rows[0]}, {"features": {"mean radius": "wide"}}]
            return {client.post("/v1/predict", json=bodies[i % 2]).status_code for i in range(10)}

        assert statuses() == {200, 422}
        refuse_inserts(engine, *tables, code=code)
        end = time.monotonic() + 2
        while time.monotonic() < end:
            failures = statuses()
        is_spooling = dialect == "postgresql" and code == DISK_FULL
        assert failures == ({200, 422} if is_spooling else {503, 422})
        ready = client.get("/health/ready")
        assert (ready.status_code, ready.json()["status"]) == ((200, "spooling") if is_spooling else (503, 503))
        accept_inserts(engine, *tables)
        deadline = time.monotonic() + 20
        while (ready := client.get("/health/ready")).status_code != 200 or ready.json()["status"] != "ready":
            assert time.monotonic() < deadline, ready.text
            time.sleep(0.1)
        assert statuses() == {200, 422}
    counts = Counter(record.getMessage() for record in caplog.records if record.levelname in ("ERROR", "WARNING"))
    names = ("STORE_OUT", "STORE_BACK") if is_spooling else ("ANSWERS_LOST", "ANSWERS_BACK")
    assert [counts[LogEvent[name].event] for name in names] == [1, 1]
    if not is_spooling:
        assert [counts[LogEvent[name].event] for name in ("REFUSALS_LOST", "REFUSALS_BACK")] == [1, 1]
    engine.dispose()


@pytest.mark.parametrize("has_failover", [False, True])
def test_texts_during_an_outage_are_what_the_api_does(
    made_service: Path,
    healthy_rows: list[dict[str, float]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    has_failover: bool,
) -> None:
    """With a server's failover predictions are answered, and no page or command denies it; with SQLite they are not."""
    if has_failover:
        monkeypatch.setenv(DATABASE_VARIABLE, f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    settings = service.settings_of(made_service / "stillsafe.toml")
    with TestClient(service.create_app(settings), raise_server_exceptions=False) as client:
        if not has_failover:
            (made_service / "stillsafe.db").rename(made_service / "elsewhere.db")
        answer = client.post("/v1/predict", json={"features": healthy_rows[0]})
        state, pages = client.get("/v1/state"), [client.get("/").text for _ in range(3)]
        ready = client.get("/health/ready")
    assert answer.status_code == (200 if has_failover else 503)
    assert ready.status_code == answer.status_code
    assert ("so it gives none" in answer.text) is not has_failover
    assert state.status_code == 503
    assert "The database cannot be used now" in state.json()["detail"]
    assert "answer" not in state.json()["detail"]
    refusal = "refuses predictions with a 503"
    assert [(refusal in page, "predictions are answered by the last known state" in page) for page in pages] == [
        (not has_failover, has_failover)
    ] * 3
    assert [each.getMessage() for each in caplog.records].count(LogEvent.DASHBOARD_FAILED.event) == 1
    with console.capture() as capture:
        print_outage(outage_document(settings, StoreError("gone"), 0))
    assert ("answers 503" in capture.get(), "by the last known state" in capture.get()) == (
        not has_failover,
        has_failover,
    )


def test_a_database_of_another_version_is_refused(made_service: Path) -> None:
    """It is neither read nor changed."""
    settings = load(made_service / "stillsafe.toml")
    engine = service.open_store(settings)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    with pytest.raises(SchemaMismatch):
        service.open_store(settings)


def test_settings_are_read_once(made_service: Path) -> None:
    """A file is read; settings are returned unchanged."""
    settings = service.settings_of(made_service / "stillsafe.toml")
    assert service.settings_of(settings) is settings


def test_the_environment_names_the_settings_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it is `stillsafe.toml`."""
    monkeypatch.delenv(service.CONFIG_VARIABLE, raising=False)
    assert service.config_file() == "stillsafe.toml"
    monkeypatch.setenv(service.CONFIG_VARIABLE, "other.toml")
    assert service.config_file() == "other.toml"


def test_the_spool_is_next_to_the_settings_unless_they_name_it(made_service: Path) -> None:
    """A relative path is relative to the settings file."""
    settings = load(made_service / "stillsafe.toml")
    assert service.spool_of(settings).path == made_service / "stillsafe.spool.db"
    serving = settings.serving.model_copy(update={"spool": "elsewhere.db"})
    assert service.spool_of(settings.model_copy(update={"serving": serving})).path == made_service / "elsewhere.db"


def test_the_app_answers_and_shows_its_pages(made_service: Path, healthy_rows: list[dict[str, float]]) -> None:
    """API and dashboard are one application."""
    with TestClient(service.create_app(made_service / "stillsafe.toml")) as client:
        assert client.post("/v1/predict", json={"features": healthy_rows[0]}).json()["decided_by"] == "model"
        assert client.get("/health/ready").json()["watched"] is True
        assert client.get("/").status_code == 200


def test_sqlite_needs_no_failover_and_a_server_that_is_out_gets_one(made_service: Path) -> None:
    """A database server that cannot be reached does not keep the service from starting."""
    settings = load(made_service / "stillsafe.toml")
    engine, failover = service.open_store_with_failover(settings, service.utc_now)
    engine.dispose()
    assert failover is None
    url = f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/none"
    section = settings.service.model_copy(update={"database": url})
    unreachable_settings = settings.model_copy(update={"service": section})
    engine, failover = service.open_store_with_failover(unreachable_settings, service.utc_now)
    assert isinstance(failover, Failover)
    assert failover.status is StoreStatus.OUT
    engine.dispose()


def test_a_run_opens_the_store_and_decides(made_service: Path) -> None:
    """Run after run on the same database."""
    now = service.utc_now()
    result = service.monitor(made_service / "stillsafe.toml", now=now)
    assert result.decision is not None
    later = service.monitor(made_service / "stillsafe.toml", now=now + timedelta(minutes=10))
    assert later.decision is not None


def test_a_backtest_needs_the_baseline_of_the_served_model(made_service: Path) -> None:
    """A reference file of another model version is an error with a remedy."""
    import pandas as pd

    file = _change(made_service, 'version = "', 'version = "other-')
    frame = pd.DataFrame({name: [1.0] for name in load(file).schema_of_features.names})
    with pytest.raises(ConfigurationError, match=r"other-.* is served.*stillsafe init"):
        service.backtest(file, frame)


def test_bypassed_rows_are_scored_only_if_the_log_holds_every_feature(made_service: Path) -> None:
    """The scorer loads the model at its first call."""
    settings = load(made_service / "stillsafe.toml")
    scorer = service.shadow_scorer(settings)
    assert scorer is not None
    assert scorer.model is None
    row: Row = dict.fromkeys(settings.schema_of_features.names, 1.0)
    assert len(scorer([row])) == 1
    assert scorer.model is not None
    features = [feature.model_copy(update={"log": "drop"}) for feature in settings.features]
    assert service.shadow_scorer(settings.model_copy(update={"features": features})) is None


def test_a_scorer_without_its_model_says_so(made_service: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A model that cannot be loaded is logged as one event, and a run that needs it is refused with the remedy."""
    settings = load(made_service / "stillsafe.toml")
    scorer = service.shadow_scorer(settings)
    assert scorer is not None
    assert scorer.problem() is None
    settings.path(settings.model.file).rename(made_service / "aside")
    scorer = service.shadow_scorer(settings)
    assert scorer is not None
    problem = scorer.problem()
    assert problem is not None
    assert "The model cannot be read" in problem
    (record,) = [each for each in caplog.records if each.getMessage() == "shadow_score_unavailable"]
    assert record.levelname == "ERROR"
    assert record.fields["remedy"] == "Check `model.file` in the settings."  # type: ignore[attr-defined] # of the log
    with pytest.raises(RunRefused, match=r"must score the rows that the fallback answered.*cannot be read"):
        scorer([{}])


def test_the_readiness_of_the_monitor_is_tried_without_a_trace(made_service: Path) -> None:
    """Settings, model and database are opened, and nothing is created; a problem is the error of a run."""
    contents = {file: file.read_bytes() for file in made_service.iterdir() if file.name != "stillsafe.db"}
    engine = service.open_store(load(made_service / "stillsafe.toml"))
    assert "sqlite, readable" in service.monitor_readiness(made_service / "stillsafe.toml")
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    with pytest.raises(SchemaMismatch):
        service.monitor_readiness(made_service / "stillsafe.toml")
    assert {file: file.read_bytes() for file in contents} == contents
    next(made_service.glob("model.*")).unlink()
    with pytest.raises(ModelError):
        service.monitor_readiness(made_service / "stillsafe.toml")


def test_a_worker_ends_after_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """An orphan would keep the port."""
    signals: list[tuple[int, int]] = []
    parents = iter([1, 1, 2])
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    monkeypatch.setattr(os, "kill", lambda process, number: signals.append((process, number)))
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    thread = Thread(target=service._end_after, args=(1,))
    thread.start()
    thread.join(10)
    assert [process for process, _ in signals] == [os.getpid()]
