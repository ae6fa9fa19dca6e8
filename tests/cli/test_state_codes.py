"""Exit codes that name a state differ from those of failures."""

from stillsafe.cli.app import EXIT_FAILURE, EXIT_MISCONFIGURED
from stillsafe.cli.state_codes import STATE_EXITS
from stillsafe.core.state import State


def test_each_state_has_a_code_of_its_own() -> None:
    """Zero is NORMAL alone."""
    assert STATE_EXITS == {State.NORMAL: 0, State.WARNING: 3, State.DEGRADED: 4}
    assert {EXIT_FAILURE, EXIT_MISCONFIGURED}.isdisjoint(STATE_EXITS.values())
