"""The exit codes that name a state, for cron and other schedulers; 1 and 2 are failures."""

from stillsafe.core.state import State

STATE_EXITS = {State.NORMAL: 0, State.WARNING: 3, State.DEGRADED: 4}
EXIT_UNKNOWN = 5
"""Nobody vouches for the state."""
