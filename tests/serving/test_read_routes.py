"""Read routes: every route returns what the store holds, in the documented schema."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection
from starlette.testclient import TestClient

from stillsafe.core.baseline import Baseline, FeatureBaseline
from stillsafe.core.decide import decide
from stillsafe.core.policy import Policy
from stillsafe.core.schema import FeatureType
from stillsafe.core.state import Hold, Memory, State
from stillsafe.core.window import FeatureTally, Tally, Window
from stillsafe.serving import read_routes
from stillsafe.serving.read_routes import SLICE_RUNS
from stillsafe.serving.schemas import (
    BaselineDocument,
    ExplainedIncidentDocument,
    IncidentsDocument,
    ModelDocument,
    ReadyDocument,
    SchemaDocument,
    StateDocument,
    WindowsDocument,
)
from stillsafe.store import database
from stillsafe.store.read.incidents import ExplanationRecord
from stillsafe.store.read.row_selection import RowMarks
from stillsafe.store.read.runs import RunFigures, recent_figures
from stillsafe.store.write.baselines import insert_baseline, mark_active
from stillsafe.store.write.decisions import RunRows, record_hold, record_run
from stillsafe.store.write.explanations import append_explanation
from stillsafe.store.write.predictions import append_predictions
from tests.serving.services import FEATURES, GOOD, Service
from tests.store.conftest import prediction

GETS = ["/v1/state", "/v1/incidents", "/v1/incidents/x", "/v1/windows", "/v1/baseline", "/v1/model", "/health/ready"]


def _degrade(service: Service) -> Memory:
    """Four runs in which every town is missing: the real decisions, written by their real writer."""
    towns = FeatureBaseline(FeatureType.CATEGORY, 300, 0, category_counts={"Ulm": 200, "Bonn": 100})
    baseline = replace(_baseline(service.clock.now), features={"town": towns})
    policy, memory = Policy(), Memory()
    tally = Tally(100, 100, 90.0, 82.0, 10, features={"town": FeatureTally(0, 100)})
    with database.writing(service.engine) as connection:
        insert_baseline(connection, baseline)
        mark_active(connection, baseline)
        for _ in range(4):
            end = service.clock.now
            window = Window(end - timedelta(minutes=15), end, "v1", tally, tally)
            decision = decide(policy, baseline, window, memory)
            rows = RunRows(RowMarks(), RowMarks())
            record_run(connection, policy, window, memory, decision, rows, enforce=True)
            memory = decision.memory
            service.clock.now += timedelta(minutes=10)
        service.clock.now -= timedelta(minutes=10)
    return memory


def _baseline(at: datetime) -> Baseline:
    from stillsafe.core.baseline import BaselineSource

    return Baseline("b1", "v1", at, BaselineSource.REFERENCE, 300, 300, 0.9, 0.1, 0.7, 0.1)


def _get(client: TestClient, path: str, kind: Callable[[bytes], Any]) -> Any:
    response = client.get(path)
    assert response.status_code == 200, response.text
    return kind(response.content)


def test_the_state_before_anything_was_decided(client: TestClient) -> None:
    """It is NORMAL, stale and unwatched."""
    state = _get(client, "/v1/state", StateDocument.model_validate_json)
    assert (state.state, state.stale, state.watched, state.held) == ("NORMAL", True, False, False)
    assert (state.checked_at, state.valid_until, state.last_updated) == (None, None, None)
    assert "never run" in state.reason
    ready = _get(client, "/health/ready", ReadyDocument.model_validate_json)
    assert (ready.status, ready.monitor, ready.watched) == ("ready", "never ran", False)


def test_a_degradation_is_visible_everywhere(service: Service, client: TestClient) -> None:
    """State, incident, windows and readiness agree."""
    memory = _degrade(service)
    state = _get(client, "/v1/state", StateDocument.model_validate_json)
    assert (state.state, state.severity, state.stale, state.mode) == ("DEGRADED", "CRITICAL", False, "enforce")
    assert (state.incident_id, state.baseline_id, state.damaged_features) == (memory.incident_id, "b1", ["town"])
    assert state.checked_at == service.clock.now
    incidents = _get(client, "/v1/incidents?unresolved=true", IncidentsDocument.model_validate_json).incidents
    assert [each.incident_id for each in incidents] == [memory.incident_id]
    assert (incidents[0].severity, incidents[0].fallback_activated, incidents[0].resolved) == ("CRITICAL", True, False)
    windows = _get(client, "/v1/windows", WindowsDocument.model_validate_json).windows
    assert [(each.state_before, each.state_after) for each in windows] == [
        ("DEGRADED", "DEGRADED"),
        ("WARNING", "DEGRADED"),
        ("NORMAL", "WARNING"),
        ("NORMAL", "NORMAL"),
    ]
    assert {(each.evidence, each.baseline_id, each.model_version, each.shadow) for each in windows} == {
        ("BAD", "b1", "v1", False)
    }
    assert windows[0].readings[0]["signal"] == "avg_confidence"
    assert windows[0].feature_anomalies["missing_rate:town"]["value"] == 1.0
    assert len(_get(client, "/v1/windows?limit=1", WindowsDocument.model_validate_json).windows) == 1
    assert _get(client, "/health/ready", ReadyDocument.model_validate_json).state == "DEGRADED"


def test_an_incident_comes_with_its_explanations(service: Service, client: TestClient) -> None:
    """As plain text, in order."""
    incident_id = _degrade(service).incident_id or ""
    with database.writing(service.engine) as connection:
        append_explanation(
            connection,
            ExplanationRecord(
                incident_id=incident_id,
                incident_status="opened",
                generated_at=service.clock.now,
                source="offline",
                likely_causes="",
                summary="<b>towns</b>",
                recommendations="look upstream",
                llm_model="none",
            ),
        )
    incident = _get(client, f"/v1/incidents/{incident_id}", ExplainedIncidentDocument.model_validate_json)
    assert "town" in incident.decision_reason
    assert [each.summary for each in incident.explanations] == ["<b>towns</b>"]


def test_a_hold_names_who_and_why(service: Service, client: TestClient) -> None:
    """The state has the operator's name and reason."""
    with database.writing(service.engine) as connection:
        record_hold(connection, {"v1": Memory()}, Hold("ann", "odd answers", service.clock.now), None)
    state = _get(client, "/v1/state", StateDocument.model_validate_json)
    assert (state.state, state.held, state.held_by, state.hold_reason) == ("DEGRADED", True, "ann", "odd answers")
    assert state.stale


