"""Checks of the monitor: whether it runs, whether its runs can judge the traffic, clocks, and other services."""

import math
from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine

from stillsafe.check.findings import Finding, error, ok, warning
from stillsafe.check.reference import baseline_finding
from stillsafe.core.evidence.time_text import time_text
from stillsafe.core.policy import Policy
from stillsafe.judging import Conditions, VersionCondition, runs_per_conclusion, version_conditions
from stillsafe.model.reference import read_reference
from stillsafe.monitoring.clock import DISCARD, clock_problem
from stillsafe.settings import Settings
from stillsafe.settings_sections import format_duration
from stillsafe.store import database
from stillsafe.store.read.baselines import active_baseline
from stillsafe.store.read.requests import first_request_at, last_prediction_row, synthetic_count, window_row_count
from stillsafe.store.read.versions import service_names

CLOCK_TOLERANCE = timedelta(seconds=5)
RATE_SPAN = timedelta(days=1)
"""How far back the traffic is counted to measure its rate."""


def judging_findings(engine: Engine, settings: Settings, now: datetime, machine_time: datetime) -> Iterator[Finding]:
    """Whether there is a baseline, whether the monitor runs, and whether its runs can reach conclusions.

    Args:
        engine: the store.
        settings: of the service.
        now: the time of the check, aware UTC.
        machine_time: the machine's clock, aware UTC.
    """
    policy, version = settings.policy, settings.model.version
    with database.reading(engine) as connection:
        conditions = version_conditions(connection, policy, version, now)
        baseline = active_baseline(connection, version)
        if baseline is None:
            message = (
                f"Model version {version} has no active baseline: it is unwatched. Run `stillsafe baseline create`."
            )
            yield warning("baseline", message)
        else:
            reference = read_reference(settings.path(settings.model.reference))
            healthy = ok("baseline", f"{baseline.baseline_id}, {baseline.sample_size} predictions")
            yield baseline_finding(settings, reference, baseline) or healthy
        yield from _monitor(conditions.served_version, now)
        yield from _clock(connection, settings, conditions, now, machine_time)
        yield _judging(connection, policy, conditions.served_version, now)
        yield from _versions(conditions)
        yield from _services(connection, settings)


def traffic_finding(policy: Policy, requests_per_second: float) -> Finding:
    """Whether steady traffic is judged by each run, late or never, and which settings would judge it by each run."""
    subject, every = "judging", format_duration(policy.every_seconds)
    count = requests_per_second * policy.every_seconds
    rate = f"At the rate of the last day, {count:.1f} requests in {every},"
    runs = runs_per_conclusion(policy, requests_per_second)
    if runs == 1:
        return ok(subject, f"{rate} each run can be conclusive, so every request is judged within {every}")
    if runs is None:
        age = format_duration(policy.max_carry_seconds)
        message = f"{rate} no run can ever be conclusive: requests are carried for {age} at most."
        return error(subject, f"{message} {_advice(policy, requests_per_second)}")
    message = f"{rate} requests are judged late: only every {runs} runs can be conclusive."
    if runs > policy.not_judged_intervals:
        message += f" Meanwhile the service is not judged, after {policy.not_judged_intervals:g} runs."
    return warning(subject, f"{message} {_advice(policy, requests_per_second)}")


def _advice(policy: Policy, requests_per_second: float) -> str:
    """The settings under which each run could be conclusive."""
    fresh_seconds = max(policy.every_seconds, policy.min_fresh_predictions / requests_per_second)
    window_seconds = max(policy.window_seconds, fresh_seconds, policy.min_predictions / requests_per_second)
    keys = f'`window = "{_minutes(window_seconds)}"`'
    if fresh_seconds > policy.every_seconds:
        keys += f' and `every = "{_minutes(fresh_seconds)}"`'
    most = int(requests_per_second * max(policy.window_seconds, policy.every_seconds))
    fewer = f", or `min_predictions = {most}` in [policy]" if most >= 10 else ""
    return f"Each run could be with {keys} in [monitor]{fewer}."


def _minutes(seconds: float) -> str:
    """A duration as the settings write it, rounded up to whole minutes, or to whole hours from two hours on."""
    unit = 3600 if seconds > 7200 else 60
    return format_duration(float(math.ceil(round(seconds / unit, 6)) * unit))


