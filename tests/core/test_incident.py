"""Incidents and the sentences that tell them."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from stillsafe.core.incident import IncidentEvent, damaged_features, follow, sentence, tell
from stillsafe.core.policy import Policy
from stillsafe.core.signals import Evidence, Level, Reading, Signal
from stillsafe.core.state import Memory, Severity, State, Streak

POLICY = Policy()
AT = datetime(2026, 3, 2, 10, 20, 0, 5, tzinfo=UTC)


def rate(signal: Signal, feature: str | None = None, value: float = 0.4, level: Level = Level.SEVERE) -> Reading:
    """A deviating rate."""
    return Reading(signal, feature, Evidence.BAD, level, value, 0.01, 0.05, 0.25, 200)


TEMP = rate(Signal.MISSING_RATE, "temp")
WIND = rate(Signal.OUT_OF_RANGE_RATE, "wind", 0.1, Level.MODERATE)
NORMAL = Memory()
WARNING = Memory(State.WARNING, AT, {TEMP.key: Streak(2, 2)}, incident_id="inc-1")
DEGRADED = Memory(State.DEGRADED, AT, {TEMP.key: Streak(3, 3)}, incident_id="inc-1")


def test_no_move_no_incident() -> None:
    """As long as the state stays, nothing happens to an incident."""
    for memory in (NORMAL, WARNING, DEGRADED):
        assert follow(POLICY, memory, memory, (TEMP,), AT) is None


def test_leaving_normal_opens_one_named_after_its_time() -> None:
    """Recomputing the run gives the same identifier."""
    incident = follow(POLICY, NORMAL, replace(WARNING, incident_id=None), (TEMP,), AT)
    assert incident is not None
    assert (incident.event, incident.severity) == (IncidentEvent.OPENED, Severity.WARNING)
    assert incident.incident_id == "inc-20260302T102000-000005"


def test_getting_worse_escalates_the_same_one() -> None:
    """One degradation is one incident."""
    incident = follow(POLICY, WARNING, DEGRADED, (TEMP,), AT)
    assert incident is not None
    told = (incident.event, incident.severity, incident.incident_id)
    assert told == (IncidentEvent.ESCALATED, Severity.CRITICAL, "inc-1")


def test_back_in_normal_resolves_it() -> None:
    """The recovery says how it was earned and what it ended."""
    incident = follow(POLICY, DEGRADED, Memory(calm_runs=3), (), AT)
    assert incident is not None
    assert (incident.event, incident.severity) == (IncidentEvent.RESOLVED, Severity.NORMAL)
    assert incident.reason == (
        "Recovered after 3 consecutive calm runs. The state had been DEGRADED since 2026-03-02 10:20 UTC."
    )


def test_a_recovery_without_an_open_incident_resolves_nothing() -> None:
    """There is nothing to close."""
    assert follow(POLICY, replace(DEGRADED, incident_id=None), NORMAL, (), AT) is None


def test_triggers_are_the_sustained_signals_only() -> None:
    """A signal that deviates for the first time did not make the incident."""
    after = replace(DEGRADED, streaks={TEMP.key: Streak(3, 3), WIND.key: Streak(1, 0)})
    incident = follow(POLICY, WARNING, after, (TEMP, WIND), AT)
    assert incident is not None
    assert incident.trigger_signals == ("missing_rate:temp",)
    assert incident.damaged_features == ("temp",)
    assert "wind" not in incident.reason


def test_damaged_features_are_named_by_streaks_and_remembered() -> None:
    """A feature with a colon in its name keeps it; a signal about all requests names none."""
    streaks = {"missing_rate:a:b": Streak(2, 0), "avg_confidence": Streak(5, 5), "missing_rate:wind": Streak(1, 1)}
    memory = Memory(State.DEGRADED, streaks=streaks, damaged_features=("temp",))
    assert damaged_features(POLICY, memory) == ("a:b", "temp")


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        (TEMP, "temp is missing in 40.0% of 200 predictions, 1.0% when healthy (limit +25.0 points)."),
        (WIND, "wind is outside its healthy range in 10.0% of 200 values, 1.0% when healthy (limit +5.0 points)."),
        (
            rate(Signal.UNSEEN_CATEGORY_RATE, "carrier"),
            "carrier has a category never seen in the healthy period in 40.0% of 200 values, 1.0% when healthy "
            "(limit +25.0 points).",
        ),
        (
            replace(rate(Signal.BROKEN_RELATION_RATE, "temp"), instead_of=("dewp", "wind")),
            "temp no longer goes with the other features in 40.0% of 200 predictions, 1.0% when healthy "
            "(limit +25.0 points). Either temp is damaged or dewp and wind.",
        ),
        (
            rate(Signal.LOW_CONFIDENCE_RATE),
            "Confidence is low in 40.0% of 200 predictions, 1.0% when healthy (limit +25.0 points).",
        ),
        (
            rate(Signal.REFUSAL_RATE),
            "The schema refused 40.0% of 200 requests, 1.0% when healthy (limit +25.0 points).",
        ),
        (
            rate(Signal.MODEL_ERROR_RATE),
            "The model failed on 40.0% of 200 predictions, 1.0% when healthy (limit +25.0 points).",
        ),
        (
            Reading(Signal.AVG_CONFIDENCE, None, Evidence.BAD, Level.MODERATE, 0.62, 0.7, 0.05, 0.12, 200),
            "Mean confidence is 0.620 over 200 predictions, 0.080 below the healthy 0.700 (limit 0.05).",
        ),
        (
            Reading(Signal.SILENCE_SECONDS, None, Evidence.BAD, Level.MODERATE, 5000.0, 0.0, 2700.0, None, 0),
            "No request for 5000 s; more than 2700 s is unusual.",
        ),
        (
            Reading(Signal.MISSING_RATE, "temp", Evidence.INSUFFICIENT, Level.NONE, None, None, None, None, 12),
            "Too little evidence on missing_rate:temp (12 predictions).",
        ),
    ],
)
def test_every_signal_has_its_sentence(reading: Reading, words: str) -> None:
    """What, how much, of how many, what is healthy, and the limit."""
    assert sentence(reading) == words


@pytest.mark.parametrize("signal", Signal)
def test_no_signal_is_left_without_words(signal: Signal) -> None:
    """Also where there is no evidence, and at every level."""
    for evidence, level in (
        (Evidence.BAD, Level.SEVERE),
        (Evidence.OK, Level.NONE),
        (Evidence.INSUFFICIENT, Level.NONE),
    ):
        assert sentence(replace(rate(signal), evidence=evidence, level=level)).endswith(".")


def test_a_name_with_braces_is_told_as_it_is() -> None:
    """A feature's name is data, never a template."""
    assert sentence(rate(Signal.MISSING_RATE, "{share}{x}")).startswith("{share}{x} is missing in 40.0% of 200")


def test_the_worst_three_are_told_and_the_rest_counted() -> None:
    """A hundred signals make no wall of text; severe ones come first, then the furthest from healthy."""
    small = [rate(Signal.MISSING_RATE, f"x{k}", 0.1 + k / 1000, Level.MODERATE) for k in range(10)]
    told = tell((*small, TEMP))
    assert [told.index(name) for name in ("temp", "x9", "x8")] == sorted(
        told.index(name) for name in ("temp", "x9", "x8")
    )
    assert told.endswith("8 more signals deviate.")
    assert tell((*small[:3], TEMP)).endswith("1 more signal deviates.")
