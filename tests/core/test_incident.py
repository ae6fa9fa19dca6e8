"""Incidents and the sentences about them."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from stillsafe.core.incident import IncidentEvent, damaged_features, incident_of, sentence, summary
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
    assert incident.reason == f"Inherited from version old, which has been {state.value} since 2026-03-02 10:20 UTC."
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
        "Recovered after 3 consecutive calm runs. The state had been DEGRADED since 2026-03-02 10:20 UTC."
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


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        (TEMP, "temp is missing in 40.0% of 200 predictions (baseline 1.0%, limit +25.0 points)."),
        (WIND, "wind is outside its healthy range in 10.0% of 200 values (baseline 1.0%, limit +5.0 points)."),
        (
            rate(Signal.UNSEEN_CATEGORY_RATE, "carrier"),
            "carrier has a category unseen in the baseline in 40.0% of 200 values (baseline 1.0%, limit +25.0 points).",
        ),
        (
            replace(rate(Signal.BROKEN_RELATION_RATE, "temp"), instead_of=("dewp", "wind")),
            "temp does not fit the other features in 40.0% of 200 predictions (baseline 1.0%, limit +25.0 points). "
            "Either temp or dewp and wind are damaged: the data does not show which.",
        ),
        (
            replace(rate(Signal.BROKEN_RELATION_RATE, "dewp"), instead_of=("temp",)),
            "dewp does not fit the other features in 40.0% of 200 predictions (baseline 1.0%, limit +25.0 points). "
            "Either dewp or temp is damaged: the data does not show which.",
        ),
        (
            rate(Signal.REPEATED_VALUE_RATE, "temp"),
            "temp repeats one number in 40.0% of 200 values (baseline 1.0%, limit +25.0 points).",
        ),
        (
            Reading(Signal.DISTRIBUTION_CHANGE, "temp", Evidence.BAD, Level.MODERATE, 0.5, 0.02, 0.3, None, 200),
            "The distribution of temp shifted: total variation distance 0.50 from the baseline over 200 predictions "
            "(baseline 0.02, limit 0.30).",
        ),
        (
            Reading(Signal.CONFIDENCE_CHANGE, None, Evidence.BAD, Level.MODERATE, 0.9, 0.07, 0.2, None, 300),
            "The confidence distribution shifted: total variation distance 0.90 from the baseline over 300 predictions "
            "(baseline 0.07, limit 0.20).",
        ),
        (
            Reading(Signal.PREDICTION_CHANGE, None, Evidence.BAD, Level.MODERATE, 0.41, 0.07, 0.2, None, 300),
            "The prediction distribution shifted: total variation distance 0.41 from the baseline over 300 predictions "
            "(baseline 0.07, limit 0.20).",
        ),
        (
            rate(Signal.LOW_CONFIDENCE_RATE),
            "Low confidence in 40.0% of 200 predictions (baseline 1.0%, limit +25.0 points).",
        ),
        (
            rate(Signal.REFUSAL_RATE),
            "The schema refused 40.0% of 200 requests (baseline 1.0%, limit +25.0 points).",
        ),
        (
            rate(Signal.MODEL_ERROR_RATE),
            "The model failed on 40.0% of 200 predictions (baseline 1.0%, limit +25.0 points).",
        ),
        (
            Reading(Signal.AVG_CONFIDENCE, None, Evidence.BAD, Level.MODERATE, 0.62, 0.7, 0.05, 0.12, 200),
            "Mean confidence 0.620 over 200 predictions (baseline 0.700, limit ±0.05).",
        ),
        (
            Reading(Signal.SILENCE_SECONDS, None, Evidence.BAD, Level.MODERATE, 5000.0, 0.0, 2700.0, None, 0),
            "No request for 5000 s (limit 2700 s).",
        ),
        (
            Reading(Signal.MISSING_RATE, "temp", Evidence.INSUFFICIENT, Level.NONE, None, None, None, None, 12),
            "Not enough data to judge missing_rate:temp (12 predictions).",
        ),
    ],
)
def test_a_reading_has_its_sentence(reading: Reading, words: str) -> None:
    """What, how much, of how many, what is healthy, and the limit."""
    assert sentence(reading) == words


@pytest.mark.parametrize(
    ("reading", "healthy_error", "words"),
    [
        (LOSS, 0.1, "Estimated accuracy 10% (healthy 90%), 80.3 points lost over 300 predictions; limit 3.8 points."),
        (LOSS, 0.3, "Estimated accuracy 0% (healthy 70%), 80.3 points lost over 300 predictions; limit 3.8 points."),
        (LOSS, None, "Estimated accuracy: 80.3 points lost over 300 predictions; limit 3.8 points."),
        (
            GROWTH,
            30.0,
            "Estimated mean absolute error 36 (healthy 30), 20% higher over 300 predictions; limit 15%.",
        ),
        (GROWTH, None, "Estimated mean absolute error: 20% higher over 300 predictions; limit 15%."),
        (TEMP, 0.1, sentence(TEMP)),
    ],
)
def test_an_estimate_is_given_beside_the_healthy_performance(
    reading: Reading, healthy_error: float | None, words: str
) -> None:
    """The performance itself where the baseline has it, and never below zero; what was lost in any case."""
    assert sentence(reading, healthy_error) == words


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
    result = summary((*small, TEMP))
    assert [result.index(name) for name in ("temp", "x9", "x8")] == sorted(
        result.index(name) for name in ("temp", "x9", "x8")
    )
    assert result.endswith("8 more signals deviate.")
    assert summary((*small[:3], TEMP)).endswith("1 more signal deviates.")
