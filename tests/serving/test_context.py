"""What answering needs: a context reads one snapshot of its store."""

from sqlalchemy import select

from stillsafe.core.state import State
from stillsafe.store.tables import system_state
from tests.serving.services import Service


def test_reading(service: Service) -> None:
    """A connection of the context sees what is decided."""
    service.decide(State.WARNING)
    with service.context.reading() as connection:
        assert connection.execute(select(system_state.c.current_state)).scalar_one() == "WARNING"
    assert service.context.state_log is not None
