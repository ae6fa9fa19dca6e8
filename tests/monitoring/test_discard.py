"""The way back from a wrong clock: runs are superseded on record, and their rows are judged again."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from stillsafe.core.state import State
from stillsafe.errors import RefusedError, RunRefused
from stillsafe.monitoring import hold
from stillsafe.monitoring.hold import discard_after
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.replay import replay
from stillsafe.monitoring.run import RunOutcome
from stillsafe.store import database
from stillsafe.store.read.incidents import IncidentRecord, recent_incidents
from stillsafe.store.read.runs import RunRecord, all_actions, all_runs, last_run
from stillsafe.store.read.state import StateRecord, current_state
from stillsafe.store.tables import current_window_metrics
from tests.monitoring.conftest import START, STEP, Service, lose

FAULT = lose("town", 0.6)
YEAR = timedelta(days=365)


def discard(service: Service, steps: float) -> list[int]:
    """Discard the runs whose windows end after so many intervals from the start."""
    return discard_after(service.engine, "1", time=START + steps * STEP, by="Ada", reason="wrong clock", at=service.now)


def the_state(service: Service) -> StateRecord:
    """The state of the service's version."""
    with database.reading(service.engine) as connection:
        state = current_state(connection, "1")
    assert state is not None
    return state


def the_last_run(service: Service) -> RunRecord:
    """The newest run in force."""
    with database.reading(service.engine) as connection:
        run = last_run(connection)
    assert run is not None
    return run


def incidents_of(service: Service) -> list[IncidentRecord]:
    """All incidents, oldest first."""
    with database.reading(service.engine) as connection:
        return recent_incidents(connection, None)[::-1]


def assert_replays(service: Service) -> None:
    """Every window in force recounts, and every decision recomputes."""
    result = replay(
        service.engine,
        from_logs=True,
        log_format=LogFormat.of(service.settings),
        model_version="1",
        score=service.score,
    )
    assert result.difference is None
    assert result.not_recounted == {}


def test_discarded_runs_stay_on_record(service: Service) -> None:
    """Their rows keep what they decided, and say when and why they were superseded; the action names its author."""
    for _ in range(3):
        service.step()
    ids = discard(service, 1)
    assert ids == [2, 3]
    with database.reading(service.engine) as connection:
        superseded_rows = connection.execute(
            select(current_window_metrics.c.id, current_window_metrics.c.superseded_reason).where(
                current_window_metrics.c.superseded_at == service.now
            )
        ).all()
        (action,) = all_actions(connection)
        assert [run.id for run in all_runs(connection)] == [1]
    assert [tuple(row) for row in superseded_rows] == [(2, "wrong clock"), (3, "wrong clock")]
    assert (action.action, action.by, action.reason, action.after_run) == ("discard", "Ada", "wrong clock", 3)
    assert_replays(service)


def test_their_rows_are_judged_again(service: Service) -> None:
    """By the next run, as fresh ones; one with the end of a superseded window can run again."""
    service.step()
    service.step()
    first = the_last_run(service)
    service.step()
    discard(service, 1)
    service.now -= STEP
    assert service.run().outcome is RunOutcome.SUCCESS
    second = the_last_run(service)
    assert (second.window_end, second.window["fresh"], second.rows["predictions"]["read"]) == (
        first.window_end,
        first.window["fresh"],
        first.rows["predictions"]["read"],
    )
    service.now += STEP
    service.run()
    assert the_last_run(service).window["fresh"]["prediction_count"] == 300
    assert_replays(service)


def test_the_state_is_that_of_the_run_before(service: Service) -> None:
    """With its severity and its end of validity: the monitor counts as stale since then, until it runs again."""
    service.step()
    earlier = the_state(service)
    for _ in range(3):
        service.step(change=FAULT)
    assert service.state() is State.DEGRADED
    discard(service, 1)
    state = the_state(service)
    assert (state.state, state.severity, state.memory) == (State.NORMAL, earlier.severity, earlier.memory)
    assert (state.checked_at, state.valid_until) == (earlier.checked_at, earlier.valid_until)
    assert state.stale(service.now)
    assert state.reason == "Runs discarded by Ada: wrong clock."
    assert_replays(service)


def test_an_incident_of_discarded_runs_ends_and_may_come_again(service: Service) -> None:
    """It is resolved with the reason. Where the same runs find the same fault, it is opened again as it was."""
    service.step()
    for _ in range(3):
        service.step(change=FAULT)
    (incident,) = incidents_of(service)
    discard(service, 1)
    (discarded_incident,) = incidents_of(service)
    assert (discarded_incident.resolved, discarded_incident.resolution) == (True, "Runs discarded by Ada: wrong clock.")
    assert_replays(service)
    end = service.now
    for number in (2, 3, 4):
        service.now = START + number * STEP
        service.run()
    assert service.now == end
    assert incidents_of(service) == [incident]
    assert service.state() is State.DEGRADED
    assert_replays(service)