def _monitor(served_version: VersionCondition, now: datetime) -> Iterator[Finding]:
    state = served_version.record.state
    if state is None or state.checked_at is None:
        yield warning("monitor", "It has never run. Run `stillsafe monitor`, then `stillsafe schedule install`.")
        return
    last = time_text(state.checked_at)
    if state.checked_at > now + CLOCK_TOLERANCE:
        return  # the clock is at fault, and has a finding of its own
    if state.stale(now):
        yield warning("monitor", f"It last ran at {last}, more than two intervals ago. Run `stillsafe schedule show`.")
    else:
        yield ok("monitor", f"last run {last}, state {state.state.value}")


def _clock(
    connection: Connection, settings: Settings, conditions: Conditions, now: datetime, machine_time: datetime
) -> Iterator[Finding]:
    """Whether the clocks agree, and whether a run or a request is dated in the future."""
    subject = "clock"
    if (problem := clock_problem(connection, machine_time, settings.monitor.every)) is not None:
        yield error(subject, f"{problem} Correct the wrong one; until then `stillsafe monitor` refuses to run.")
    for each in conditions.versions:
        state, last_request_at = each.record.state, each.record.last_request_at
        checked_at = state.checked_at if state is not None and each.record.has_own_state else None
        if checked_at is not None and checked_at > now + CLOCK_TOLERANCE:
            message = (
                f"The last run of model version {each.model_version} is dated {time_text(checked_at)}, after now "
                f"({time_text(now)}). Correct the clock. If it was ahead then, supersede the runs: {DISCARD}."
            )
            yield error(subject, message)
        if last_request_at is not None and last_request_at > now + CLOCK_TOLERANCE:
            message = (
                f"Requests of model version {each.model_version} are dated up to {time_text(last_request_at)}, after "
                f"now ({time_text(now)}). Correct the clock of the host that logs them. A run judges them once their "
                f"time has come; runs that a wrong clock made are superseded by {DISCARD}."
            )
            yield error(subject, message)


def _judging(connection: Connection, policy: Policy, served_version: VersionCondition, now: datetime) -> Finding:
    """Whether the served version is judged, and whether its traffic is dense enough."""
    version, start = served_version.model_version, now - RATE_SPAN
    first = first_request_at(connection, version, start)
    count = window_row_count(connection, start, now, version, last_prediction_row(connection))
    synthetic = synthetic_count(connection, start, now, version)
    window = format_duration(policy.window_seconds)
    if not served_version.judged and (not served_version.monitored or served_version.stale):
        return warning("judging", served_version.sentence)
    if not count or first is None or first >= now:
        others = f" besides {synthetic} synthetic ones" if synthetic else ""
        message = f"No requests{others} in the last day. A run needs {policy.min_predictions} in {window}"
        return (
            warning("judging", f"{message}: synthetic ones are no evidence.") if synthetic else ok("judging", message)
        )
    seconds = max((now - first).total_seconds(), policy.window_seconds)
    finding = traffic_finding(policy, count / seconds)
    if served_version.judged:
        return finding
    return warning("judging", f"{served_version.sentence} {finding.message}")


def _versions(conditions: Conditions) -> Iterator[Finding]:
    """Other versions with traffic that no monitor evaluates, or that are not judged."""
    for each in conditions.others:
        subject = f"version {each.model_version}"
        if not each.judged or not each.monitored:
            condition = each.sentence or "It gets requests, and no monitor run has evaluated it."
            remedy = "Run `stillsafe schedule install` in its service folder, or stop its traffic."
            yield warning(subject, f"{each.state.value}. {condition} {remedy}")
        else:
            yield ok(subject, f"it has requests, and its monitor runs; state {each.state.value}")


def _services(connection: Connection, settings: Settings) -> Iterator[Finding]:
    """The other services in the database."""
    others = [name for name in service_names(connection) if name != settings.service.name]
    if others:
        names = ", ".join(others)
        message = (
            f"The database also has: {names}. Each has its own log and state; see `stillsafe status --all`. If this "
            f"service was renamed, run `stillsafe db rename OLD`"
        )
        yield ok("services", message)
