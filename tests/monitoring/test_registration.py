"""Services that share a database: each is registered once, and a renamed one keeps its rows."""

import pytest

from stillsafe.errors import RefusedError
from stillsafe.monitoring.registration import ensure_registered, rename
from stillsafe.store import database
from stillsafe.store.read.requests import prediction_count
from stillsafe.store.read.versions import service_names
from tests.store.conftest import prediction, write


def test_services_are_kept_apart_and_a_renamed_one_keeps_its_rows(store_url: str) -> None:
    """The rows of one service are invisible to the other, and follow a change of the name."""
    one, two, new = (database.connect(store_url, name) for name in ("one", "two", "new"))
    database.upgrade(one)
    for engine in (one, two, one):
        ensure_registered(engine)
    write(one, prediction(1), prediction(2))
    write(two, prediction(3))
    with database.reading(one) as connection:
        assert service_names(connection) == ["one", "two"]
        assert prediction_count(connection) == 2
    for old_name, new_name in (("nobody", "new"), ("one", "two")):
        with pytest.raises(RefusedError):
            rename(one, old_name, new_name)
    rename(new, "one", "new")
    with database.reading(new) as connection:
        assert (service_names(connection), prediction_count(connection)) == (["new", "two"], 2)
    for engine in (one, two, new):
        engine.dispose()
