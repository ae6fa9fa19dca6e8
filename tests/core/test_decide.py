"""The composition: what goes from the parts into one decision."""

from dataclasses import replace
from datetime import timedelta
from random import Random

from stillsafe.core.decide import Decision, conclude, decide
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


def decide_all(*windows: Window) -> list[Decision]:
    """The decisions on windows ten minutes apart."""
    memory, decisions = Memory(), []
    for number, window in enumerate(windows):
        later_window = replace(window, end=window.end + number * timedelta(minutes=10))
        decisions.append(decide(POLICY, BASELINE, later_window, memory))
        memory = decisions[-1].memory
    return decisions


def test_the_missions_story() -> None:
    """Deviating twice is WARNING, three severe runs are DEGRADED, three calm ones end it."""
    decisions = decide_all(CALM, BAD, BAD, BAD, CALM, CALM, CALM)
    states = [decision.memory.state.value for decision in decisions]
    assert states == ["NORMAL", "NORMAL", "WARNING", "DEGRADED", "DEGRADED", "DEGRADED", "NORMAL"]
    assert [decision.incident.event.value if decision.incident else "" for decision in decisions] == [
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
    decisions = decide_all(BAD, BAD, BAD, CALM, CALM, CALM)
    identifiers = [decision.memory.incident_id for decision in decisions]
    assert identifiers[0] is None
    assert len(set(identifiers[1:5])) == 1
    assert identifiers[5] is None
    assert decisions[5].incident is not None
    assert decisions[5].incident.incident_id == identifiers[4]


def test_severity_is_of_what_is_sustained() -> None:
    """A run may deviate and its severity still be NORMAL; a recovery run's is NORMAL while the state is DEGRADED."""
    decisions = decide_all(BAD, BAD, BAD, CALM)
    assert [decision.severity for decision in decisions] == [
        Severity.NORMAL,
        Severity.WARNING,
        Severity.CRITICAL,
        Severity.NORMAL,
    ]
    assert decisions[3].memory.state is State.DEGRADED


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
    memory = decide_all(BAD)[0].memory
    text = repr((BASELINE, BAD, memory))
    decide(POLICY, BASELINE, BAD, memory)
    assert repr((BASELINE, BAD, memory)) == text


def test_the_second_half_of_a_decision_follows_from_its_readings() -> None:
    """Readings and evidence are all that a decision takes from the baseline's statistics and the window's counts."""
    for decision in decide_all(CALM, BAD, BAD, BAD):
        memory = replace(decision.memory, last_run_at=None, last_conclusive_at=None)
        window = replace(BAD, end=BAD.end + timedelta(hours=1))
        whole = decide(POLICY, BASELINE, window, memory)
        assert conclude(POLICY, BASELINE, window, memory, whole.readings, whole.evidence) == whole


def test_rules_without_a_step_of_their_own_are_folded_by_the_newest() -> None:
    """A run of unknown rules has a state too."""
    decision = decide(POLICY, BASELINE, BAD, Memory())
    arguments = (POLICY, BASELINE, BAD, Memory(), decision.readings, decision.evidence)
    assert conclude(*arguments, rules_version=99) == decision
