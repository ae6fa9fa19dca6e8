"""Incidents and the sentences about them."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from stillsafe.core.incident import IncidentEvent, damaged_features, incident_of
from stillsafe.core.policy import Bypass, FallbackPrice, Policy
from stillsafe.core.signals import Evidence, Level, Reading, Signal
from stillsafe.core.state import Memory, Severity, State, Streak

POLICY = Policy()
AT = datetime(2026, 3, 2, 10, 20, 0, 5, tzinfo=UTC)


def rate(signal: Signal, feature: str | None = None, value: float = 0.4, level: Level = Level.SEVERE) -> Reading:
    """A deviating rate."""
    return Reading(signal, feature, Evidence.BAD, level, value, 0.01, 0.05, 0.25, 200)


TEMP = rate(Signal.MISSING_RATE, "temp")
WIND = rate(Signal.OUT_OF_RANGE_RATE, "wind", 0.1, Level.MODERATE)
LOSS = Reading(Signal.ESTIMATED_ACCURACY_LOSS, None, Evidence.BAD, Level.SEVERE, 0.803, 0.0, 0.02, 0.0375, 300)
GROWTH = Reading(Signal.ESTIMATED_ERROR_GROWTH, None, Evidence.BAD, Level.SEVERE, 0.2, 0.0, 0.08, 0.15, 300)
NORMAL = Memory()
WARNING = Memory(State.WARNING, AT, {TEMP.key: Streak(2, 2)}, incident_id="inc-1")
DEGRADED = Memory(State.DEGRADED, AT, {TEMP.key: Streak(3, 3)}, incident_id="inc-1")


def test_no_move_no_incident() -> None:
    """As long as the state stays, nothing happens to an incident."""
    for memory in (NORMAL, WARNING, DEGRADED):
        assert incident_of(POLICY, memory, memory, (TEMP,), AT) is None


def test_leaving_normal_opens_one_named_after_its_time_and_version() -> None:
    """Recomputing the run gives the same identifier. By rules 1 it did not name the version."""
    ids = []
    for version, rules_version in (("a", 2), ("a", 2), ("b", 2), ("a", 1)):
        memory = replace(WARNING, incident_id=None, model_version=version)
        incident = incident_of(POLICY, NORMAL, memory, (TEMP,), AT, rules_version=rules_version)
        assert incident is not None
        assert (incident.event, incident.severity) == (IncidentEvent.OPENED, Severity.WARNING)
        ids.append(incident.incident_id)
    time = "inc-20260302T102000-000005"
    assert ids == [f"{time}-be43", f"{time}-be43", f"{time}-eff9", time]


@pytest.mark.parametrize(
    ("state", "severity"), [(State.WARNING, Severity.WARNING), (State.DEGRADED, Severity.CRITICAL)]
)
def test_an_inherited_state_opens_one_that_says_so(state: State, severity: Severity) -> None:
    """A version that starts from another's state has an incident of its own, from its first run on; not by rules 1."""
    inherited = Memory(state, AT, model_version="old")
    incident = incident_of(POLICY, inherited, replace(inherited, model_version="new"), (TEMP,), AT)
    assert incident is not None
    assert (incident.event, incident.severity, incident.trigger_signals) == (IncidentEvent.OPENED, severity, ())
    assert incident.reason == f"Inherited from version old, which has been {state.value} since 2026-03-02T10:20:00Z."
    assert incident_of(POLICY, inherited, inherited, (TEMP,), AT, rules_version=1) is None


def test_getting_worse_escalates_the_same_one() -> None:
    """One degradation is one incident."""
    incident = incident_of(POLICY, WARNING, DEGRADED, (TEMP,), AT)
    assert incident is not None
    result = (incident.event, incident.severity, incident.incident_id)
    assert result == (IncidentEvent.ESCALATED, Severity.CRITICAL, "inc-1")


def test_back_in_normal_resolves_it() -> None:
    """The recovery says how it was earned and what it ended."""
    incident = incident_of(POLICY, DEGRADED, Memory(calm_runs=3), (), AT)
    assert incident is not None
    assert (incident.event, incident.severity) == (IncidentEvent.RESOLVED, Severity.NORMAL)
    assert incident.reason == (
        "Recovered after 3 consecutive calm runs. The state had been DEGRADED since 2026-03-02T10:20:00Z."
    )


