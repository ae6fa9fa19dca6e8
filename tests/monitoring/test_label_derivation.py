"""The derivation of a realised loss."""

from dataclasses import replace
from datetime import UTC, datetime

from stillsafe.core.evidence.label_tally import Truth
from stillsafe.core.policy import Policy
from stillsafe.core.signals import Evidence, Level, Reading, Signal
from stillsafe.monitoring.derivation import evaluated_steps
from stillsafe.monitoring.label_derivation import realised_steps

AT = datetime(2026, 3, 2, 10, tzinfo=UTC)
READING = Reading(
    Signal.REALISED_LOSS, None, Evidence.BAD, Level.SEVERE, 0.1, 0.0, 0.03, 0.05, 400,
    standard_error=0.012, noise=0.03, metric="accuracy", healthy_performance=0.9, truth=Truth(AT, AT, 0.5, 0.02),
)  # fmt: skip


def test_the_steps_end_at_the_level() -> None:
    """They name the labels, their coverage, the fallback beside them, the noise and the limits."""
    steps = {step.name: step.value for step in evaluated_steps(realised_steps(Policy(), READING))}
    assert (steps["labels"], steps["coverage"], steps["advantage"], steps["level"]) == (400, 0.5, 0.02, "SEVERE")
    assert steps["value"] == 0.1
    untold = evaluated_steps(realised_steps(Policy(), replace(READING, value=0.04, truth=None)))
    assert {step.name: step.value for step in untold}["level"] == "MODERATE"
