"""One run: what it evaluates, what it writes, and what happens when it is started twice, late or killed."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from stillsafe.core.policy import Policy
from stillsafe.core.signals import Evidence
from stillsafe.core.state import Hold, Memory, Severity, State, Streak
from stillsafe.errors import RunRefused, StoreError
from stillsafe.monitoring import run
from stillsafe.monitoring.run import RunOutcome, lock_purpose, may_bypass_soon
from stillsafe.store import database
from stillsafe.store.read.incidents import recent_incidents
from stillsafe.store.read.requests import WindowRows
from stillsafe.store.read.runs import last_run
from stillsafe.store.read.state import current_state
from stillsafe.store.tables import current_window_metrics, incidents, system_state
from tests.monitoring.conftest import STEP, Service, lose, settings


def test_the_whole_loop(service: Service) -> None:
    """A lost feature leads from NORMAL over WARNING to DEGRADED, and its return back to NORMAL."""
    fault = lose("town", 0.6)
    states = [service.step()]
    states += [service.step(change=fault) for _ in range(4)]
    states += [service.step() for _ in range(4)]
    names = [state.value for state in states]
    assert names == ["NORMAL", "NORMAL", "WARNING", "DEGRADED", "DEGRADED", "DEGRADED", "DEGRADED", "NORMAL", "NORMAL"]
    with database.reading(service.engine) as connection:
        (incident,) = recent_incidents(connection, 10)
    assert incident.severity == "CRITICAL"
    assert incident.fallback_activated
    assert incident.resolved
    assert incident.trigger_signals == ["distribution_change:town", "missing_rate:town"]


def test_no_single_anomaly_acts(service: Service) -> None:
    """One bad run between calm ones changes nothing, however bad."""
    assert [service.step(), service.step(change=lose("town", 1.0)), service.step(), service.step()] == [
        State.NORMAL
    ] * 4


def test_cycles_are_collected_again_after_a_run(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's cycle collector is off while rows are read and on afterwards, even if reading them fails."""

    def failing_batches(*_arguments: object, with_ids: bool, with_times: bool) -> Iterator[WindowRows]:
        assert not gc.isenabled()
        yield from ()
        raise StoreError(f"gone, {with_ids=}, {with_times=}")

    service.step()
    assert gc.isenabled()
    monkeypatch.setattr("stillsafe.monitoring.run.fresh_batches", failing_batches)
    with pytest.raises(StoreError):
        service.step()
    assert gc.isenabled()


def test_one_burst_is_evidence_once(service: Service) -> None:
    """Windows overlap, so a burst that is in two of them deviates in one run only."""
    service.send(300)
    service.send(300, start=service.now + timedelta(minutes=8), over=timedelta(minutes=2), change=lose("town", 1.0))
    service.now += STEP
    first = service.run()
    second_state = service.step()
    with database.reading(service.engine) as connection:
        second = last_run(connection)
    assert first.decision is not None
    assert first.decision.evidence is Evidence.BAD
    assert second is not None
    assert second.evidence == "OK"
    assert second.prediction_count > 300, "the burst is in the second window too"
    assert second_state is State.NORMAL


def test_a_window_is_half_open(service: Service) -> None:
    """A row at a window's start belongs to it, a row at its end to the next."""
    service.now += timedelta(hours=1)
    end = service.now
    for at in (end - timedelta(minutes=15), end):
        service.send(1, start=at, over=timedelta(0))
    result = service.run()
    assert result.window is not None
    assert result.window.total.prediction_count == 1


def test_too_few_predictions_conclude_nothing(service: Service) -> None:
    """A quiet window is recorded as inconclusive, and neither grows nor heals a streak."""
    fault = lose("town", 0.9)
    service.step(change=fault)
    for _ in range(3):
        service.step(8)
        with database.reading(service.engine) as connection:
            quiet = last_run(connection)
        assert quiet is not None
        assert quiet.evidence == "INSUFFICIENT"
    assert service.step(change=fault) is State.WARNING


def test_a_version_without_baseline_is_never_calm(bare_service: Service) -> None:
    """Without a baseline every run is inconclusive, with the reason."""
    bare_service.step()
    with database.reading(bare_service.engine) as connection:
        last = last_run(connection)
    assert last is not None
    assert last.evidence == "INSUFFICIENT"
    assert "no active baseline" in (last.reason or "")


