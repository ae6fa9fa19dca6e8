"""What a run or an operator decides is written at once and as a whole: run, state, incident, action."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, func, select

from stillsafe.core.decide import Decision, conclude, decide
from stillsafe.core.policy import RULES_VERSION, WORDING_VERSION, Bypass, EvidencePolicy, FallbackPrice, Policy
from stillsafe.core.signals import Evidence, Level, Reading, Signal
from stillsafe.core.state import Hold, Memory, State
from stillsafe.core.window import Window
from stillsafe.errors import StoreError
from stillsafe.store import database
from stillsafe.store.codec import from_document, stored_value, to_document
from stillsafe.store.read.incidents import IncidentRecord, recent_incidents
from stillsafe.store.read.row_selection import OpenRange, RowMarks
from stillsafe.store.read.runs import (
    ActionRecord,
    RunRecord,
    all_actions,
    all_runs,
    feature_schema,
    last_run,
    recent_runs,
    run_at,
)
from stillsafe.store.read.state import StateRecord, current_state, version_states
from stillsafe.store.tables import feature_schemas, incidents, system_state
from stillsafe.store.write.decisions import RunRows, record_hold, record_release, record_run
from tests.store.conftest import START, STEP, at, baseline, window

POLICY = Policy()
ROWS = RunRows(
    predictions=RowMarks(7, (OpenRange(5, 5, START),), ((1, 4), (6, 7)), START + STEP),
    refusals=RowMarks(3, (), ((2, 3),), START + STEP),
    late_count=2,
    expired_count=1,
    schema={"features": []},
    schema_digest="abc",
)
SHIFTED_RATE, CALM_RATE = 0.5, 0.0
UP_AND_BACK = [SHIFTED_RATE] * 3 + [CALM_RATE] * 3


def judge(
    connection: Connection, run_window: Window, memory_before: Memory, *, enforce: bool = True, policy: Policy = POLICY
) -> Decision:
    """One run, decided by the real core and written."""
    decision = decide(policy, baseline(), run_window, memory_before)
    record_run(connection, policy, run_window, memory_before, decision, ROWS, enforce=enforce)
    return decision


def judge_all(connection: Connection, rates: list[float], *, enforce: bool = True) -> list[StateRecord]:
    """Runs one after the other, each from what the last one left; the state after each."""
    states = []
    for run, rate in enumerate(rates, start=1):
        memory_before = current_state(connection)
        memory = memory_before.memory if memory_before else Memory()
        judge(connection, window(run, unseen_rate=rate), memory, enforce=enforce)
        states.append(the_state(connection))
    return states


def the_state(connection: Connection) -> StateRecord:
    state = current_state(connection)
    assert state is not None
    return state


def the_incident(connection: Connection) -> IncidentRecord:
    (incident,) = recent_incidents(connection, 10)
    return incident


def run_end(run: int) -> Any:
    return START + run * STEP


def test_a_run_is_written_with_all_that_it_rests_on(connection: Connection) -> None:
    """Window, policy, readings and memory are kept, so that the decision can be recomputed."""
    run_window = window(1, unseen_rate=SHIFTED_RATE)
    decision = judge(connection, run_window, Memory())
    run = run_at(connection, run_window.end)
    assert run is not None
    assert from_document(Window, run.window) == run_window
    assert from_document(Policy, run.policy) == POLICY
    assert from_document(Memory, run.memory) == decision.memory
    assert run.readings == to_document(decision.readings)
    assert (
        decide(from_document(Policy, run.policy), baseline(), from_document(Window, run.window), Memory()) == decision
    )


def test_a_run_names_the_rules_and_the_wording_that_decided_it(connection: Connection) -> None:
    """A replay knows what it may recompute; the policy holds the numbers of those rules."""
    judge(connection, window(1, unseen_rate=SHIFTED_RATE), Memory())
    run = last_run(connection)
    assert run is not None
    assert (run.rules_version, run.wording_version) == (RULES_VERSION, WORDING_VERSION)
    assert run.policy["evidence"] == to_document(EvidencePolicy())


def test_a_state_is_valid_for_the_intervals_of_its_policy(connection: Connection) -> None:
    """The policy says how many intervals a state outlasts a monitor that does not run."""
    patient = replace(POLICY, evidence=replace(POLICY.evidence, state_valid_intervals=3.0))
    judge(connection, window(1), Memory(), policy=patient)
    assert the_state(connection).valid_until == run_end(4)


def test_the_columns_of_the_mission_are_filled(connection: Connection) -> None:
    """A run can be read in SQL: when, how much, how sure, and what was wrong with which feature."""
    judge(connection, window(1, unseen_rate=SHIFTED_RATE), Memory())
    run = last_run(connection)
    assert run is not None
    assert (run.window_start, run.window_end) == (at(-5), at(10))
    assert (run.prediction_count, run.avg_confidence, run.low_confidence_rate) == (200, 0.9, 0.1)
    assert run.unseen_categories
    assert run.feature_anomalies == {
        "unseen_category_rate:town": {"value": 0.5, "reference": 0.0, "level": "SEVERE"},
    }
    assert (run.evidence, run.severity, run.state_before, run.state_after) == ("BAD", "NORMAL", "NORMAL", "NORMAL")
    assert (run.model_version, run.baseline_id, run.shadow, run.incident_id) == ("1", "b1", False, None)


def test_a_run_names_its_rows_and_its_schema(connection: Connection) -> None:
    """Which rows it read and left open, how many came late or never, and the features that they were counted by."""
    judge(connection, window(1), Memory(last_conclusive_at=START))
    judge(connection, window(2), Memory(last_conclusive_at=START))
    run = last_run(connection)
    assert run is not None
    assert {name: stored_value(RowMarks, marks) for name, marks in run.rows.items()} == {
        "predictions": ROWS.predictions,
        "refusals": ROWS.refusals,
    }
    assert (run.last_prediction_row, run.last_refusal_row, run.fresh_since) == (7, 3, START)
    assert (run.late_count, run.expired_count, run.inherited) == (2, 1, None)
    assert feature_schema(connection, run.schema_digest or "") == {"features": []}
    assert connection.execute(select(func.count()).select_from(feature_schemas)).scalar_one() == 1


def test_a_calm_run_shows_no_anomaly(connection: Connection) -> None:
    """Within the limits there is nothing to tell of any feature."""
    judge(connection, window(1), Memory())
    run = last_run(connection)
    assert run is not None
    assert (run.feature_anomalies, run.unseen_categories, run.evidence) == ({}, False, "OK")


def test_a_window_is_judged_once(engine: Engine) -> None:
    """A second run on the same window is refused as a whole: state and incident stay as they were."""
    with database.writing(engine) as connection:
        judge_all(connection, [SHIFTED_RATE, SHIFTED_RATE])
        memory_before = the_state(connection)
    with pytest.raises(StoreError, match=r"(?i)unique"), database.writing(engine) as connection:
        judge(connection, window(2), memory_before.memory)
    with database.reading(engine) as connection:
        assert the_state(connection) == memory_before
        assert len(recent_runs(connection, 10)) == 2


def test_runs_are_numbered_as_they_come(connection: Connection) -> None:
    """The id that is returned is the run's."""
    ids = []
    for run in (1, 2, 3):
        decision = decide(POLICY, baseline(), window(run), Memory())
        ids.append(record_run(connection, POLICY, window(run), Memory(), decision, ROWS, enforce=True))
    assert ids == [run.id for run in all_runs(connection)] == sorted(set(ids))


