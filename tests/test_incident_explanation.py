"""Explaining incidents: which steps are explained, when the model is called, and what is stored."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stillsafe import incident_explanation, service
from stillsafe.cli import main
from stillsafe.core.signals import Signal
from stillsafe.core.state import State
from stillsafe.errors import Failure, ObserverFailed
from stillsafe.incident_explanation import Outcome
from stillsafe.observer import llm
from stillsafe.observer.payload import Explanation, IncidentPayload, from_json
from stillsafe.settings import Settings
from stillsafe.store import database
from stillsafe.store.read.incidents import ExplanationRecord, incident_explanations, recent_incidents
from stillsafe.store.tables import explanation_failures, llm_explanations
from tests.test_promises import MISSING_FEATURE, Whole, whole

__all__ = ["whole"]
LLM_SECTION = 'use = "llm"\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "m"'
EXPLANATION = Explanation("It is missing in 100.0%, not 42%.", "A feed.", "Check 7 feeds.", "m")

Answer = Callable[[IncidentPayload, llm.Endpoint], Explanation]


@pytest.fixture
def incident_id(whole: Whole) -> str:
    """An incident that was opened and escalated, explained offline only."""
    for _ in range(3):
        whole.step(**MISSING_FEATURE)
    with database.reading(whole.store()) as connection:
        (incident,) = recent_incidents(connection, 5)
    return incident.incident_id


@pytest.fixture
def llm_settings(made_service: Path) -> Settings:
    """The settings with a language model whose server does not exist."""
    file = made_service / "stillsafe.toml"
    file.write_text(file.read_text().replace('use = "offline"', LLM_SECTION, 1))
    return service.settings_of(file)


def explanations(whole: Whole, incident_id: str) -> list[ExplanationRecord]:
    """The stored explanations."""
    with database.reading(whole.store()) as connection:
        return incident_explanations(connection, incident_id)


def replace_llm(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> list[str]:
    """Replace the language model; returns the list of steps that it is called for."""
    statuses: list[str] = []

    def explain(payload: IncidentPayload, endpoint: llm.Endpoint) -> Explanation:
        statuses.append(payload.status)
        return answer(payload, endpoint)

    monkeypatch.setattr(llm, "explain", explain)
    return statuses


def test_offline_nothing_is_pending(whole: Whole, incident_id: str) -> None:
    """Every step has its offline explanation, and none waits for a language model."""
    engine = whole.store()
    assert [record.source for record in explanations(whole, incident_id)] == ["offline", "offline"]
    assert incident_explanation.pending_steps(engine, whole.settings) == []
    outcome = incident_explanation.explain_newest(engine, whole.settings, incident_id, now=whole.clock.now)
    assert outcome is Outcome.OFFLINE
    assert len(explanations(whole, incident_id)) == 2


def test_an_unknown_incident_is_no_error(whole: Whole) -> None:
    """The outcome says that its run is not stored."""
    engine = whole.store()
    outcome = incident_explanation.explain_newest(engine, whole.settings, "inc-none", now=whole.clock.now)
    assert outcome is Outcome.UNKNOWN
    assert incident_explanation.request_preview(engine, whole.settings, "inc-none") is None


def test_each_pending_step_is_explained_once(
    whole: Whole, incident_id: str, llm_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest step first; a second command calls the language model for none of them."""
    statuses = replace_llm(monkeypatch, lambda _payload, _endpoint: EXPLANATION)
    engine, now = whole.store(), whole.clock.now
    outcomes = incident_explanation.explain_pending(engine, llm_settings, now=now)
    assert [(step.status, outcome) for step, outcome in outcomes.items()] == [
        ("escalated", Outcome.EXPLANATION),
        ("opened", Outcome.EXPLANATION),
    ]
    assert incident_explanation.explain_pending(engine, llm_settings, now=now) == {}
    newest = incident_explanation.explain_newest(engine, llm_settings, incident_id, now=now)
    assert newest is Outcome.EXPLANATION
    assert statuses == ["escalated", "opened"]