def test_recovery_rests_on_shadow_scores(service: Service) -> None:
    """While the model is bypassed, its confidence on the logged inputs decides the recovery."""
    for _ in range(3):
        service.step(confidence=0.5)
    assert service.state() is State.DEGRADED
    service.confidence_of_shadow = 0.5
    assert [service.step() for _ in range(3)] == [State.DEGRADED] * 3
    assert service.scored_count >= 900
    service.confidence_of_shadow = 0.85
    assert [service.step() for _ in range(3)] == [State.DEGRADED, State.DEGRADED, State.NORMAL]


def test_without_shadow_recovery_rests_on_the_inputs(service: Service) -> None:
    """Where the log lacks features that the model needs, calm input signals end the degradation."""
    for _ in range(3):
        service.step(change=lose("town", 0.6))
    for _ in range(3):
        service.send(300)
        service.now += STEP
        run.run(service.engine, service.settings, now=service.now, score=None)
    assert service.state() is State.NORMAL


def test_the_model_is_tried_before_it_may_be_bypassed() -> None:
    """While a signal is severe or the state is not NORMAL; always where one severe run is enough."""
    policy = Policy()
    assert not may_bypass_soon(policy, Memory())
    assert not may_bypass_soon(policy, Memory(streaks={"a": Streak(deviating=2)}))
    assert may_bypass_soon(policy, Memory(streaks={"a": Streak(1, 1)}))
    assert may_bypass_soon(policy, Memory(state=State.WARNING))
    assert may_bypass_soon(policy, Memory(hold=Hold("me", "why", datetime(2026, 1, 1, tzinfo=UTC))))
    assert may_bypass_soon(replace(policy, critical_runs=1), Memory())


def test_refusals_are_a_signal(service: Service) -> None:
    """A client whose requests are always refused causes an incident, although every prediction is healthy."""
    for _ in range(3):
        service.refuse(200)
        service.step(100)
    with database.reading(service.engine) as connection:
        (incident,) = recent_incidents(connection, 10)
    assert incident.trigger_signals == ["refusal_rate"]


def test_a_model_that_raises_is_bypassed(service: Service) -> None:
    """Model errors are recorded, are a signal, and become critical."""
    for _ in range(3):
        service.send(100, model_error="raised ValueError")
        service.step(200)
    assert service.state() is State.DEGRADED


def test_the_same_window_is_evaluated_once(service: Service) -> None:
    """Starting twice for one slot does nothing the second time and leaves one row."""
    service.step()
    assert service.run().outcome is RunOutcome.ALREADY_DONE
    with database.reading(service.engine) as connection:
        assert connection.execute(select(func.count()).select_from(current_window_metrics)).scalar() == 1


def test_time_runs_forward(service: Service) -> None:
    """A run before the last one is refused with the two times."""
    service.step()
    service.now -= timedelta(minutes=3)
    with pytest.raises(RunRefused, match="runs go forward in time"):
        service.run()


def test_two_at_once_do_not_double(service: Service) -> None:
    """While one run has the lock, another one does nothing and reports that."""
    with database.try_lock(service.engine, lock_purpose(service.settings)) as owns_lock:
        assert owns_lock
        assert service.run().outcome is RunOutcome.BUSY
    assert service.run().outcome is RunOutcome.SUCCESS


def test_versions_and_services_are_judged_side_by_side(service: Service) -> None:
    """The lock is that of one version of one service."""
    folder = Path(service.settings.folder)
    others = (settings(folder, model={"version": "2"}), settings(folder, service={"name": "another"}))
    purposes = {lock_purpose(each) for each in (service.settings, *others)}
    assert len(purposes) == 3
    for purpose in purposes - {lock_purpose(service.settings)}:
        with database.try_lock(service.engine, purpose) as owns_lock:
            assert owns_lock
            assert service.run().outcome in (RunOutcome.SUCCESS, RunOutcome.ALREADY_DONE)