def test_the_reason_is_the_cause_until_the_state_ends(connection: Connection) -> None:
    """Calm and inconclusive runs change what stands beside it: how far the recovery is."""
    states = judge_all(connection, [*UP_AND_BACK, CALM_RATE])
    causes, progress = [state.reason for state in states], [state.progress for state in states]
    assert causes[1].startswith("WARNING after 2 consecutive deviating runs.")
    assert "DEGRADED after 3 consecutive severe runs of one signal (2 so far)" in progress[1]
    assert causes[2].startswith("CRITICAL after 3 consecutive severe runs.")
    assert causes[2] == causes[3] == causes[4]
    assert "1 so far" in progress[3]
    assert "2 so far" in progress[4]
    assert causes[5].startswith("Recovered after 3 consecutive calm runs.")
    assert causes[6].startswith("Calm: 200 new predictions")
    assert (progress[0], progress[5], progress[6]) == ("", "", "")


def test_versions_have_states_of_their_own(connection: Connection) -> None:
    """Runs of one version at one time change neither state nor incident of another."""
    for run in (1, 2, 3):
        for version, rate in (("1", SHIFTED_RATE), ("2", CALM_RATE)):
            state = current_state(connection, version)
            memory_before = state.memory if state is not None and state.model_version == version else Memory()
            run_window = replace(window(run, unseen_rate=rate), model_version=version)
            decision = decide(POLICY, baseline(version=version), run_window, memory_before)
            record_run(connection, POLICY, run_window, memory_before, decision, ROWS, enforce=True)
    states = {state.model_version: (state.state, state.memory.incident_id) for state in version_states(connection)}
    assert states == {"1": (State.DEGRADED, the_incident(connection).incident_id), "2": (State.NORMAL, None)}


