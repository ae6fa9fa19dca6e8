"""The query for the current state: cautious, and never NORMAL without proof."""

from datetime import timedelta

import pytest
from sqlalchemy import Connection, Engine, insert

from stillsafe.core.state import Memory, State
from stillsafe.errors import StoreError
from stillsafe.store import database
from stillsafe.store.codec import to_document
from stillsafe.store.read.baselines import is_watched
from stillsafe.store.read.state import current_state, has_state, state_and_watch, state_columns
from stillsafe.store.tables import baseline_metrics, operator_actions, services, system_state
from tests.store.conftest import START, at
from tests.store.read.rows import BASELINE, MICROSECOND, STATE, assert_query_fails


def test_before_the_first_run_there_is_no_state(connection: Connection) -> None:
    """An unknown state is None and not NORMAL."""
    assert current_state(connection) is None


def test_a_state_is_stale_after_its_last_valid_moment(connection: Connection) -> None:
    """It is valid up to and including that moment; a state without a run is always stale."""
    values = {"current_state": "WARNING", "last_updated": START, "reason": "why"}
    values |= {"valid_until": at(20), "checked_at": START}
    connection.execute(insert(system_state).values(values))
    state = current_state(connection)
    assert state is not None
    assert not state.stale(at(20))
    assert state.stale(at(20 + MICROSECOND))
    assert state.stale(START - timedelta(hours=2)), "a last run in the future is no evidence about now"
    connection.execute(system_state.update().values(valid_until=None))
    state = current_state(connection)
    assert state is not None
    assert state.stale(START)


def test_a_state_with_only_the_missions_columns_is_read(connection: Connection) -> None:
    """An older version, another program or a person may have written it: the memory is then that of its state."""
    connection.execute(insert(system_state).values(STATE))
    state = current_state(connection)
    assert state is not None
    assert (state.state, state.memory, state.held) == (State.DEGRADED, Memory(state=State.DEGRADED), False)
    assert (state.damaged_features, state.stale(START)) == ((), True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("current_state = 'FINE'", r"^The database holds a damaged state \(.*'NORMAL', 'WARNING' or 'DEGRADED'\)\.$"),
        ("""memory = '{"state": "FINE"}'""", r"^The database holds a damaged memory \(state: .*\)\.$"),
        ("memory = '{'", r"^The database holds a document that is not JSON: .*\.$"),
    ],
)
def test_a_damaged_state_is_a_store_error(sqlite: Engine, damage: str, message: str) -> None:
    """A state that cannot be read is neither NORMAL nor a bug."""
    with database.writing(sqlite) as connection:
        connection.execute(insert(system_state).values(STATE))
        connection.exec_driver_sql(f"UPDATE system_state SET {damage}")  # noqa: S608 # one of the three above
    assert_query_fails(sqlite, current_state, message)


def test_the_more_cautious_state_applies(connection: Connection) -> None:
    """Where the row's state and its memory differ, the calmer of the two is ignored."""
    degraded_memory = to_document(Memory(state=State.DEGRADED))
    values = {"id": 1, "last_updated": START, "reason": "why"}
    connection.execute(insert(system_state).values(current_state="NORMAL", memory=degraded_memory, **values))
    state = current_state(connection)
    assert state is not None
    assert state.state is State.DEGRADED
    connection.execute(system_state.update().values(current_state="DEGRADED", memory=to_document(Memory())))
    state = current_state(connection)
    assert state is not None
    assert state.state is State.DEGRADED


def test_the_columns_of_a_state_are_read_as_they_are(connection: Connection) -> None:
    """The stored state is shown even where the memory is more cautious, so that a replay can compare the two."""
    memory = to_document(Memory(state=State.DEGRADED))
    connection.execute(insert(system_state).values({**STATE, "current_state": "NORMAL", "memory": memory}))
    (columns,) = state_columns(connection)
    assert (columns.current_state, columns.reason, columns.progress) == ("NORMAL", "by hand", None)


def test_one_query_reads_the_state_and_whether_it_is_watched(connection: Connection) -> None:
    """Both are what the two queries say, with and without a state and a baseline of the version's own."""
    steps = [
        None,
        insert(baseline_metrics).values({**BASELINE, "model_version": "1", "active": True}),
        insert(system_state).values({**STATE, "id": 1, "model_version": "2", "current_state": "WARNING"}),
        insert(system_state).values({**STATE, "id": 2, "model_version": None, "current_state": "DEGRADED"}),
        insert(system_state).values({**STATE, "id": 3, "model_version": "1", "current_state": "NORMAL"}),
    ]
    conditions = []
    for step in steps:
        if step is not None:
            connection.execute(step)
        for version in ("1", "2", "3"):
            record, watched = state_and_watch(connection, version)
            assert (record, watched) == (current_state(connection, version), is_watched(connection, version))
            conditions.append(
                (version, None if record is None else record.state.value, watched, has_state(connection, version))
            )
    assert conditions[:3] == [(version, None, False, False) for version in ("1", "2", "3")]
    assert conditions[3:6] == [("1", None, True, False), ("2", None, False, False), ("3", None, False, False)]
    assert conditions[7] == ("2", "WARNING", False, True)
    assert conditions[9] == ("1", "DEGRADED", True, True), "a row without a version applies to each that has none"
    assert conditions[12:14] == [("1", "NORMAL", True, True), ("2", "WARNING", False, True)]


def test_a_lost_state_is_no_state_before_the_first_run(connection: Connection) -> None:
    """Where an action of this service is stored and no state, whatever is asked fails; other services do not matter."""
    action = {"at": START, "action": "hold", "by": "me", "reason": "why"}
    connection.execute(insert(services).values(id=7, name="other"))
    connection.execute(insert(operator_actions).values({**action, "service_id": 7}))
    assert state_and_watch(connection, "1") == (None, False)
    connection.execute(insert(operator_actions).values(action))
    for query in (lambda c: current_state(c), lambda c: current_state(c, "1"), lambda c: state_and_watch(c, "1")):
        with pytest.raises(StoreError, match="has lost its state"):
            query(connection)
