"""What a person who is woken types next: commands, in the service folder. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from stillsafe.core.state import State
from stillsafe.dashboard.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Attributes:
        text: as it is typed; the words between quotes are the person's own.
        purpose: what it does.
    """

    text: str
    purpose: str


HOLD = Command('stillsafe hold --reason "looking into it"', "Let the fallback answer until you release it.")
RELEASE = Command('stillsafe release --reason "repaired"', "End the hold: the monitor decides again.")


def next_steps(snapshot: Snapshot) -> tuple[Command, ...]:
    """The commands for a snapshot, the most useful first; empty where there is nothing to do."""
    return tuple(_steps(snapshot))


def _steps(snapshot: Snapshot) -> Iterator[Command]:
    state = snapshot.state
    if state is not None and state.memory.hold is not None:
        yield RELEASE
    if state is None or state.checked_at is None:
        yield Command("stillsafe monitor", "Run the monitor once by hand.")
        yield Command("stillsafe schedule install", "Have cron run it.")
    elif state.stale(snapshot.now):
        yield Command("stillsafe monitor --try", "Find out whether the monitor can run.")
        yield Command("stillsafe schedule show", "See whether cron has its entry.")
    if snapshot.baseline is None:
        yield Command("stillsafe baseline create", "Learn what healthy is from the traffic so far.")
    if (incident := snapshot.open_incident) is not None:
        yield from incident_steps(
            incident.incident_id,
            can_hold=state is not None and state.memory.hold is None,
            is_bypassed=state is not None and state.state is State.DEGRADED,
        )


def incident_steps(incident_id: str, *, can_hold: bool, is_bypassed: bool) -> Iterator[Command]:
    """The commands for an open incident.

    Args:
        incident_id: the incident.
        can_hold: whether no operator holds the state yet.
        is_bypassed: whether the fallback answers.
    """
    yield Command(f"stillsafe explain {incident_id}", "The cause in plain words, and what to check first.")
    if can_hold:
        yield Command(HOLD.text, "Keep the fallback until you release it." if is_bypassed else HOLD.purpose)