@pytest.mark.parametrize(("seconds", "monitor"), [(0, "fresh"), (1200, "fresh"), (1201, "stale")])
def test_a_dead_monitor_is_visible(service: Service, client: TestClient, seconds: int, monitor: str) -> None:
    """Two intervals after its last run, in the state and in readiness."""
    service.decide(State.NORMAL)
    service.clock.now += timedelta(seconds=seconds)
    assert _get(client, "/health/ready", ReadyDocument.model_validate_json).monitor == monitor
    assert _get(client, "/v1/state", StateDocument.model_validate_json).stale == (monitor == "stale")


def test_model_schema_and_baseline_describe_the_served_model(service: Service, client: TestClient) -> None:
    """With its identifier once it is watched."""
    model = _get(client, "/v1/model", ModelDocument.model_validate_json)
    assert (model.version, model.kind, model.classes) == ("v1", "classifier", ["no", "yes"])
    assert (model.confidence_method, model.watched, model.baseline_id) == ("class_probability", False, None)
    schema = _get(client, "/v1/schema", SchemaDocument.model_validate_json)
    assert [(each.name, each.type, each.required) for each in schema.features] == [
        (each["name"], each["type"], each.get("required", True)) for each in FEATURES
    ]
    assert schema.features[0].allowed == "a number from 0 to 120"
    service.watch()
    baseline = _get(client, "/v1/baseline", BaselineDocument.model_validate_json)
    assert (baseline.baseline_id, baseline.sample_size, baseline.active) == ("b1", 300, True)
    assert _get(client, "/v1/model", ModelDocument.model_validate_json).watched


def test_a_baseline_shows_the_missions_columns(service: Service, client: TestClient) -> None:
    """Ranges, frequencies and missing rates per feature."""
    _degrade(service)
    baseline = _get(client, "/v1/baseline", BaselineDocument.model_validate_json)
    assert baseline.category_frequencies["town"]["Ulm"] == pytest.approx(2 / 3)
    assert baseline.missing_value_rates == {"town": 0.0}


@pytest.mark.parametrize("path", GETS)
def test_a_store_that_is_down_is_no_calm_answer(service: Service, client: TestClient, path: str) -> None:
    """503 everywhere; only being alive needs no store."""
    with database.writing(service.engine) as connection:
        for table in ("system_state", "incidents", "current_window_metrics", "baseline_metrics"):
            connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO gone_{table}")
    response = client.get(path)
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert "retry-after" in response.headers
    assert client.get("/health/live").json() == {"status": "live"}


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE system_state SET valid_until = 'garbage'",
        "UPDATE system_state SET damaged_features = '5'",
        "UPDATE system_state SET checked_at = 'x'",
    ],
)
def test_a_garbled_state_is_a_503_and_not_a_fault(service: Service, client: TestClient, damage: str) -> None:
    """Unknown is not NORMAL: no route invents a state, and a scrape still works."""
    service.decide(State.NORMAL)
    with database.writing(service.engine) as connection:
        connection.exec_driver_sql(damage)
    responses = [client.get(path) for path in ("/v1/state", "/health/ready")]
    responses.append(client.post("/v1/predict", json={"features": GOOD}))
    assert [response.status_code for response in responses] == [503] * 3
    scrape = client.get("/metrics")
    assert (scrape.status_code, "stillsafe_store_up 0.0" in scrape.text) == (200, True)


