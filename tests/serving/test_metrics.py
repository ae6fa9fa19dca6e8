"""What Prometheus scrapes: counters of what was answered, and gauges that the database speaks through."""

from datetime import timedelta

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from stillsafe.core.state import State
from stillsafe.serving.app import build
from stillsafe.store import database
from tests.serving.services import GOOD, OLD, Service, fitted


def _scraped(client: TestClient) -> dict[tuple[str, tuple[str, ...]], float]:
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
    with TestClient(build(service.with_estimator(fitted(unknown="error")).context)) as client:
        client.post("/v1/predict", json={"features": GOOD})
        client.post("/v1/predict", json={"features": {**GOOD, "town": "Atlantis"}})
        client.post("/v1/predict/batch", json={"instances": [OLD, {}, {"age": "x"}]})
        found = _scraped(client)
    assert found["stillsafe_answers_total", ("model",)] == 2
    assert found["stillsafe_answers_total", ("fallback",)] == 1
    assert found["stillsafe_refusals_total", ("missing",)] == 2
    assert found["stillsafe_refusals_total", ("wrong_type",)] == 1
    assert found["stillsafe_model_errors_total", ("raised ValueError",)] == 1
    assert found["stillsafe_request_seconds_count", ("predict",)] == 2
    assert found["stillsafe_request_seconds_count", ("batch",)] == 1


def test_gauges_say_what_the_database_says(service: Service, client: TestClient) -> None:
    """At the time of the scrape, whoever changed it."""
    before = _scraped(client)
    assert before["stillsafe_monitor_stale", ()] == 1
    assert before["stillsafe_watched", ()] == 0
    assert ("stillsafe_last_monitor_run_timestamp_seconds", ()) not in before
    service.decide(State.DEGRADED)
    service.watch()
    found = _scraped(client)
    assert [found["stillsafe_state", (state.value,)] for state in State] == [0, 0, 1]
    assert found["stillsafe_monitor_stale", ()] == 0
    assert found["stillsafe_watched", ()] == 1
    assert found["stillsafe_last_monitor_run_timestamp_seconds", ()] == service.clock.now.timestamp()
    service.clock.now += timedelta(hours=1)
    assert _scraped(client)["stillsafe_monitor_stale", ()] == 1


def test_a_scrape_works_while_the_store_is_down(service: Service, client: TestClient) -> None:
    """It says so, instead of failing or showing an old state."""
    service.close_store()
    with database.writing(service.engine) as connection:
        connection.exec_driver_sql("ALTER TABLE system_state RENAME TO gone_three")
    client.post("/v1/predict", json={"features": GOOD})
    found = _scraped(client)
    assert found["stillsafe_store_up", ()] == 0
    assert found["stillsafe_store_errors_total", ()] == 1
    assert ("stillsafe_state", ("NORMAL",)) not in found


def test_two_apps_count_for_themselves(service: Service, client: TestClient) -> None:
    """Each has a registry of its own."""
    client.post("/v1/predict", json={"features": GOOD})
    with TestClient(build(service.context)) as other:
        assert _scraped(other)["stillsafe_answers_total", ("model",)] == 0