def test_a_new_version_starts_its_own_streaks(service: Service) -> None:
    """Deploying while DEGRADED stays DEGRADED, and the old version's rows are no evidence on the new one.

    The new version's incident is its own, and names what it inherited.
    """
    for _ in range(3):
        service.step(change=lose("town", 0.6))
    service.settings = settings(Path(service.settings.folder), model={"version": "2"})
    assert service.step(version="2") is State.DEGRADED
    with database.reading(service.engine) as connection:
        last = last_run(connection)
    assert last is not None
    assert last.prediction_count == 300
    assert last.reason == "Inherited from version 1, which has been DEGRADED since 2026-03-01T00:30:00Z."
    assert service.step(version="2") is State.DEGRADED
    with database.reading(service.engine) as connection:
        last, open_incidents = last_run(connection), recent_incidents(connection, 10, unresolved_only=True)
    assert last is not None
    assert "Unwatched" in (last.reason or "")
    assert [incident.model_version for incident in open_incidents] == ["2", "1"]


def test_observe_mode_records_what_would_have_been(service: Service) -> None:
    """In observe mode the state changes and the incident records that no fallback was activated."""
    service.settings = settings(Path(service.settings.folder), service={"mode": "observe"})
    for _ in range(3):
        service.step(change=lose("town", 0.6))
    with database.reading(service.engine) as connection:
        (incident,) = recent_incidents(connection, 10)
    assert incident.severity == Severity.CRITICAL.value
    assert not incident.fallback_activated


@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_the_harm_is_over_and_the_incident_goes_on(service: Service, mode: str) -> None:
    """DEGRADED ends in WARNING on shadow scores, or on the model's own in mode observe; the incident stays open."""
    service.settings = settings(Path(service.settings.folder), service={"mode": mode})
    states = [service.step(change=lose("town", rate)) for rate in [0.6] * 3 + [0.1] * 4]
    assert states[2:] == [State.DEGRADED] * 3 + [State.WARNING] * 2
    with database.reading(service.engine) as connection:
        (incident,) = recent_incidents(connection, 10)
        state = current_state(connection)
    assert (incident.severity, incident.resolved, incident.fallback_activated) == ("CRITICAL", False, mode == "enforce")
    assert incident.fallback_ended_at == service.now - STEP
    assert (incident.fallback_ended_reason or "").startswith(
        "The model answers again after 3 consecutive runs without a severe reading. What still deviates: town is "
    )
    assert state is not None
    assert state.reason == incident.fallback_ended_reason


def test_an_unreadable_store_fails_loudly(service: Service) -> None:
    """A run on a corrupt database raises, so that it can never look like a calm one."""
    if service.engine.dialect.name == "sqlite":
        service.engine.dispose()
        Path(service.settings.database_url.removeprefix("sqlite:///")).write_bytes(b"not a database" * 1000)
    else:
        with database.writing(service.engine) as connection:
            connection.exec_driver_sql("DROP TABLE refusals")
    with pytest.raises(StoreError):
        service.run()


def test_a_killed_run_has_never_happened(service: Service, tmp_path: Path) -> None:
    """Kill -9 at many moments of a run leaves no partial run, and the next run starts from the last complete one."""
    script = textwrap.dedent("""
        import sys
        from datetime import datetime
        from pathlib import Path
        from stillsafe.monitoring import run
        from stillsafe.store import database
        from tests.monitoring.conftest import settings
        service_settings = settings(Path(sys.argv[1]))
        engine = database.connect(service_settings.database_url)
        print("ready", flush=True)
        run.run(engine, service_settings, now=datetime.fromisoformat(sys.argv[2]), score=None)
    """)
    for attempt in range(6):
        service.send(300, change=lose("town", 0.6))
        service.now += STEP
        child = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), service.now.isoformat()],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(attempt * 0.01)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        _assert_consistent(service)
        service.run()
        _assert_consistent(service)
    assert service.state() is State.DEGRADED


def _assert_consistent(service: Service) -> None:
    """State, runs and incidents agree."""
    with database.reading(service.engine) as connection:
        state, last = current_state(connection), last_run(connection)
        count = connection.execute(select(func.count()).select_from(system_state)).scalar()
        open_incidents = connection.execute(
            select(incidents.c.incident_id).where(incidents.c.resolved.is_(False))
        ).all()
    assert (state is None) == (last is None)
    assert count in (0, 1)
    if state is not None and last is not None:
        assert last.window_end == state.checked_at == state.memory.last_run_at
        assert last.state_after == state.state.value
        assert len(open_incidents) == (state.memory.incident_id is not None)