def test_the_state_lists_every_version(service: Service, client: TestClient) -> None:
    """The served version's own state stays in the old fields; the headline is the worst with traffic."""
    memory = _degrade(service)
    record = prediction(1, service.clock.now, version="v1")
    with database.writing(service.engine) as connection:
        append_predictions(connection, [record, prediction(2, service.clock.now, version="v2")])
    state = _get(client, "/v1/state", StateDocument.model_validate_json)
    assert (state.state, state.headline, state.judged, state.judged_at) == (
        "DEGRADED",
        "DEGRADED",
        True,
        memory.last_conclusive_at,
    )
    assert state.progress
    assert "consecutive calm runs" in state.progress
    versions = {each.model_version: each for each in state.versions}
    assert (versions["v1"].monitored, versions["v2"].monitored) == (True, False)
    assert versions["v2"].last_request_at == service.clock.now
    service.clock.now += timedelta(hours=2)
    state = _get(client, "/v1/state", StateDocument.model_validate_json)
    assert (state.judged, state.unjudged_since) == (False, record.timestamp)
    assert "the monitor has stopped" in state.not_judged


def _store_runs(service: Service, count: int) -> None:
    """So many runs that found nothing."""
    policy, memory = Policy(), Memory()
    with database.writing(service.engine) as connection:
        for _ in range(count):
            end = service.clock.now
            window = Window(end - timedelta(minutes=15), end, "v1", Tally(0, 0), Tally(0, 0))
            decision = decide(policy, None, window, memory)
            record_run(connection, policy, window, memory, decision, RunRows(RowMarks(), RowMarks()), enforce=True)
            memory = decision.memory
            service.clock.now += timedelta(minutes=10)


@pytest.mark.parametrize("count", [0, 1, SLICE_RUNS - 1, SLICE_RUNS, SLICE_RUNS + 1, 2 * SLICE_RUNS, 37])
@pytest.mark.parametrize("limit", [1, SLICE_RUNS, SLICE_RUNS + 5, 1000])
def test_pages_of_windows_join_to_all_runs(service: Service, client: TestClient, count: int, limit: int) -> None:
    """Following `next` gives each run once, newest first, in pages of at most `limit`, and ends."""
    _store_runs(service, count)
    ends, path = [], f"/v1/windows?limit={limit}"
    for _ in range(count + 2):
        page = _get(client, path, WindowsDocument.model_validate_json)
        assert len(page.windows) <= limit
        ends += [window.window_end for window in page.windows]
        if page.next is None:
            break
        path = f"/v1/windows?limit={limit}&before={page.next}"
    assert page.next is None
    assert ends == [service.clock.now - timedelta(minutes=10) * number for number in range(1, count + 1)]


def test_windows_have_their_realised_performance(service: Service, client: TestClient) -> None:
    """Each from the labels of its own rows; null before any label has come."""
    for number in range(4):
        client.post("/v1/predict", json={"id": f"r{number}", "features": GOOD})
    service.clock.now += timedelta(minutes=10)
    _store_runs(service, 2)
    assert [each.realised for each in _get(client, "/v1/windows", WindowsDocument.model_validate_json).windows] == [
        None,
        None,
    ]
    answer = client.get("/v1/predictions", params={"id": "r0"}).json()["predictions"][0]["prediction"]
    other = "no" if answer == "yes" else "yes"
    labels = [{"id": "r0", "label": answer}, {"id": "r1", "label": answer}, {"id": "r2", "label": other}]
    client.post("/v1/labels", json={"labels": labels})
    newest, oldest = (
        each.realised for each in _get(client, "/v1/windows", WindowsDocument.model_validate_json).windows
    )
    assert newest is not None
    assert oldest is not None
    assert (oldest.metric, oldest.label_count, oldest.prediction_count, oldest.coverage) == ("accuracy", 3, 4, 0.75)
    assert oldest.value == pytest.approx(2 / 3)
    assert (newest.label_count, newest.value) == (0, None)


def test_a_long_list_is_read_in_slices(service: Service, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand runs are never in memory together, and no thread is kept by them."""
    sizes: list[int] = []

    def note_size(connection: Connection, limit: int, before_run: int | None = None) -> list[RunFigures]:
        assert threading.current_thread().name.startswith("stillsafe-time-share")
        sizes.append(limit)
        return recent_figures(connection, limit, before_run)

    _store_runs(service, 37)
    monkeypatch.setattr(read_routes, "recent_figures", note_size)
    assert len(_get(client, "/v1/windows?limit=36", WindowsDocument.model_validate_json).windows) == 36
    assert sizes == [SLICE_RUNS] * 3 + [6]


@pytest.mark.parametrize("run", ["0", "-1", "x", str(2**63)])
def test_a_page_before_no_possible_run_is_refused(client: TestClient, run: str) -> None:
    """422, and no error of the database."""
    assert client.get(f"/v1/windows?before={run}").status_code == 422