def test_an_incident_from_before_is_as_it_was(service: Service) -> None:
    """Neither escalated nor resolved by a run that is discarded."""
    service.step()
    for _ in range(2):
        service.step(change=FAULT)
    (opened,) = incidents_of(service)
    assert opened.severity == "WARNING"
    service.step(change=FAULT)
    (escalated,) = incidents_of(service)
    for _ in range(3):
        service.step()
    (resolved,) = incidents_of(service)
    assert (escalated.severity, resolved.resolved) == ("CRITICAL", True)
    discard(service, 5)
    assert incidents_of(service) == [escalated]
    assert (service.state(), the_state(service).reason) == (State.DEGRADED, escalated.decision_reason)
    assert_replays(service)
    discard(service, 3)
    assert incidents_of(service) == [opened]
    assert (service.state(), the_state(service).reason) == (State.WARNING, opened.decision_reason)
    assert_replays(service)


def test_a_hold_stays(service: Service) -> None:
    """It is the operator's, and no run's."""
    service.step()
    service.step()
    hold.hold(service.engine, "1", by="Bob", reason="to be sure", at=service.now)
    discard(service, 1)
    assert (service.state(), the_state(service).held) == (State.DEGRADED, True)
    assert_replays(service)
    service.step()
    assert_replays(service)
    hold.release(service.engine, "1", by="Bob", reason="sure", at=service.now)
    assert service.state() is State.NORMAL
    assert_replays(service)


def test_all_runs_may_be_discarded(service: Service) -> None:
    """The version then starts where its first run started."""
    other = service.sharing_service(model={"version": "2"})
    for _ in range(3):
        service.step(change=FAULT)
    other.now = service.now
    other.step()
    assert other.state() is State.DEGRADED
    discard_after(other.engine, "2", time=START, by="Ada", reason="wrong clock", at=other.now)
    assert (other.state(), the_state(service).state) == (State.DEGRADED, State.DEGRADED)
    discard(service, 0)
    assert service.state() is State.NORMAL
    for _ in range(2):
        service.step()
        other.step()
    assert (service.state(), other.state()) == (State.NORMAL, State.DEGRADED)
    assert other.step() is State.NORMAL
    result = replay(service.engine, from_logs=True, log_format=LogFormat.of(service.settings), model_version="1")
    assert result.difference is None


def test_nothing_to_discard_is_refused(service: Service) -> None:
    """Before the first run, and where no window ends later."""
    for _ in range(2):
        with pytest.raises(RefusedError, match="Version 1 has no run whose window ends after 2026-03-01T00:10:00"):
            discard(service, 1)
        if service.now == START:
            service.step()


def test_a_jump_of_the_clock_concludes_nothing_on_sqlite(service: Service) -> None:
    """The first run a year ahead, without a request in between, says that the clock may be wrong and moves nothing.

    A server has a clock of its own to ask, so there the run is as any other.
    """
    for _ in range(3):
        service.step(change=FAULT)
    memory = the_state(service).memory
    service.now += YEAR
    service.run()
    run, state = the_last_run(service), the_state(service)
    is_sqlite = service.engine.dialect.name == "sqlite"
    assert run.window["clock_jump"] is is_sqlite
    assert (run.evidence == "INSUFFICIENT") is is_sqlite
    assert ("the clock moved on by more than a day" in (run.reason or "")) is is_sqlite
    assert state.state is State.DEGRADED
    if is_sqlite:
        assert state.memory.calm_runs == memory.calm_runs
        assert state.memory.last_conclusive_at == memory.last_conclusive_at
        assert "the clock moved on" in state.progress
    assert_replays(service)


def test_a_day_without_a_run_and_with_requests_is_no_jump(service: Service) -> None:
    """The monitor was away, and the rows show that time has passed."""
    service.step()
    service.now += timedelta(days=2)
    service.step()
    assert the_last_run(service).evidence == "OK"
    assert_replays(service)


def test_the_way_back_from_a_jump(service: Service) -> None:
    """Runs before it are refused until the run that the wrong clock made is discarded; then all is as before."""
    service.step()
    right = service.now
    service.now += YEAR
    service.run()
    service.now = right
    service.send(300)
    service.now += STEP
    with pytest.raises(RunRefused, match="runs go forward in time"):
        service.run()
    assert len(discard(service, 1)) == 1
    assert service.run().outcome is RunOutcome.SUCCESS
    run = the_last_run(service)
    assert (run.evidence, run.window["fresh"]["prediction_count"]) == ("OK", 300)
    assert_replays(service)


@pytest.mark.parametrize(("steps", "state"), [(4, State.DEGRADED), (7, State.WARNING)])
def test_an_incident_without_the_fallback_is_restored_step_by_step(service: Service, steps: int, state: State) -> None:
    """It is as the runs that remain had left it: before the model answered again, or before the relapse."""
    for rate in [0.6] * 3 + [0.1] * 3 + [0.6] * 4:
        service.step(change=lose("town", rate))
        if service.now == START + steps * STEP:
            (earlier,) = incidents_of(service)
    assert service.state() is State.DEGRADED
    discard(service, steps)
    assert service.state() is state
    assert incidents_of(service) == [earlier]
    assert (earlier.fallback_ended_at is not None) is (state is State.WARNING)
    assert_replays(service)
