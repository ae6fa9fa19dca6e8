"""The memory that a run starts from, where somebody edited the state's row: no edit ends anything without a word."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from stillsafe.core.state import Memory, State
from stillsafe.errors import StoreError
from stillsafe.monitoring.hold import hold, release
from stillsafe.monitoring.memory import current_memory
from stillsafe.monitoring.replay import replay
from stillsafe.store import database
from stillsafe.store.codec import to_document
from stillsafe.store.read.incidents import recent_incidents
from stillsafe.store.tables import system_state
from tests.monitoring.conftest import STEP, Service, lose


def memory_of(service: Service) -> Memory:
    with database.reading(service.engine) as connection:
        return current_memory(connection, "1")


def edit(service: Service, **columns: Any) -> None:
    """Edit the state's row, as another program or a person does."""
    with database.writing(service.engine) as connection:
        connection.execute(update(system_state).values(columns))


def open_incidents(service: Service) -> list[str]:
    with database.reading(service.engine) as connection:
        return [each.incident_id for each in recent_incidents(connection, None, unresolved_only=True)]


def degrade(service: Service) -> Memory:
    """Lose a feature until the fallback answers; returns the memory."""
    for _ in range(8):
        if service.step(change=lose("size", 0.9)) is State.DEGRADED:
            return memory_of(service)
    raise AssertionError(service.state())


CALM = to_document(Memory())
EDITS: dict[str, Any] = {
    "empty": lambda _: {"memory": {}},
    "none": lambda _: {"memory": None},
    "normal": lambda _: {"memory": CALM},
    "only its state": lambda _: {"memory": {"state": "NORMAL"}},
    "no incident": lambda memory: {"memory": to_document(replace(memory, incident_id=None))},
    "no incident, nearly recovered": lambda memory: {
        "memory": to_document(replace(memory, incident_id=None, calm_runs=99, runs_without_severe=99))
    },
    "another incident": lambda memory: {"memory": to_document(replace(memory, incident_id="none such"))},
    "every column": lambda _: {"memory": CALM, "current_state": "NORMAL", "held": False},
    "every column, empty": lambda _: {"memory": {}, "current_state": "NORMAL", "held": False},
    "the column alone": lambda _: {"current_state": "NORMAL"},
}


@pytest.mark.parametrize("name", EDITS)
def test_no_edit_ends_degraded_or_its_incident(service: Service, name: str) -> None:
    """DEGRADED lasts for as many calm runs as without the edit, and then its own incident is resolved."""
    memory = degrade(service)
    edit(service, **EDITS[name](memory))
    states = [service.step() for _ in range(service.settings.policy.recovery_runs + 1)]
    assert states[0] is State.DEGRADED
    assert states[-1] is not State.DEGRADED
    while service.state() is not State.NORMAL:
        service.step()
    assert open_incidents(service) == []
    with database.reading(service.engine) as connection:
        assert [each.incident_id for each in recent_incidents(connection, None)] == [memory.incident_id]


def test_an_edit_is_seen_by_a_replay(service: Service) -> None:
    """The row as it is stored is compared, and not as it is read."""
    memory = degrade(service)
    assert replay(service.engine).difference is None
    for document in ({}, CALM, {**to_document(memory), "verdict": 1}):
        edit(service, memory=document)
        difference = replay(service.engine).difference
        assert difference is not None, document
        assert "system_state" in difference.what


@pytest.mark.parametrize("columns", [{"memory": {}}, {"memory": CALM}, {"memory": CALM, "held": False}])
def test_no_edit_ends_a_hold(service: Service, columns: dict[str, Any]) -> None:
    """Only its release does; the recorded action says who holds it."""
    service.step()
    hold(service.engine, "1", by="Ada", reason="wrong prices", at=service.now)
    edit(service, **columns)
    assert [service.step() for _ in range(4)] == [State.DEGRADED] * 4
    last_hold = memory_of(service).hold
    assert last_hold is not None
    assert (last_hold.by, last_hold.reason) == ("Ada", "wrong prices")
    release(service.engine, "1", by="Ada", reason="mended", at=service.now)
    assert service.step() is State.NORMAL


def test_a_hold_that_no_action_recorded_lasts_too(service: Service) -> None:
    """A row that says so is enough."""
    service.step()
    edit(service, current_state="DEGRADED", held=True, reason="by hand")
    assert [service.step() for _ in range(4)] == [State.DEGRADED] * 4
    release(service.engine, "1", by="Ada", reason="mended", at=service.now)
    assert service.step() is State.NORMAL


def test_a_state_that_was_set_by_hand_is_ended_by_evidence_alone(service: Service) -> None:
    """The next run opens an incident for it, and calm runs resolve that."""
    service.step()
    edit(service, current_state="DEGRADED")
    assert service.step() is State.DEGRADED
    assert len(open_incidents(service)) == 1
    while service.state() is not State.NORMAL:
        service.step()
    assert open_incidents(service) == []


@pytest.mark.parametrize("document", [{**CALM, "verdict": "calm"}, {"verdict": "calm"}, {"calm_runs": 3}, [], "calm"])
def test_a_memory_that_this_version_does_not_know_is_refused(service: Service, document: object) -> None:
    """Fields of a newer version, or no state: neither an answer nor a run rests on what is left of it."""
    memory = degrade(service)
    edit(service, memory=document)
    service.now += STEP
    for use in (service.state, service.run, lambda: memory_of(service)):
        with pytest.raises(StoreError, match=r"damaged memory|newer version"):
            use()
    edit(service, memory=to_document(memory))
    assert service.state() is State.DEGRADED
