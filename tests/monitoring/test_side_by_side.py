"""Versions and services on one database: each is judged by its own rows, and changes nothing of another."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from stillsafe.core.state import State
from stillsafe.monitoring import hold, run
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.replay import replay
from stillsafe.store import database
from stillsafe.store.codec import dumps, to_document
from stillsafe.store.read.baselines import all_baselines
from stillsafe.store.read.incidents import IncidentRecord, recent_incidents
from stillsafe.store.read.runs import all_runs, last_run
from stillsafe.store.read.state import version_states
from stillsafe.store.tables import baseline_metrics, metadata
from tests.monitoring.conftest import STEP, Service, lose

FAULT = lose("town", 0.6)
UP_AND_BACK = ["NORMAL", "WARNING", "DEGRADED", "DEGRADED", "DEGRADED", "NORMAL"]


def steps(
    *services: Service, change: Callable[..., None] | None = None, seconds_between: float = 0, count: int = 300
) -> list[str]:
    """Ten minutes of the same traffic for each, and a run of each, so many seconds apart; the states after them."""
    for each in services:
        each.send(count, change=change)
    for number, each in enumerate(services):
        each.now += STEP
        now = each.now + timedelta(seconds=seconds_between * number)
        run.run(each.engine, each.settings, now=now, score=each.score)
    return [each.state().value for each in services]


def incidents_of(service: Service) -> list[IncidentRecord]:
    """The service's incidents, oldest first."""
    with database.reading(service.engine) as connection:
        return recent_incidents(connection, None)[::-1]


def assert_replays(service: Service, *versions: str) -> None:
    """Every window recounts and every decision recomputes."""
    for version in versions or (service.settings.model.version,):
        result = replay(
            service.engine,
            from_logs=True,
            log_format=LogFormat.of(service.settings),
            model_version=version,
            score=service.score,
        )
        assert result.difference is None
        assert all("shadow scores" in why for why in result.not_recounted.values())


@pytest.mark.parametrize("seconds_between", [0, 2, 300])
def test_each_version_is_judged_by_its_own_rows(service: Service, seconds_between: float) -> None:
    """Both broken and mended, at once, seconds or minutes apart: each goes its own way."""
    other = service.sharing_service(model={"version": "2"})
    states = [steps(service, other, seconds_between=seconds_between, change=FAULT if i < 3 else None) for i in range(6)]
    assert [first for first, _ in states] == UP_AND_BACK
    assert [second for _, second in states] == UP_AND_BACK
    with database.reading(service.engine) as connection:
        counts = {(each.model_version, each.window["fresh"]["prediction_count"]) for each in all_runs(connection)}
    assert {version for version, _ in counts} == {"1", "2"}
    assert all(count <= 450 for _, count in counts)
    assert sorted(each.model_version or "" for each in incidents_of(service)) == ["1", "2"]
    assert all(each.resolved and each.severity == "CRITICAL" for each in incidents_of(service))
    assert_replays(service, "1", "2")


def test_a_broken_version_leaves_the_other_alone(service: Service) -> None:
    """Each bad run of the one and each calm run of the other count for their own version only."""
    other = service.sharing_service(model={"version": "2"})
    for _ in range(4):
        steps(service)
        steps(other, change=FAULT)
    assert (service.state(), other.state()) == (State.NORMAL, State.DEGRADED)
    with database.reading(service.engine) as connection:
        states = {each.model_version: each for each in version_states(connection)}
    assert states["1"].memory.calm_runs == 4
    assert states["1"].reason.startswith("Calm")
    assert states["2"].reason.startswith("CRITICAL after 3 consecutive severe runs.")
    assert_replays(service, "1", "2")


def test_a_new_version_starts_from_the_worst_state_of_those_that_answer(service: Service) -> None:
    """It is degraded like the version that it joins, with an incident of its own, and recovers by its own rows."""
    other = service.sharing_service(model={"version": "2"})
    for _ in range(3):
        steps(service, change=FAULT)
    other.now = service.now
    assert other.state() is State.DEGRADED, "before its first run"
    states = [steps(other)[0] for _ in range(3)]
    assert states == ["DEGRADED", "DEGRADED", "NORMAL"]
    old, new = incidents_of(service)
    assert (old.model_version, old.resolved) == ("1", False)
    assert (new.model_version, new.severity, new.resolved, new.trigger_signals) == ("2", "CRITICAL", True, [])
    assert new.decision_reason.startswith(
        "Inherited from version 1, which has been DEGRADED since 2026-03-01T00:30:00Z"
    )
    assert new.fallback_activated
    assert service.state() is State.DEGRADED
    with database.reading(service.engine) as connection:
        first = next(each for each in all_runs(connection) if each.model_version == "2")
    assert first.inherited["state"] == "DEGRADED"
    assert first.inherited["damaged_features"] == ["town"]
    assert_replays(service, "1", "2")


