"""The state that applies to answers, as the store has it at this moment.

Every answer begins with it. SQLite counts for each connection how often others have changed the database, so a
connection whose count is as it was need not read the state again. What it changes itself it forgets
(`database.writing`), except for rows that it adds to the log.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine

from stillsafe.core.state import State
from stillsafe.judging import has_no_old_request, is_judged_by_run
from stillsafe.serving.failover import ServingState
from stillsafe.settings import Settings
from stillsafe.store import database, database_file
from stillsafe.store.read.state import StateRecord, state_and_watch
from stillsafe.store.read.versions import unjudged_since


@dataclass(frozen=True, slots=True)
class _StoredState:
    """What the store has about the served version's state.

    Attributes:
        model_version: the version.
        record: its state, or None before the first decision.
        is_watched: whether it has an active baseline.
        waiting_since: time of its oldest request that no run has judged, or None where that was not searched for or
            where there is none, which the next row in the log may change.
    """

    model_version: str
    record: StateRecord | None
    is_watched: bool
    waiting_since: datetime | None

    def is_judged(self, settings: Settings, now: datetime) -> bool | None:
        """Whether runs still reach conclusions; None where the log has to be searched."""
        if is_judged_by_run(settings.policy, self.model_version, self.record, now):
            return True
        return None if self.waiting_since is None else has_no_old_request(self.waiting_since, settings.policy, now)

    def at(self, now: datetime, *, is_judged: bool) -> ServingState:
        """The state at a moment."""
        record = self.record
        if record is None:
            reason = "nothing was ever decided"
            return ServingState(State.NORMAL, reason, (), stale=True, watched=self.is_watched, judged=is_judged)
        return ServingState(
            record.state,
            record.reason,
            record.damaged_features,
            record.stale(now),
            self.is_watched,
            is_judged,
            record.memory.last_conclusive_at,
        )


def stored_state(engine: Engine, settings: Settings, clock: Callable[[], datetime]) -> ServingState:
    """The state in the store.

    Raises:
        StoreError: it cannot be read.
    """
    known_value = database_file.known_value(engine)
    if isinstance(known_value, _StoredState) and known_value.model_version == settings.model.version:
        now = clock()
        is_judged = known_value.is_judged(settings, now)
        if is_judged is not None:
            return known_value.at(now, is_judged=is_judged)
    with database.single_reading(engine) as connection:
        count = database_file.change_count(connection)
        stored, state = _read(connection, settings, clock())
        # A state that the version inherits ends with the traffic of another one, which a new row may show.
        if stored.record is None or stored.record.model_version in (settings.model.version, None):
            database_file.keep_value(connection, count, stored)
        return state


def serving_state(connection: Connection, settings: Settings, now: datetime) -> ServingState:
    """The state of the served model version, as a connection reads it.

    Raises:
        StoreError: it is damaged.
    """
    return _read(connection, settings, now)[1]


def _read(connection: Connection, settings: Settings, now: datetime) -> tuple[_StoredState, ServingState]:
    version, policy = settings.model.version, settings.policy
    record, is_watched = state_and_watch(connection, version)
    stored = _StoredState(version, record, is_watched, None)
    is_judged = stored.is_judged(settings, now)
    if is_judged is None:
        stored = _StoredState(version, record, is_watched, unjudged_since(connection, version, record))
        is_judged = has_no_old_request(stored.waiting_since, policy, now)
    return stored, stored.at(now, is_judged=is_judged)