def test_unverified_numbers_are_marked_and_located(
    whole: Whole, incident_id: str, llm_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each number that the payload does not support is marked in its text, and its position is stored."""
    replace_llm(monkeypatch, lambda _payload, _endpoint: EXPLANATION)
    incident_explanation.explain_newest(whole.store(), llm_settings, incident_id, now=whole.clock.now)
    record = explanations(whole, incident_id)[-1]
    assert record.summary == "It is missing in 100.0%, not 42% [unverified]."
    assert record.recommendations == "Check 7 [unverified] feeds."
    assert record.unverified == [
        {"field": "summary", "number": "42%", "at": record.summary.index("42%")},
        {"field": "recommendations", "number": "7", "at": 6},
    ]
    assert (record.llm_model, record.prompt_version) == ("m", "1")


@pytest.mark.parametrize(
    ("kind", "outcome", "call_count"),
    [(Failure.UNREACHABLE, Outcome.FAILURE, 1), (Failure.UNUSABLE, Outcome.UNUSABLE, 2)],
)
def test_a_server_failure_ends_the_command(
    whole: Whole,
    incident_id: str,
    llm_settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    kind: Failure,
    outcome: Outcome,
    call_count: int,
) -> None:
    """After a useless answer the next step follows; both kinds of failure are stored and leave the step pending."""

    def fail(_payload: IncidentPayload, _endpoint: llm.Endpoint) -> Explanation:
        raise ObserverFailed(kind, "no answer")

    statuses = replace_llm(monkeypatch, fail)
    outcomes = incident_explanation.explain_pending(whole.store(), llm_settings, now=whole.clock.now)
    assert list(outcomes.values()) == [outcome] * call_count
    assert len(statuses) == call_count
    assert whole.rows("SELECT failure FROM explanation_failures") == [(kind.value,)] * call_count
    assert len(incident_explanation.pending_steps(whole.store(), llm_settings)) == 2
    assert {record.source for record in explanations(whole, incident_id)} == {"offline"}


def test_one_process_at_a_time_calls_the_model(
    whole: Whole, incident_id: str, llm_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another process calls it, nothing is sent."""
    statuses = replace_llm(monkeypatch, lambda _payload, _endpoint: EXPLANATION)
    engine = whole.store()
    with database.try_lock(engine, "explain") as owns_lock:
        assert owns_lock
        outcome = incident_explanation.explain_newest(whole.store(), llm_settings, incident_id, now=whole.clock.now)
    assert (outcome, statuses) == (Outcome.BUSY, [])


def test_the_preview_is_what_the_model_gets(whole: Whole, incident_id: str) -> None:
    """Its payload is the newest step's, with the reading that caused the incident."""
    preview = incident_explanation.request_preview(whole.store(), whole.settings, incident_id)
    assert preview is not None
    payload, messages = from_json(preview[0]), preview[1]
    assert (payload.status, payload.severity, payload.state_after) == ("escalated", "CRITICAL", "DEGRADED")
    (damage,) = [each for each in payload.deviations if each.signal is Signal.MISSING_RATE]
    assert (damage.feature, damage.deviating_runs) == ("worst area", 3)
    assert payload.fallback.active
    assert damage.sentence in messages[1]["content"]


def test_without_its_tables_every_surface_works(
    whole: Whole, incident_id: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The mission's optional tables were dropped: runs, API, dashboard and commands work as if they were empty."""
    with database.writing(whole.store()) as connection:
        for table in (llm_explanations, explanation_failures):
            table.drop(connection)
    assert whole.step() is State.DEGRADED
    assert whole.client.get(f"/v1/incidents/{incident_id}").json()["explanations"] == []
    for path in ("/", "/metrics", "/v1/state", "/v1/incidents", "/health/ready"):
        assert whole.client.get(path).status_code == 200, path
    commands = ("status", "incidents list", f"incidents show {incident_id}", "explain", "explain --pending", "replay")
    for words in (*commands, "db upgrade", "baseline list", "windows"):
        config = ["--config", str(whole.settings.file)]
        monkeypatch.setattr("sys.argv", ["stillsafe", *words.split(), *config])
        with pytest.raises(SystemExit) as exit_info:
            main()
        assert not exit_info.value.code, (words, capsys.readouterr())
    assert "Traceback" not in capsys.readouterr().err


def test_without_its_table_no_language_model_is_called(
    whole: Whole, incident_id: str, llm_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An explanation that cannot be stored would be paid for again and again."""
    calls = replace_llm(monkeypatch, lambda *_: EXPLANATION)
    with database.writing(whole.store()) as connection:
        llm_explanations.drop(connection)
    outcome = incident_explanation.explain_newest(whole.store(), llm_settings, incident_id, now=whole.clock.now)
    assert (outcome, calls) == (Outcome.NO_TABLE, [])
    assert incident_explanation.pending_steps(whole.store(), llm_settings) == []
