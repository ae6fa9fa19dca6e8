"""Whatever somebody writes into the row of the state: no run ends a degradation because of it."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import select, update

from stillsafe.core.state import Memory, State
from stillsafe.errors import StillsafeError
from stillsafe.monitoring.replay import replay
from stillsafe.store import database
from stillsafe.store.codec import to_document
from stillsafe.store.read.incidents import recent_incidents
from stillsafe.store.tables import system_state
from tests.attack.conftest import size
from tests.faults.figures import Figure
from tests.monitoring.conftest import Service, lose, settings

CALM = to_document(Memory())
MEMORIES: list[Any] = [
    *({}, None, [], "NORMAL", 7, CALM, {"state": "NORMAL"}, {"state": "SPLENDID"}, {"state": None}, {"a": CALM}),
    *({**CALM, "calm_runs": 10**9}, {**CALM, "calm_runs": -1}, {**CALM, "calm_runs": "x"}, {**CALM, "later": True}),
]
COLUMNS: dict[str, list[Any]] = {
    "current_state": ["NORMAL", "WARNING", "DEGRADED", "SPLENDID", ""],
    "severity": ["NORMAL", "CRITICAL", None, "SPLENDID"],
    "held": [False, True],
    "reason": ["", "x" * 100_000],
    "progress": ["", None],
    "damaged_features": [[], None, {}, ["nobody"], 7],
}
"""Hostile values by column, apart from the memory."""


@pytest.fixture
def degraded_service(named_store: str, tmp_path: Path) -> Iterator[Service]:
    """A service that is DEGRADED, on either store."""
    own = settings(tmp_path)
    engine = database.connect(own.database_url)
    database.upgrade(engine)
    service = Service(engine, own)
    service.make_baseline()
    while service.step(change=lose("size", 0.9)) is not State.DEGRADED:
        assert service.sent_count < 10_000
    yield service
    engine.dispose()


def _edits(count: int) -> Iterator[dict[str, Any]]:
    source = Random(7)
    yield from ({"memory": memory} for memory in MEMORIES[:: size(3, 1)])
    for _ in range(count):
        edit = {"memory": source.choice(MEMORIES)} if source.random() < 0.8 else {}
        names = source.sample(sorted(COLUMNS), source.randint(1, len(COLUMNS)))
        yield edit | {name: source.choice(COLUMNS[name]) for name in names}


def _row(service: Service) -> dict[str, Any]:
    with database.reading(service.engine) as connection:
        return dict(connection.execute(select(system_state)).mappings().one())


def _write(service: Service, values: dict[str, Any]) -> None:
    with database.writing(service.engine) as connection:
        connection.execute(update(system_state).values(values))


def _incidents(service: Service) -> list[tuple[str, bool]]:
    with database.reading(service.engine) as connection:
        return [(each.incident_id, each.resolved) for each in recent_incidents(connection, None)]


def test_no_edit_ends_a_degradation(degraded_service: Service, figure: Figure) -> None:
    """The next run keeps DEGRADED with the same open incident, or refuses the row; a replay names each edit that held.

    The traffic is broken all the time, and a run that began from NORMAL would not be DEGRADED at once.
    """
    service = degraded_service
    incidents, refusal_count, kept_count = _incidents(service), 0, 0
    assert [is_resolved for _, is_resolved in incidents] == [False]
    for edit in _edits(size(4, 250)):
        row = _row(service)
        _write(service, edit)
        is_changed = any(row[name] != value for name, value in edit.items())
        try:
            assert not is_changed or replay(service.engine).difference is not None, edit
            state = service.step(change=lose("size", 0.9))
        except StillsafeError:
            refusal_count += 1
            _write(service, row)
            continue
        assert (state, _incidents(service)) == (State.DEGRADED, incidents), edit
        kept_count += 1
    assert refusal_count
    assert kept_count
    figure("edits of the state: DEGRADED as before, refused, ended", f"{kept_count}, {refusal_count}, 0")
