"""Whether a run's time and the clocks of machine and database server can be trusted."""

from datetime import datetime

from sqlalchemy import Connection

from stillsafe.core.evidence.time_text import exact_time_text
from stillsafe.errors import RunAhead
from stillsafe.store.read.versions import server_time

DISCARD = "`stillsafe monitor --discard-after TIME --reason ...`"


def require_not_ahead(now: datetime, machine_time: datetime, every_seconds: float) -> None:
    """Require that a run's time is not ahead of the machine's clock. The past is a backfill and is allowed.

    Args:
        now: the end of the run's window, aware UTC.
        machine_time: the machine's clock, aware UTC.
        every_seconds: the interval of the monitor; by so much the run may be ahead.

    Raises:
        RunAhead: it is further ahead.
    """
    if (now - machine_time).total_seconds() > every_seconds:
        problem = f"--now ({exact_time_text(now)}) is ahead of this machine's clock ({exact_time_text(machine_time)})."
        raise RunAhead(problem, "Later runs would be refused until that time. Correct it, or pass --ahead to do it.")


def clock_problem(connection: Connection, machine_time: datetime, every_seconds: float) -> str | None:
    """How the clocks of machine and database server differ, or None where they agree to within one interval.

    SQLite has no clock of its own.
    """
    at = server_time(connection)
    if at is None or abs((at - machine_time).total_seconds()) <= every_seconds:
        return None
    return (
        f"The database server's clock ({exact_time_text(at)}) and this machine's ({exact_time_text(machine_time)}) "
        "are more than one interval apart."
    )


def require_equal_clocks(connection: Connection, machine_time: datetime, every_seconds: float) -> None:
    """Require that machine and database server agree about the time; arguments as for `clock_problem`.

    Raises:
        RunAhead: they do not.
    """
    if (problem := clock_problem(connection, machine_time, every_seconds)) is not None:
        raise RunAhead(problem, "Correct the wrong one, or pass --ahead to run nevertheless.")
