"""Explanations on a page: nothing twice, and what to check first."""

from dataclasses import replace

from stillsafe.core.signals import Evidence, Level, Reading, Signal
from stillsafe.dashboard.explanations import advice, explanation_steps, first_advice, newest_first
from stillsafe.store.read.incidents import ExplanationRecord

from .story import START

READING = Reading(Signal.MISSING_RATE, "age", Evidence.BAD, Level.SEVERE, 0.9, 0.0, 0.05, 0.25, 600)


def record(source: str = "offline", recommendations: str = "Check it.\nCall them.") -> ExplanationRecord:
    causes = "The feed failed.\n\nThe feed failed."
    summary = "It began at noon. age is missing."
    return ExplanationRecord("inc", START, summary, recommendations, source, "opened", source, causes)


def test_what_the_page_has_is_left_out() -> None:
    """Sentences of the summary, whole causes and recommendations, and repetitions."""
    step = advice(record(), ["age is missing.", "Call them."])
    assert (step.summary, step.causes, step.recommendations) == (
        "It began at noon.",
        ("The feed failed.",),
        ("Check it.",),
    )


def test_what_to_check_first_is_no_language_models() -> None:
    """The offline observer's, or the remedy of the worst signal."""
    assert first_advice([record("llm", "Reboot."), record()], []) == "Check it."
    assert first_advice([record("llm", "Reboot.")], [READING]) == "Check the source of age and its last deployment."
    assert first_advice([], []) == ""


def test_a_later_explanation_comes_first_and_whole() -> None:
    """An earlier one has only what is new in it."""
    opened = record()
    escalated = replace(opened, incident_status="escalated", summary="It is worse. age is missing.")
    steps = explanation_steps(newest_first([opened, escalated]), ["age is missing."])
    assert [(step.record.incident_status, step.summary) for step in steps] == [
        ("escalated", "It is worse."),
        ("opened", "It began at noon."),
    ]
    assert [step.recommendations for step in steps] == [("Check it.", "Call them."), ()]
