"""Whether runs still reach conclusions about each model version: the one source of every surface that shows it.

"Not judged" is a condition beside the state. A version is not judged where one of its requests has waited for a
conclusive run longer than `not_judged_intervals` of the policy. A version without requests has nothing to judge.
"""

import math
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from stillsafe.core.evidence.time_text import time_text
from stillsafe.core.policy import Policy
from stillsafe.core.state import State
from stillsafe.store.read.state import StateRecord
from stillsafe.store.read.versions import VersionRecord, version_names, version_record

_BY_CAUTION = (State.NORMAL, State.WARNING, State.DEGRADED)


@dataclass(frozen=True, slots=True)
class VersionCondition:
    """What is known about one model version.

    Attributes:
        record: its state, its last run and its traffic.
        judged: whether runs still reach conclusions about its requests.
        has_traffic: whether it had a request in the last `max_gap` of the policy.
        stale: whether its monitor has stopped, or no run has ever evaluated it.
        cause: why it is not judged, a clause; empty where it is judged.
    """

    record: VersionRecord
    judged: bool
    has_traffic: bool
    stale: bool
    cause: str

    @property
    def model_version(self) -> str:
        """Its name."""
        return self.record.model_version

    @property
    def state(self) -> State:
        """The state that applies to it; NORMAL before the first decision."""
        return State.NORMAL if self.record.state is None else self.record.state.state

    @property
    def judged_at(self) -> datetime | None:
        """End of the window of its last conclusive run, or None."""
        state = self.record.state
        return state.memory.last_conclusive_at if state is not None and self.record.has_own_state else None

    @property
    def monitored(self) -> bool:
        """Whether a run has evaluated it."""
        return self.record.last_run is not None

    @property
    def sentence(self) -> str:
        """Why and since when it is not judged, for people; empty where it is judged."""
        if self.judged:
            return ""
        since = "" if self.record.unjudged_since is None else f" since {time_text(self.record.unjudged_since)}"
        last = "there has been none" if self.judged_at is None else f"the last one was at {time_text(self.judged_at)}"
        return f"Not judged: {self.cause}. Requests{since} wait for a conclusive run; {last}."


@dataclass(frozen=True, slots=True)
class Conditions:
    """The model versions of a service.

    Attributes:
        served: the version that the settings name.
        versions: every version with traffic or with a state, sorted by name; `served` is one of them.
    """

    served_version: VersionCondition
    versions: tuple[VersionCondition, ...]

    @property
    def headline(self) -> State:
        """The worst state of the versions with traffic; without any traffic that of the served version."""
        states = [each.state for each in self.versions if each.has_traffic]
        return max(states, key=_BY_CAUTION.index, default=self.served_version.state)

    @property
    def others(self) -> tuple[VersionCondition, ...]:
        """The versions besides the served one that have traffic."""
        return tuple(each for each in self.versions if each is not self.served_version and each.has_traffic)


def version_conditions(connection: Connection, policy: Policy, model_version: str, now: datetime) -> Conditions:
    """The condition of every model version of the connection's service.

    Args:
        connection: reads one snapshot.
        policy: of the service.
        model_version: the served version.
        now: aware UTC.

    Raises:
        StoreError: a state cannot be read.
    """
    names = {*version_names(connection), model_version}
    conditions = [_condition(version_record(connection, name), policy, now) for name in sorted(names)]
    served_version = next(each for each in conditions if each.model_version == model_version)
    is_shown = [each for each in conditions if each is served_version or each.has_traffic or each.record.has_own_state]
    return Conditions(served_version, tuple(is_shown))


def conditions_without_traffic(model_version: str) -> Conditions:
    """The condition of a version without requests or a state, as in a backtest."""
    record = VersionRecord(model_version, None, False, None, None, None)
    served_version = VersionCondition(record, judged=True, has_traffic=False, stale=True, cause="")
    return Conditions(served_version, (served_version,))


def is_judged_by_run(policy: Policy, model_version: str, state: StateRecord | None, now: datetime) -> bool:
    """Whether a run has judged every request of a version that is old enough; then the log need not be searched.

    Args:
        policy: of the service.
        model_version: the version.
        state: the state that applies to it, or None before the first decision.
        now: aware UTC.
    """
    if state is None or state.model_version not in (model_version, None) or state.memory.unjudged_since is not None:
        return False
    checked_at = state.memory.last_run_at or state.checked_at
    return checked_at is not None and (now - checked_at).total_seconds() <= policy.not_judged_seconds


def has_no_old_request(waiting_since: datetime | None, policy: Policy, now: datetime) -> bool:
    """Whether no request has waited too long for a conclusive run; `waiting_since` is the time of the oldest."""
    return waiting_since is None or (now - waiting_since).total_seconds() <= policy.not_judged_seconds


def runs_per_conclusion(policy: Policy, requests_per_second: float) -> int | None:
    """After how many runs steady traffic has enough requests for a conclusive one: 1 is each run, None is never."""
    if requests_per_second <= 0:
        return None
    fresh_runs = policy.min_fresh_predictions / (requests_per_second * policy.every_seconds)
    seconds = policy.min_predictions / requests_per_second
    total_runs = 1.0 if seconds <= policy.window_seconds else seconds / policy.every_seconds
    runs = max(1, math.ceil(round(max(fresh_runs, total_runs), 9)))
    return runs if runs * policy.every_seconds <= policy.max_carry_seconds or runs == 1 else None


def _condition(record: VersionRecord, policy: Policy, now: datetime) -> VersionCondition:
    judged = has_no_old_request(record.unjudged_since, policy, now)
    last = record.last_request_at
    return VersionCondition(
        record,
        judged,
        has_traffic=last is not None and (now - last).total_seconds() <= policy.max_gap_seconds,
        stale=record.state is None or not record.has_own_state or record.state.stale(now),
        cause="" if judged else _cause(record, policy, now),
    )


def _cause(record: VersionRecord, policy: Policy, now: datetime) -> str:
    """Why no run is conclusive, a clause."""
    run, state = record.last_run, record.state
    if run is None or state is None:
        return f"no monitor run has evaluated model version {record.model_version}"
    if state.stale(now):
        return f"the monitor has stopped: its last run was at {time_text(run.window_end)}"
    if run.baseline_id is None:
        return f"model version {record.model_version} has no active baseline"
    synthetic_count = run.window.get("synthetic_count", 0) if isinstance(run.window, dict) else 0
    if synthetic_count and not run.prediction_count:
        return f"the last window has {synthetic_count} synthetic requests and no other"
    if run.prediction_count < policy.min_predictions:
        return f"traffic too thin: {run.prediction_count} requests in a window of at least {policy.min_predictions}"
    return f"the last run was inconclusive: {(run.reason or 'it gives no reason').rstrip('.')}"
