"""Services share a database under names of their own."""

import textwrap

import pytest
from sqlalchemy import Connection, Engine, select, text

from stillsafe.errors import RefusedError
from stillsafe.store import database
from stillsafe.store.read.requests import prediction_count
from stillsafe.store.tables import FIRST_SERVICE, services
from stillsafe.store.write.services import register_service, rename_service
from tests.store.conftest import prediction, write
from tests.store.processes import python
from tests.store.test_migrations import upgrade_to


def service_of(engine: Engine, name: str) -> Engine:
    """An engine for a service's rows."""
    return engine.execution_options(service=name)


def register(engine: Engine, *names: str) -> list[int]:
    """The ids of services, each registered by an engine of its own."""
    ids = []
    for name in names:
        with database.writing(service_of(engine, name)) as connection:
            register_service(connection)
            ids.append(database.service_id(connection))
    return ids


def names(connection: Connection) -> list[str]:
    """The names in the order of the ids."""
    return list(connection.execute(select(services.c.name).order_by(services.c.id)).scalars())


def test_a_service_gets_an_id_once(engine: Engine) -> None:
    """The first one that of rows without a name, another name another id, the same name the same one."""
    loans, prices, loans_again = register(engine, "loans", "prices", "loans")
    assert loans == loans_again == FIRST_SERVICE
    assert prices != loans
    with database.reading(engine) as connection:
        assert names(connection) == ["loans", "prices"]


def test_a_service_that_is_not_registered_has_no_rows(engine: Engine) -> None:
    """It reads none before it is registered, whatever is in the database."""
    write(engine, prediction(1))
    with database.reading(service_of(engine, "loans")) as connection:
        assert database.service_id(connection) == 0
        assert prediction_count(connection) == 0


def test_services_do_not_read_each_other_s_rows(engine: Engine) -> None:
    """Rows belong to the service of the connection that wrote them."""
    register(engine, "loans", "prices")
    for name, count in (("loans", 2), ("prices", 3)):
        write(service_of(engine, name), *(prediction(10 * count + i) for i in range(count)))
    for name, count in (("loans", 2), ("prices", 3)):
        with database.reading(service_of(engine, name)) as connection:
            assert prediction_count(connection) == count


def test_an_engine_without_a_name_registers_nothing(engine: Engine) -> None:
    """Its rows are those of the first service."""
    with database.writing(engine) as connection:
        register_service(connection)
        assert database.service_id(connection) == FIRST_SERVICE
        assert names(connection) == []


def test_a_renamed_service_keeps_its_rows(engine: Engine) -> None:
    """Also for a process that still has the old name in its settings and an open connection."""
    register(engine, "loans", "prices")
    write(service_of(engine, "prices"), prediction(1))
    with database.writing(engine) as connection:
        rename_service(connection, "prices", "costs")
    with database.reading(service_of(engine, "costs")) as connection:
        assert prediction_count(connection) == 1
        assert names(connection) == ["loans", "costs"]


@pytest.mark.parametrize(
    ("old_name", "new_name", "words"),
    [
        ("prise", "costs", "no service 'prise'. It has: loans, prices"),
        ("prices", "loans", "a service 'loans' already"),
    ],
)
def test_a_wrong_name_is_refused(engine: Engine, old_name: str, new_name: str, words: str) -> None:
    """The message names the services that there are."""
    register(engine, "loans", "prices")
    with database.writing(engine) as connection:
        with pytest.raises(RefusedError, match=words):
            rename_service(connection, old_name, new_name)
        assert names(connection) == ["loans", "prices"]


def test_an_upgrade_gives_an_older_database_to_the_service_that_does_it(empty: Engine) -> None:
    """Its rows and its state stay, under that name; another name finds nothing."""
    upgrade_to(empty, "0004")
    with database.writing(empty) as connection:
        connection.execute(
            text("INSERT INTO refusals (timestamp, model_version, violations) VALUES ('2026-01-01', '1', '[]')")
        )
    database.upgrade(service_of(empty, "loans"))
    with database.reading(service_of(empty, "loans")) as connection:
        assert (database.service_id(connection), names(connection)) == (FIRST_SERVICE, ["loans"])
        assert connection.execute(text("SELECT service_id FROM refusals")).scalar_one() == FIRST_SERVICE
    with database.reading(service_of(empty, "prices")) as connection:
        assert database.service_id(connection) == 0


def test_two_processes_may_register_at_once(engine: Engine, store_url: str) -> None:
    """Server and monitor started together give the service one id."""
    engine.dispose()
    code = """
        import sys
        from stillsafe.store import database
        from stillsafe.store.write.services import register_service
        engine = database.connect(sys.argv[1], "loans")
        with database.writing(engine) as connection:
            register_service(connection)
            print(database.service_id(connection))
    """
    processes = [python(textwrap.dedent(code), store_url) for _ in range(3)]
    assert [process.communicate(timeout=60) for process in processes] == [("1\n", "")] * 3
