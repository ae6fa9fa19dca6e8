"""The composition: what goes from the parts into one decision."""

from dataclasses import replace
from datetime import timedelta
from random import Random

from stillsafe.core.decide import Decision, decide
from stillsafe.core.policy import Policy
from stillsafe.core.signals import Evidence
from stillsafe.core.state import Memory, Severity, State
from stillsafe.core.window import Window

from .healthy import a_baseline, a_tally, a_window

POLICY = Policy()
BASELINE = a_baseline(Random(1), 10_000)
CALM = a_window(a_tally(Random(2), 500, 10_000))
SUNK = replace(CALM.fresh, confidence_sum=0.5 * 500)
BAD = a_window(SUNK)


def after(*windows: Window) -> list[Decision]:
    """The decisions on windows ten minutes apart."""
    memory, told = Memory(), []
    for number, window in enumerate(windows):
        moved = replace(window, end=window.end + number * timedelta(minutes=10))
        told.append(decide(POLICY, BASELINE, moved, memory))
        memory = told[-1].memory
    return told


def test_the_missions_story() -> None:
    """Deviating twice is WARNING, three severe runs are DEGRADED, three calm ones end it."""
    told = after(CALM, BAD, BAD, BAD, CALM, CALM, CALM)
    states = [decision.memory.state.value for decision in told]
    assert states == ["NORMAL", "NORMAL", "WARNING", "DEGRADED", "DEGRADED", "DEGRADED", "NORMAL"]
    assert [decision.incident.event.value if decision.incident else "" for decision in told] == [
        "",
        "",
        "opened",
        "escalated",
        "",
        "",
        "resolved",
    ]


def test_an_open_incident_is_remembered_until_it_is_resolved() -> None:
    """One identifier from the first run to the last, and none afterwards."""
    told = after(BAD, BAD, BAD, CALM, CALM, CALM)
    identifiers = [decision.memory.incident_id for decision in told]
    assert identifiers[0] is None
    assert len(set(identifiers[1:5])) == 1
    assert identifiers[5] is None
    assert told[5].incident is not None
    assert told[5].incident.incident_id == identifiers[4]


def test_severity_is_of_what_is_sustained() -> None:
    """A run may deviate and its severity still be NORMAL; a recovery run's is NORMAL while the state is DEGRADED."""
    told = after(BAD, BAD, BAD, CALM)
    assert [decision.severity for decision in told] == [
        Severity.NORMAL,
        Severity.WARNING,
        Severity.CRITICAL,
        Severity.NORMAL,
    ]
    assert told[3].memory.state is State.DEGRADED


def test_a_baseline_of_another_version_does_not_speak() -> None:
    """It is as if there were none."""
    window = replace(BAD, model_version="2")
    decision = decide(POLICY, BASELINE, window, Memory())
    assert decision == decide(POLICY, None, window, Memory())
    assert decision.readings == ()
    assert decision.evidence is Evidence.INSUFFICIENT
    assert decision.reason == "Unwatched: model version 2 has no active baseline."


def test_a_decision_on_fewer_rows_says_how_few() -> None:
    """An inconclusive run names both counts and both limits."""
    few = a_tally(Random(3), 10, 10_000)
    decision = decide(POLICY, BASELINE, a_window(few), Memory())
    assert decision.reason == (
        "Inconclusive: 10 predictions in the window (at least 50 are needed), 10 of them new (at least 25)."
    )


def test_the_arguments_are_left_as_they_were() -> None:
    """Deciding changes nothing but its answer."""
    memory = after(BAD)[0].memory
    before = repr((BASELINE, BAD, memory))
    decide(POLICY, BASELINE, BAD, memory)
    assert repr((BASELINE, BAD, memory)) == before
