"""Whether versions are judged: the rule, the cause, the headline, and after how many runs thin traffic is judged."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from stillsafe.core.policy import Policy
from stillsafe.core.state import Memory, State
from stillsafe.judging import (
    Conditions,
    VersionCondition,
    conditions_without_traffic,
    runs_per_conclusion,
    version_conditions,
)
from stillsafe.serving.state_reading import serving_state
from stillsafe.store import database
from stillsafe.store.read.state import StateRecord
from stillsafe.store.read.versions import VersionRecord
from tests.monitoring.conftest import START, STEP, Service, bare_service, service

__all__ = ["bare_service", "service"]  # the fixtures of the tests of monitoring
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def condition(version: str, state: State, *, has_traffic: bool = True) -> VersionCondition:
    record = StateRecord(state, NOW, "because", None, NOW, NOW, False, (), Memory(state=state), version)
    return VersionCondition(VersionRecord(version, record, True, None, NOW, None), True, has_traffic, False, "")


def conditions_of(service: Service) -> Conditions:
    with database.reading(service.engine) as connection:
        return version_conditions(connection, service.settings.policy, "1", service.now)


@pytest.mark.parametrize(
    ("requests_in_10_minutes", "runs"),
    [(300, 1), (34, 1), (33, 2), (20, 3), (5, 10), (0.4, 125), (0.3, None), (0, None)],
)
def test_thin_traffic_is_judged_every_few_runs(requests_in_10_minutes: float, runs: int | None) -> None:
    """A run needs 50 requests in 15 minutes, 25 of them fresh; the rest of a day's requests are carried to it."""
    assert runs_per_conclusion(Policy(), requests_in_10_minutes / 600) == runs


def test_the_headline_is_the_worst_state_with_traffic() -> None:
    """Versions without traffic do not count; where none has traffic the served version's state does."""
    served_version, other = condition("1", State.NORMAL), condition("2", State.WARNING)
    old = condition("0", State.DEGRADED, has_traffic=False)
    assert Conditions(served_version, (old, served_version, other)).headline is State.WARNING
    assert Conditions(served_version, (old, served_version, other)).others == (other,)
    assert Conditions(old, (old,)).headline is State.DEGRADED
    assert conditions_without_traffic("1").headline is State.NORMAL


def test_a_judged_version_has_no_sentence() -> None:
    """Only a version that is not judged has a cause to tell."""
    assert condition("1", State.NORMAL).sentence == ""
    waiting = replace(condition("1", State.NORMAL), judged=False, cause="traffic too thin")
    waiting = replace(waiting, record=replace(waiting.record, unjudged_since=NOW))
    assert waiting.sentence == (
        "Not judged: traffic too thin. Requests since 2026-03-01T12:00:00Z wait for a conclusive run; "
        "there has been none."
    )


def test_requests_without_any_run_are_not_judged_after_six_intervals(bare_service: Service) -> None:
    """Before the limit they are new; after it the cause is that no run has evaluated the version."""
    bare_service.send(100)
    for intervals, judged in ((6, True), (7, False)):
        bare_service.now = START + intervals * STEP
        served_version = conditions_of(bare_service).served_version
        assert (served_version.judged, served_version.monitored, served_version.stale) == (judged, False, True)
    assert "no monitor run has evaluated model version 1" in served_version.sentence


def test_a_version_without_a_baseline_is_not_judged(bare_service: Service) -> None:
    """Its runs conclude nothing, and the sentence names the missing baseline."""
    for _ in range(8):
        bare_service.step(100)
    served_version = conditions_of(bare_service).served_version
    assert (served_version.judged, served_version.judged_at) == (False, None)
    assert "has no active baseline" in served_version.sentence


def test_serving_and_reading_agree(service: Service) -> None:
    """The rule of the answers is the rule of the read routes, at each interval of a story."""
    policy = service.settings.policy
    for count in (300, 5, 5, 5, 5, 5, 5, 5, 300, 5):
        service.step(count)
        for later in (timedelta(0), 7 * STEP):
            now = service.now + later
            with database.reading(service.engine) as connection:
                served_version = version_conditions(connection, policy, "1", now).served_version
                judged = serving_state(connection, service.settings, now).judged
            assert judged == served_version.judged
    assert served_version.judged_at == service.now - STEP
