"""INSERT and UPDATE of `services`."""

from sqlalchemy import Connection, insert, select, update

from stillsafe.errors import RefusedError
from stillsafe.store import database
from stillsafe.store.tables import services


def register_service(connection: Connection) -> None:
    """Give the connection's service an id in this database, unless it has one."""
    name = connection.get_execution_options().get("service")
    if name is not None and not database.service_id(connection):
        database.lock(connection, "services")
        if not connection.execute(select(services.c.id).where(services.c.name == name)).scalar():
            connection.execute(insert(services).values(name=name))


def rename_service(connection: Connection, old_name: str, new_name: str) -> None:
    """Rename a service: its rows stay its own.

    Raises:
        RefusedError: there is no service of the old name, or one of the new name.
    """
    names = set(connection.execute(select(services.c.name)).scalars())
    if old_name not in names:
        raise RefusedError(f"The database has no service {old_name!r}. It has: {', '.join(sorted(names)) or 'none'}.")
    if new_name in names:
        raise RefusedError(f"The database has a service {new_name!r} already.")
    connection.execute(update(services).where(services.c.name == old_name).values(name=new_name))
