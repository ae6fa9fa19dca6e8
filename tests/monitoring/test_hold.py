"""The operator's hold: it forces DEGRADED, is recorded, and survives a run at the same time."""

import logging

import pytest

from stillsafe.core.score import Score
from stillsafe.core.state import Memory, State
from stillsafe.errors import RefusedError
from stillsafe.monitoring import run
from stillsafe.monitoring.hold import hold, release
from stillsafe.monitoring.memory import current_memory
from stillsafe.store import database
from stillsafe.store.read.runs import all_actions, last_run
from stillsafe.store.read.state import current_state
from tests.monitoring.conftest import STEP, Service, lose


def test_a_hold_overrules_the_evidence_and_is_recorded(service: Service) -> None:
    """A hold forces DEGRADED whatever the evidence; after its release the evidence decides again."""
    service.step()
    hold(service.engine, "1", by="Ada", reason="wrong prices", at=service.now)
    assert service.step() is State.DEGRADED
    release(service.engine, "1", by="Ada", reason="mended", at=service.now)
    assert service.state() is State.NORMAL
    with database.reading(service.engine) as connection:
        actions = all_actions(connection)
    assert [(action.action, action.by, action.reason) for action in actions] == [
        ("hold", "Ada", "wrong prices"),
        ("release", "Ada", "mended"),
    ]


def test_a_second_hold_and_a_second_release_are_refused(service: Service) -> None:
    """A hold stays that of its operator, and nothing but a hold can be released."""
    with pytest.raises(RefusedError, match="Nothing is held"):
        release(service.engine, "1", by="Ada", reason="too early", at=service.now)
    hold(service.engine, "1", by="Ada", reason="wrong prices", at=service.now)
    with pytest.raises(RefusedError, match="Held already by Ada since 2026-03-01T00:00:00Z"):
        hold(service.engine, "1", by="Bob", reason="me too", at=service.now)
    release(service.engine, "1", by="Bob", reason="mended", at=service.now)
    with pytest.raises(RefusedError, match="Nothing is held"):
        release(service.engine, "1", by="Ada", reason="again", at=service.now)


def test_the_result_is_the_new_memory(service: Service) -> None:
    """Both return the memory that is stored, with the hold and without it."""
    with database.reading(service.engine) as connection:
        assert current_memory(connection, "1") == Memory()
    for action, held in ((hold, True), (release, False)):
        memory = action(service.engine, "1", by="Ada", reason="test", at=service.now)
        with database.reading(service.engine) as connection:
            assert current_memory(connection, "1") == memory
        assert (memory.hold is not None) is held
        assert (memory.effective_state is State.DEGRADED) is held


def test_an_action_names_the_run_before_it(service: Service) -> None:
    """So a replay applies it at the same place in the order of runs; None before the first run."""
    hold(service.engine, "1", by="Ada", reason="before any run", at=service.now)
    service.step()
    release(service.engine, "1", by="Ada", reason="after a run", at=service.now)
    with database.reading(service.engine) as connection:
        run_record, actions = last_run(connection), all_actions(connection)
    assert run_record is not None
    assert [action.after_run for action in actions] == [None, run_record.id]


def test_hold_and_release_are_logged(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    """Each is one warning with operator, reason, version and states."""
    with caplog.at_level(logging.WARNING, "stillsafe"):
        hold(service.engine, "1", by="Ada", reason="test", at=service.now)
        release(service.engine, "1", by="Bob", reason="over", at=service.now)
    names = ("model_version", "by", "reason", "state_before", "state_after")
    records = [
        (record.message, *(record.__dict__["fields"][name] for name in names))
        for record in caplog.records
        if record.message in ("hold", "release")
    ]
    assert records == [
        ("hold", "1", "Ada", "test", "NORMAL", "DEGRADED"),
        ("release", "1", "Bob", "over", "DEGRADED", "NORMAL"),
    ]


def test_a_hold_during_a_run_is_not_lost(service: Service) -> None:
    """A hold that begins while a window is counted is in force after that run."""

    def score_while_holding(rows: object) -> list[Score]:
        hold(service.engine, "1", by="Ada", reason="now", at=service.now)
        return [Score(None, 0.85, None, None) for _ in list(rows)]  # type: ignore[call-overload] # any sequence will do

    for _ in range(3):
        service.step(change=lose("town", 0.6))
    service.send(300)
    service.now += STEP
    run.run(service.engine, service.settings, now=service.now, score=score_while_holding)
    with database.reading(service.engine) as connection:
        state = current_state(connection)
    assert state is not None
    assert state.held