def test_there_is_one_state(connection: Connection) -> None:
    """However many runs there were, one row says what to obey."""
    judge_all(connection, [CALM_RATE, SHIFTED_RATE, CALM_RATE])
    assert connection.execute(select(func.count()).select_from(system_state)).scalar_one() == 1


def test_the_state_is_what_the_last_run_concluded(connection: Connection) -> None:
    """State, reason, memory and damaged features come from the decision; it is valid for two intervals."""
    *_, last = judge_all(connection, [SHIFTED_RATE, SHIFTED_RATE, SHIFTED_RATE])
    assert (last.state, last.severity, last.held) == (State.DEGRADED, "CRITICAL", False)
    assert last.reason.startswith(
        "CRITICAL after 3 consecutive severe runs. town has a category unseen in the baseline"
    )
    assert last.damaged_features == ("town",)
    assert last.memory.state is State.DEGRADED
    assert last.checked_at == run_end(3)
    assert last.valid_until == run_end(5)


def test_last_updated_changes_only_with_the_state(connection: Connection) -> None:
    """It is the time of the last change, not of the last look."""
    states = judge_all(connection, [CALM_RATE, *UP_AND_BACK, CALM_RATE])
    assert [record.state.value for record in states] == [
        "NORMAL",
        "NORMAL",
        "WARNING",
        "DEGRADED",
        "DEGRADED",
        "DEGRADED",
        "NORMAL",
        "NORMAL",
    ]
    assert [record.last_updated for record in states] == [run_end(run) for run in (1, 1, 3, 4, 4, 4, 7, 7)]
    assert [record.checked_at for record in states] == [run_end(run) for run in range(1, 9)]