def test_a_version_inherits_nothing_from_one_that_no_longer_answers(service: Service) -> None:
    """Beyond the policy's longest gap between two runs, the state of the old version says nothing of the new one."""
    other = service.sharing_service(model={"version": "2"})
    for _ in range(3):
        steps(service, change=FAULT)
    other.now = service.now + timedelta(hours=2)
    assert [steps(other)[0] for _ in range(2)] == ["NORMAL", "NORMAL"]
    assert [each.model_version for each in incidents_of(service)] == ["1"]
    assert_replays(service, "1", "2")


def test_a_hold_covers_every_version(service: Service) -> None:
    """Those that have a state, and those that come later; the release ends it for all."""
    other, third = (service.sharing_service(model={"version": version}) for version in ("2", "3"))
    steps(service, other)
    third.now = service.now
    hold.hold(service.engine, "1", by="Ada", reason="wrong prices", at=service.now)
    assert {each.state() for each in (service, other, third)} == {State.DEGRADED}
    steps(service, other, third)
    hold.release(service.engine, "2", by="Ada", reason="mended", at=service.now)
    assert {each.state() for each in (service, other, third)} == {State.NORMAL}
    steps(service, other, third)
    assert incidents_of(service) == []
    assert_replays(service, "1", "2", "3")


def rows_of(service: Service) -> Mapping[str, list[str]]:
    """Every row of a service, of all tables, as canonical text."""
    with database.reading(service.engine) as connection:
        own = database.service_id(connection)
        return {
            table.name: sorted(
                dumps(to_document(dict(row._mapping)))
                for row in connection.execute(select(table).where(table.c.service_id == own))
            )
            for table in metadata.sorted_tables
            if "service_id" in table.c
        }


def test_services_never_touch_each_other(service: Service) -> None:
    """A's degradation, hold, incidents and baselines change no row of B, of the same version, and B's none of A."""
    other = service.sharing_service(service={"name": "another"})
    with database.reading(service.engine) as connection:
        (own_baseline,) = all_baselines(connection)
    with database.writing(other.engine) as connection:
        is_own = baseline_metrics.c.service_id == database.service_id(connection)
        connection.execute(update(baseline_metrics).where(is_own).values(baseline_id=own_baseline.baseline.baseline_id))

    def change_one(changing_service: Service, other_service: Service, **traffic: Any) -> None:
        rows_before = rows_of(other_service)
        steps(changing_service, **traffic)
        assert rows_of(other_service) == rows_before

    for _ in range(4):
        change_one(service, other, change=FAULT)
        change_one(other, service)
    assert (service.state(), other.state()) == (State.DEGRADED, State.NORMAL)
    hold.hold(other.engine, "1", by="Ada", reason="to be sure", at=other.now)
    for _ in range(3):
        change_one(service, other)
        change_one(other, service)
    assert (service.state(), other.state()) == (State.NORMAL, State.DEGRADED)
    assert len(incidents_of(service)) == 1
    assert incidents_of(other) == []
    for each in (service, other):
        assert_replays(each)


def test_services_at_one_time_have_incidents_of_one_name(service: Service) -> None:
    """The same version breaks in both at the same minute: two incidents, one in each."""
    other = service.sharing_service(service={"name": "another"})
    states = [steps(service, other, change=FAULT if i < 3 else None) for i in range(6)]
    assert states == [[state, state] for state in UP_AND_BACK]
    assert [each.incident_id for each in incidents_of(service)] == [each.incident_id for each in incidents_of(other)]
    for each in (service, other):
        assert_replays(each)


def test_thin_traffic_is_judged_late_and_not_never(service: Service) -> None:
    """Twenty rows in ten minutes are gathered until there are enough: three conclusive runs degrade, three recover."""
    states, evidence = [], []
    for number in range(40):
        states += steps(service, change=lose("town", 1.0) if number < 12 else None, count=20)
        with database.reading(service.engine) as connection:
            last = last_run(connection)
        assert last is not None
        evidence.append(last.evidence)
    bad = [number for number, each in enumerate(evidence) if each == "BAD"]
    assert states.index("DEGRADED") == bad[2]
    assert states[bad[2] :].index("NORMAL") <= 12
    assert states[-1] == "NORMAL"
    assert "INSUFFICIENT" in evidence
    (incident,) = incidents_of(service)
    assert (incident.severity, incident.resolved) == ("CRITICAL", True)
    assert_replays(service)


def test_the_reason_of_a_degradation_stays_while_thin_rows_are_gathered(service: Service) -> None:
    """Runs that conclude nothing in between change what stands beside it."""
    for _ in range(3):
        steps(service, change=FAULT)
    for _ in range(2):
        steps(service, count=10)
        with database.reading(service.engine) as connection:
            (state,) = version_states(connection)
        assert state.reason.startswith("CRITICAL after 3 consecutive severe runs.")
        assert state.progress.startswith("Inconclusive: ")
        assert "DEGRADED ends after 3 consecutive calm runs (0 so far)." in state.progress
