"""Which services share a database: registering one, and renaming it."""

from sqlalchemy import Engine

from stillsafe.errors import StoreMissing
from stillsafe.store import database
from stillsafe.store.read.versions import service_names
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


def require_registered(engine: Engine) -> None:
    """Require that the database has the engine's service.

    Raises:
        StoreMissing: it has none of that name: it is another database, or the service was renamed in its settings.
        StoreError: the database cannot be read.
    """
    with database.reading(engine) as connection:
        if database.service_id(connection) > 0:
            return
        names = service_names(connection)
    name = engine.get_execution_options().get("service")
    if not names:
        raise StoreMissing(f"The database has tables and no service yet. {database.MISSING_REMEDY}")
    raise StoreMissing(
        f"The database has no service {name!r}. It has: {', '.join(names)}. If the settings gave one of these a new "
        "name, run `stillsafe db rename OLD_NAME`; for another service, `stillsafe db upgrade --add-service`."
    )


def has_services(engine: Engine) -> bool:
    """Whether the database has any service.

    Raises:
        StoreError: the database cannot be read.
    """
    with database.reading(engine) as connection:
        return bool(service_names(connection))


def rename(engine: Engine, old_name: str, new_name: str) -> None:
    """Rename a service: its log, state and incidents stay its own.

    Raises:
        RefusedError: there is no service of the old name, or one of the new name already.
        StoreError: the database cannot be written.
    """
    with database.writing(engine) as connection:
        services.rename_service(connection, old_name, new_name)