def test_a_recovery_without_an_open_incident_resolves_nothing() -> None:
    """There is nothing to close."""
    assert incident_of(POLICY, replace(DEGRADED, incident_id=None), NORMAL, (), AT) is None


def test_triggers_are_the_sustained_signals_only() -> None:
    """A signal that deviates for the first time did not make the incident."""
    memory = replace(DEGRADED, streaks={TEMP.key: Streak(3, 3), WIND.key: Streak(1, 0)})
    incident = incident_of(POLICY, WARNING, memory, (TEMP, WIND), AT)
    assert incident is not None
    assert incident.trigger_signals == ("missing_rate:temp",)
    assert incident.damaged_features == ("temp",)
    assert "wind" not in incident.reason


def test_damaged_features_are_named_by_streaks_and_remembered() -> None:
    """A feature with a colon in its name keeps it; a signal about all requests names none."""
    streaks = {"missing_rate:a:b": Streak(2, 0), "avg_confidence": Streak(5, 5), "missing_rate:wind": Streak(1, 1)}
    memory = Memory(State.DEGRADED, streaks=streaks, damaged_features=("temp",))
    assert damaged_features(POLICY, memory) == ("a:b", "temp")


PRICED_POLICY = Policy(
    bypass=Bypass.WHEN_IT_PAYS,
    fallback_prices=(FallbackPrice(("temp",), 0.77), FallbackPrice((), 0.6)),
    model_score=0.83,
)
HARM = replace(LOSS, value=0.155, corruption=0.155)
MINOR = replace(LOSS, value=0.05, corruption=0.05)
CRITICAL_LOSS = {LOSS.key: Streak(3, 3)}


def test_a_critical_severity_without_a_bypass_escalates_and_says_who_answers() -> None:
    """The incident is CRITICAL, the model goes on answering, and the reason names both sides of the price."""
    warning = replace(WARNING, incident_severity=Severity.WARNING)
    critical = replace(warning, streaks=CRITICAL_LOSS, incident_severity=Severity.CRITICAL)
    incident = incident_of(PRICED_POLICY, warning, critical, (MINOR,), AT)
    assert incident is not None
    assert (incident.event, incident.severity, incident.is_bypassed) == (
        IncidentEvent.ESCALATED,
        Severity.CRITICAL,
        False,
    )
    assert incident.reason.startswith("CRITICAL after 3 consecutive severe runs.")
    assert "The model goes on answering, as nothing at hand is expected to do better" in incident.reason
    assert incident_of(PRICED_POLICY, critical, critical, (MINOR,), AT) is None


def test_a_bypass_that_begins_later_escalates_again_and_says_what_it_wins() -> None:
    """From then on the fallback answers."""
    critical = replace(WARNING, streaks=CRITICAL_LOSS, incident_severity=Severity.CRITICAL)
    degraded = replace(critical, state=State.DEGRADED)
    incident = incident_of(PRICED_POLICY, critical, degraded, (HARM,), AT)
    assert incident is not None
    assert (incident.event, incident.is_bypassed) == (IncidentEvent.ESCALATED, True)
    assert incident.reason.endswith("The fallback answers, expected to win 9.5 points back.")


@pytest.mark.parametrize("readings", [(WIND,), ()])
def test_the_end_of_the_bypass_keeps_the_incident_open(readings: tuple[Reading, ...]) -> None:
    """It keeps its severity; the reason says why the model answers again, and what still deviates."""
    degraded = replace(DEGRADED, incident_severity=Severity.CRITICAL)
    incident = incident_of(POLICY, degraded, replace(degraded, state=State.WARNING), readings, AT)
    assert incident is not None
    assert (incident.incident_id, incident.event) == ("inc-1", IncidentEvent.FALLBACK_ENDED)
    assert (incident.severity, incident.is_bypassed) == (Severity.CRITICAL, False)
    assert incident.reason.startswith("The model answers again after 3 consecutive runs without a severe reading.")
    assert ("wind" in incident.reason) is bool(readings)


def test_in_warning_damaged_features_are_those_that_warn_now() -> None:
    """In DEGRADED all that were named so far stay damaged; by rules 2 they did so in WARNING too."""
    memory = replace(WARNING, damaged_features=("wind",))
    assert damaged_features(POLICY, memory) == ("temp",)
    assert damaged_features(POLICY, memory, 2) == ("temp", "wind")
    assert damaged_features(POLICY, replace(memory, state=State.DEGRADED)) == ("temp", "wind")