def test_an_incident_is_opened_escalated_and_resolved(connection: Connection) -> None:
    """One degradation is one record, which grows and ends, and keeps when it was first seen."""
    judge_all(connection, UP_AND_BACK[:2])
    opened = the_incident(connection)
    assert (opened.severity, opened.detected_at, opened.fallback_activated) == ("WARNING", run_end(2), False)
    assert (opened.resolved, opened.escalated_at, opened.resolved_at) == (False, None, None)
    assert opened.trigger_signals == ["unseen_category_rate:town"]
    assert opened.decision_reason.startswith("WARNING after 2 consecutive deviating runs.")
    assert (opened.model_version, opened.baseline_id) == ("1", "b1")

    judge(connection, window(3, unseen_rate=SHIFTED_RATE), the_state(connection).memory)
    escalated = the_incident(connection)
    assert escalated == replace(
        opened,
        severity="CRITICAL",
        escalated_at=run_end(3),
        fallback_activated=True,
        decision_reason=escalated.decision_reason,
    )
    assert escalated.decision_reason.startswith("CRITICAL after 3 consecutive severe runs.")

    for run in (4, 5, 6):
        judge(connection, window(run), the_state(connection).memory)
    resolved = the_incident(connection)
    assert resolved == replace(escalated, resolved=True, resolved_at=run_end(6), resolution=resolved.resolution)
    assert (resolved.resolution or "").startswith("Recovered after 3 consecutive calm runs.")


def test_each_run_of_a_degradation_names_its_incident(connection: Connection) -> None:
    """From detection to resolution, and neither before nor after."""
    judge_all(connection, [*UP_AND_BACK, CALM_RATE])
    runs: list[RunRecord] = list(all_runs(connection))
    incident_id = the_incident(connection).incident_id
    assert [run.incident_id for run in runs] == [None, *[incident_id] * 5, None]


def test_observing_activates_no_fallback(connection: Connection) -> None:
    """In observe mode the incident is recorded as it is, and says that nothing was bypassed."""
    judge_all(connection, [SHIFTED_RATE] * 3, enforce=False)
    incident = the_incident(connection)
    assert (incident.severity, incident.fallback_activated) == ("CRITICAL", False)


def test_a_critical_incident_without_a_bypass_says_so(connection: Connection) -> None:
    """Where the fallback is not expected to do better: state WARNING, severity CRITICAL, nothing activated."""
    prices = (FallbackPrice(("town",), 0.7), FallbackPrice((), 0.6))
    policy = replace(POLICY, bypass=Bypass.WHEN_IT_PAYS, fallback_prices=prices, model_score=0.9)
    memory = Memory()
    for run, corruption in enumerate([0.1] * 3 + [0.25] * 3, start=1):
        signal = Signal.ESTIMATED_ACCURACY_LOSS
        loss = Reading(
            signal, None, Evidence.BAD, Level.SEVERE, corruption, 0.0, 0.02, 0.0375, 200, corruption=corruption
        )
        decision = conclude(policy, baseline(), window(run), memory, (loss,), Evidence.BAD)
        record_run(connection, policy, window(run), memory, decision, ROWS, enforce=True)
        memory = decision.memory
        if run == 3:
            incident = the_incident(connection)
            assert (the_state(connection).state, the_state(connection).severity) == (State.WARNING, "CRITICAL")
            assert (incident.severity, incident.escalated_at) == ("CRITICAL", run_end(3))
            assert not incident.fallback_activated
            assert "The model goes on answering" in incident.decision_reason
    incident = the_incident(connection)
    assert the_state(connection).state is State.DEGRADED
    assert (incident.fallback_activated, incident.escalated_at) == (True, run_end(6))


def test_a_second_degradation_is_a_second_incident(connection: Connection) -> None:
    """What was resolved stays as it was."""
    judge_all(connection, [*UP_AND_BACK, SHIFTED_RATE, SHIFTED_RATE])
    new, old = recent_incidents(connection, 10)
    assert (old.resolved, old.detected_at) == (True, run_end(2))
    assert (new.resolved, new.detected_at) == (False, run_end(8))


def test_an_inconclusive_run_is_recorded_and_moves_nothing(connection: Connection) -> None:
    """Too little traffic is written down as that, and the state stays."""
    *_, memory_before = judge_all(connection, [SHIFTED_RATE, SHIFTED_RATE])
    judge(connection, window(3, prediction_count=10), memory_before.memory)
    run, later = last_run(connection), the_state(connection)
    assert run is not None
    assert run.evidence == Evidence.INSUFFICIENT.value
    assert (later.state, later.last_updated, later.checked_at) == (
        memory_before.state,
        memory_before.last_updated,
        run_end(3),
    )


