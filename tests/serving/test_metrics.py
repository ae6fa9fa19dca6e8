"""Prometheus metrics: counters of answers, and gauges that are read from the database."""

from datetime import timedelta

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from stillsafe.core.decide import decide
from stillsafe.core.state import Memory, State
from stillsafe.core.window import Tally, Window
from stillsafe.serving.app import build
from stillsafe.store import database
from stillsafe.store.read.baselines import active_baseline
from stillsafe.store.read.row_selection import RowMarks
from stillsafe.store.write.decisions import RunRows, record_run
from tests.serving.services import GOOD, OLD, Service, fitted_pipeline


def _scrape(client: TestClient) -> dict[tuple[str, tuple[str, ...]], float]:
    response = client.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_answers_refusals_and_failures_are_counted(service: Service) -> None:
    """By who decided, by the kind of error, by the kind of failure."""
    service.decide(State.NORMAL)
    with TestClient(build(service.with_estimator(fitted_pipeline(unknown="error")).context)) as client:
        client.post("/v1/predict", json={"features": GOOD})
        client.post("/v1/predict", json={"features": {**GOOD, "town": "Atlantis"}})
        client.post("/v1/predict/batch", json={"instances": [OLD, {}, {"age": "x"}]})
        metrics = _scrape(client)
    assert metrics["stillsafe_answers_total", ("model",)] == 2
    assert metrics["stillsafe_answers_total", ("fallback",)] == 1
    assert metrics["stillsafe_refusals_total", ("missing",)] == 2
    assert metrics["stillsafe_refusals_total", ("wrong_type",)] == 1
    assert metrics["stillsafe_model_errors_total", ("raised ValueError",)] == 1
    assert metrics["stillsafe_request_seconds_count", ("predict",)] == 2
    assert metrics["stillsafe_request_seconds_count", ("batch",)] == 1


def test_gauges_have_the_values_of_the_database(service: Service, client: TestClient) -> None:
    """Those at the time of the scrape."""
    first = _scrape(client)
    assert first["stillsafe_monitor_stale", ()] == 1
    assert first["stillsafe_watched", ()] == 0
    assert ("stillsafe_last_monitor_run_timestamp_seconds", ()) not in first
    service.decide(State.DEGRADED)
    service.watch()
    metrics = _scrape(client)
    assert [metrics["stillsafe_state", (state.value,)] for state in State] == [0, 0, 1]
    assert metrics["stillsafe_monitor_stale", ()] == 0
    assert metrics["stillsafe_watched", ()] == 1
    assert metrics["stillsafe_last_monitor_run_timestamp_seconds", ()] == service.clock.now.timestamp()
    service.clock.now += timedelta(hours=1)
    assert _scrape(client)["stillsafe_monitor_stale", ()] == 1


def test_a_scrape_works_while_the_store_is_down(service: Service, client: TestClient) -> None:
    """It reports the outage and shows no old state."""
    service.close_store()
    with database.writing(service.engine) as connection:
        connection.exec_driver_sql("ALTER TABLE system_state RENAME TO gone_three")
    client.post("/v1/predict", json={"features": GOOD})
    metrics = _scrape(client)
    assert metrics["stillsafe_store_up", ()] == 0
    assert metrics["stillsafe_store_errors_total", ()] == 1
    assert ("stillsafe_state", ("NORMAL",)) not in metrics


def test_two_apps_count_for_themselves(service: Service, client: TestClient) -> None:
    """Each has a registry of its own."""
    client.post("/v1/predict", json={"features": GOOD})
    with TestClient(build(service.context)) as other:
        assert _scrape(other)["stillsafe_answers_total", ("model",)] == 0


def test_judging_has_gauges(service: Service, client: TestClient) -> None:
    """Judged or not, the age of the last conclusive run, and the rows that the last run could not judge in time."""
    service.watch()
    policy, now = service.context.settings.policy, service.clock.now
    tally = Tally(100, 100, 90.0, 82.0, 10)
    window = Window(now - timedelta(minutes=15), now, "v1", tally, tally, late_count=3, expired_count=2)
    with database.writing(service.engine) as connection:
        decision = decide(policy, active_baseline(connection, "v1"), window, Memory())
        rows = RunRows(RowMarks(), RowMarks(), window.late_count, window.expired_count)
        record_run(connection, policy, window, Memory(), decision, rows, enforce=True)
    service.clock.now += timedelta(minutes=5)
    client.post("/v1/predict", json={"features": GOOD, "synthetic": True})
    metrics = _scrape(client)
    assert metrics["stillsafe_judged", ()] == 1
    assert metrics["stillsafe_last_conclusive_run_age_seconds", ()] == 300
    assert metrics["stillsafe_last_run_late_rows", ()] == 3
    assert metrics["stillsafe_last_run_never_judged_rows", ()] == 2
    assert metrics["stillsafe_synthetic_requests_total", ()] == 1
    service.clock.now += timedelta(minutes=61)
    assert _scrape(client)["stillsafe_judged", ()] == 0
