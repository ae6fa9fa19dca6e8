"""Which services share a database: registering one, and renaming it."""

from sqlalchemy import Engine

from stillsafe.store import database
from stillsafe.store.write import services


def ensure_registered(engine: Engine) -> None:
    """Give the engine's service an id in its database, unless it has one.

    Raises:
        StoreError: the database cannot be read or written.
    """
    with database.reading(engine) as connection:
        is_registered = database.service_id(connection) > 0
    if not is_registered:
        with database.writing(engine) as connection:
            services.register_service(connection)


def rename(engine: Engine, old_name: str, new_name: str) -> None:
    """Rename a service: its log, state and incidents stay its own.

    Raises:
        RefusedError: there is no service of the old name, or one of the new name already.
        StoreError: the database cannot be written.
    """
    with database.writing(engine) as connection:
        services.rename_service(connection, old_name, new_name)