def test_a_hold_is_obeyed_and_recorded(connection: Connection) -> None:
    """It makes the state DEGRADED at once, and leaves what the evidence says and when the monitor looked."""
    (memory_before,) = judge_all(connection, [CALM_RATE])
    held = replace(memory_before.memory, hold=Hold("ann", "smells", at(12)))
    record_hold(connection, {"1": memory_before.memory}, Hold("ann", "smells", at(12)), after_run=1)
    state = the_state(connection)
    assert (state.state, state.held, state.last_updated) == (State.DEGRADED, True, at(12))
    assert state.reason == "Held by ann: smells."
    assert (state.checked_at, state.valid_until) == (memory_before.checked_at, memory_before.valid_until)
    assert state.memory == held
    assert held.state is State.NORMAL
    assert all_actions(connection) == [ActionRecord(1, at(12), "hold", "ann", "smells", 1)]
    assert recent_incidents(connection, 10) == []


def test_a_release_lets_the_evidence_decide_again(connection: Connection) -> None:
    """The state is then what the evidence said all along, and the action is recorded."""
    judge_all(connection, [CALM_RATE])
    record_hold(connection, {"1": the_state(connection).memory}, Hold("ann", "smells", at(12)), 1)
    record_release(connection, {"1": the_state(connection).memory}, Hold("bob", "aired", at(14)), 1)
    state = the_state(connection)
    assert (state.state, state.held, state.last_updated) == (State.NORMAL, False, at(14))
    assert state.reason == "Released by bob: aired."
    assert [(action.action, action.by, action.at) for action in all_actions(connection)] == [
        ("hold", "ann", at(12)),
        ("release", "bob", at(14)),
    ]


def test_holding_what_is_degraded_changes_nothing_to_obey(connection: Connection) -> None:
    """DEGRADED before, DEGRADED after: the time of the last change stays, through hold and release."""
    *_, memory_before = judge_all(connection, [SHIFTED_RATE] * 3)
    record_hold(connection, {"1": memory_before.memory}, Hold("ann", "smells", at(32)), 3)
    record_release(connection, {"1": the_state(connection).memory}, Hold("ann", "aired", at(33)), 3)
    state = the_state(connection)
    assert (state.state, state.last_updated) == (State.DEGRADED, memory_before.last_updated)
    assert state.reason == memory_before.reason, "the cause of the degradation, as before the hold"


def test_a_run_under_a_hold_keeps_it(connection: Connection) -> None:
    """The monitor goes on judging beneath a hold, and does not end it."""
    judge_all(connection, [CALM_RATE])
    record_hold(connection, {"1": the_state(connection).memory}, Hold("ann", "smells", at(12)), 1)
    judge(connection, window(2), the_state(connection).memory)
    state, run = the_state(connection), last_run(connection)
    assert run is not None
    assert (state.state, state.held, state.last_updated) == (State.DEGRADED, True, at(12))
    assert (run.state_before, run.state_after) == ("DEGRADED", "DEGRADED")


def test_a_hold_before_the_first_run_is_a_state(connection: Connection) -> None:
    """An operator need not wait for the monitor."""
    record_hold(connection, {"1": Memory()}, Hold("ann", "not yet", START), None)
    state = the_state(connection)
    assert (state.state, state.checked_at, state.valid_until) == (State.DEGRADED, None, None)
    assert all_actions(connection)[0].after_run is None


def test_a_run_that_dies_has_never_happened(engine: Engine) -> None:
    """Whatever stops it before its commit, neither run, state nor incident is there."""

    def stumble() -> None:
        with database.writing(engine) as connection:
            judge_all(connection, [SHIFTED_RATE] * 3)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stumble()
    with database.reading(engine) as connection:
        assert current_state(connection) is None
        assert last_run(connection) is None
        assert connection.execute(select(incidents)).first() is None
