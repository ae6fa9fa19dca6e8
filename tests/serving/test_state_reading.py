"""The state of answers: whoever changes the database, the next reading has it, though most readings need no query."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, update

from stillsafe.core.state import State
from stillsafe.errors import StoreError
from stillsafe.serving.failover import ServingState
from stillsafe.serving.predict import answer
from stillsafe.serving.state_reading import serving_state, stored_state
from stillsafe.store import database, database_file
from stillsafe.store.tables import system_state
from tests.serving.services import GOOD, Service, fresh, opened

ROW = {**GOOD, "age": 30.0}


def read(service: Service) -> ServingState:
    """As every answer reads it."""
    return stored_state(service.engine, service.context.settings, service.clock)


def new_state(service: Service) -> ServingState:
    """As a connection reads it that knows nothing."""
    engine = database.connect(service.context.settings.database_url)
    with database.reading(engine) as connection:
        state = serving_state(connection, service.context.settings, service.clock())
    engine.dispose()
    return state


@contextmanager
def statements_of(engine: Engine) -> Iterator[list[str]]:
    """The statements that SQLAlchemy executes in the block."""
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield statements
    event.remove(engine, "before_cursor_execute", note)


def edit(service: Service, state: State) -> None:
    """As a person does with another program."""
    with closing(sqlite3.connect(service.context.settings.database_url.removeprefix("sqlite:///"))) as connection:
        connection.execute("UPDATE system_state SET current_state = ?, memory = NULL", (state.value,))
        connection.commit()


def decide_by_another_process(service: Service, state: State) -> None:
    """As a monitoring run does."""
    engine = database.connect(service.context.settings.database_url)
    with database.writing(engine) as connection:
        connection.execute(update(system_state).values(current_state=state.value))
    engine.dispose()


def other_write(service: Service, _state: State) -> None:
    """A transaction that leaves the state as it is."""
    with database.writing(service.engine) as connection:
        connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS other (number INTEGER)")


def failed_write(service: Service, state: State) -> None:
    """A transaction that changes the state and fails."""
    with suppress(StoreError), database.writing(service.engine) as connection:
        connection.execute(update(system_state).values(current_state=state.value))
        raise StoreError("not this time")


CHANGES: dict[str, Callable[[Service, State], object]] = {
    "the operator of this process": lambda service, state: service.decide(state, valid_for=900),
    "the monitor": decide_by_another_process,
    "an edit": edit,
    "another write": other_write,
    "a rollback": failed_write,
    "a baseline": lambda service, _state: service.watch(),
    "an answer": lambda service, _state: answer(service.context, [ROW]),
    "nothing": lambda _service, _state: None,
}


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(sorted(CHANGES)), st.sampled_from(State), st.sampled_from([0, 1, 700, 5_000])),
        max_size=12,
    ),
    is_decided=st.booleans(),
)
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_reading_is_what_a_new_query_reads(
    model_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, State, int]],
    is_decided: bool,
) -> None:
    """After any change, by this process or another, and at any time."""
    folder = tmp_path_factory.mktemp("service")
    shutil.copy(model_file, folder)
    for service in opened(folder):
        if is_decided:
            service.decide(State.NORMAL)
        is_watched = False
        for name, state, seconds in steps:
            if name != "a baseline" or not is_watched:
                CHANGES[name](service, state)
                is_watched = is_watched or name == "a baseline"
            service.clock.now += timedelta(seconds=seconds)
            assert read(service) == new_state(service), name
            assert read(service) == new_state(service), name


def test_answers_alone_need_no_query(service: Service) -> None:
    """Neither before the first decision nor after it, once a row waits to be judged; a decision needs one."""
    for _ in range(2):
        answer(service.context, [ROW])
        read(service)
        with statements_of(service.engine) as statements:
            for _ in range(3):
                answer(service.context, [ROW])
            assert not [each for each in statements if each.startswith(("SELECT", "WITH"))]
        service.decide(State.WARNING)
        assert read(service).state is State.WARNING


def test_an_inherited_state_ends_with_the_traffic_of_its_version(service: Service) -> None:
    """A version's own rows may end what it has inherited, so such a state is read for each answer."""
    service.decide(State.DEGRADED)
    with database.writing(service.engine) as connection:
        connection.execute(update(system_state).values(model_version="v0"))
    old = service.context.settings.model_copy(
        update={"model": service.context.settings.model.model_copy(update={"version": "v0"})}
    )
    answer(fresh(service.context, settings=old, model=replace(service.context.model, version="v0")), [ROW])
    for _ in range(6):
        answer(service.context, [ROW])
        assert read(service) == new_state(service)
        service.clock.now += timedelta(seconds=service.context.settings.policy.max_gap_seconds / 3)
    assert read(service).state is State.NORMAL


def test_a_connection_that_was_not_the_last_reads_again(service: Service) -> None:
    """What others of the same process have written is a change by others."""
    service.decide(State.NORMAL)
    with service.engine.connect():
        assert read(service).state is State.NORMAL
        service.decide(State.DEGRADED)
    assert [read(service).state for _ in range(3)] == [State.DEGRADED] * 3


def test_a_store_that_cannot_be_read_is_no_known_state(service: Service) -> None:
    """A database that is gone, or replaced by another, is read again, and the error is the query's."""
    service.decide(State.NORMAL)
    answer(service.context, [ROW])
    assert read(service).state is State.NORMAL
    file = database_file.file_of(service.engine)
    assert file is not None
    file.rename(file.with_suffix(".away"))
    with pytest.raises(StoreError):
        read(service)
    file.with_suffix(".away").rename(file)
    assert read(service).state is State.NORMAL


def test_a_database_that_was_restored_is_read_anew(service: Service) -> None:
    """The connections that knew the other one are no longer used."""
    service.decide(State.NORMAL)
    file = database_file.file_of(service.engine)
    assert file is not None
    copy = file.with_suffix(".copy")
    database.back_up(service.engine, copy)
    service.decide(State.DEGRADED)
    assert [read(service).state for _ in range(2)] == [State.DEGRADED] * 2
    for suffix in ("-wal", "-shm"):
        Path(f"{file}{suffix}").unlink()
    copy.rename(file)
    assert [read(service).state for _ in range(2)] == [State.NORMAL] * 2
