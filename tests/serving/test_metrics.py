"""Prometheus metrics: counters of answers, and gauges that are read from the database."""

from datetime import timedelta

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from stillsafe.core.state import State
from stillsafe.serving.app import build
from stillsafe.store import database
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
