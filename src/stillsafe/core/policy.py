"""Every threshold and count that a decision rests on, each with its default and the reason for it.

The reference page on the policy is generated from this file: a reason is documentation, not a comment.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any


def _because(default: Any, reason: str) -> Any:
    return field(default=default, metadata={"reason": reason})


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules' numbers. Frozen: a run stores the policy that it used, so its decision can be recomputed."""

    window_seconds: float = _because(900.0, "Fifteen minutes: long enough to average, short enough to act.")
    every_seconds: float = _because(600.0, "How often the monitor runs; a state is valid for two of these.")
    max_gap_seconds: float = _because(
        1800.0, "Runs further apart than this are not consecutive: a streak towards WARNING or CRITICAL starts anew."
    )
    min_predictions: int = _because(50, "Below fifty rows the noise of a rate exceeds any effect worth acting on.")
    min_fresh_predictions: int = _because(
        25, "Windows overlap; a run with hardly any rows that no earlier run has judged concludes nothing."
    )
    warning_runs: int = _because(2, "No single anomaly acts: WARNING takes two consecutive deviating runs at least.")
    critical_runs: int = _because(3, "CRITICAL takes three consecutive severe runs at least.")
    warning_recovery_runs: int = _because(2, "No single calm run acts either: WARNING ends after two of them.")
    recovery_runs: int = _because(3, "DEGRADED ends after as many calm runs as it takes to enter it.")
    relapse_runs: int = _because(
        20, "A degradation within this many conclusive runs of the last recovery is a relapse of the same failure."
    )
    max_recovery_runs: int = _because(
        24, "Each relapse doubles the calm runs that the next recovery needs, up to this."
    )
    false_alarm_rate: float = _because(
        0.001, "Chance that sampling noise alone makes any reading of a run deviate; shared among the run's readings."
    )
    avg_confidence_moderate: float = _because(0.05, "Five points of mean confidence, up or down, are worth a look.")
    avg_confidence_severe: float = _because(0.12, "Twelve points mean that the model sees another world.")
    low_confidence_threshold: float | None = _because(
        None, "A prediction below this is a low-confidence one; auto takes the baseline's 10th percentile."
    )
    low_confidence_rate_moderate: float = _because(0.10, "Ten points more unsure answers: twice the healthy share.")
    low_confidence_rate_severe: float = _because(0.25, "A quarter more of all answers are unsure.")
    missing_rate_moderate: float = _because(0.05, "One value in twenty newly missing points at an upstream fault.")
    missing_rate_severe: float = _because(0.25, "A quarter of a feature lost starves the model of it.")
    unseen_category_rate_moderate: float = _because(0.05, "One value in twenty that the healthy period never showed.")
    unseen_category_rate_severe: float = _because(0.25, "A quarter of a feature in words that the model never learnt.")
    out_of_range_rate_moderate: float = _because(
        0.05, "One stray value is certain in healthy traffic; one in twenty is a change of unit or source."
    )
    out_of_range_rate_severe: float = _because(0.25, "The model extrapolates on a quarter of its traffic.")
    repeated_value_rate_moderate: float = _because(
        0.25, "A quarter of the values being one number, where numbers hardly ever repeat, is a default filled in."
    )
    repeated_value_rate_severe: float = _because(0.5, "Half of a feature is no measurement any more.")
    broken_relation_rate_moderate: float = _because(
        0.15, "On so many rows a feature may contradict the others before it counts as permuted, stale or misjoined."
    )
    broken_relation_rate_severe: float = _because(0.5, "On half of the rows the feature belongs to another row.")
    distribution_change_moderate: float = _because(
        0.30, "Three values in ten would have to move to look as before: another clientele, season or unit."
    )
    confidence_change_moderate: float = _because(
        0.20, "A fifth of the confidences elsewhere: a mean may hide what the whole distribution shows."
    )
    prediction_change_moderate: float = _because(0.20, "A fifth of the answers differ in kind from the healthy ones.")
    estimated_accuracy_loss_moderate: float = _because(
        0.02, "Two points of accuracy: less than half of the five points that matter, but worth a look."
    )
    estimated_accuracy_loss_severe: float = _because(
        0.0375, "Three quarters of five points: as sure as an estimate can be that what matters is lost."
    )
    estimated_error_growth_moderate: float = _because(
        0.08, "The mean absolute error has grown by a twelfth: less than half of the fifth that matters."
    )
    estimated_error_growth_severe: float = _because(0.15, "Three quarters of a fifth more error, which matters.")
    refusal_rate_moderate: float = _because(0.05, "A client that swallows refusals fails silently too.")
    refusal_rate_severe: float = _because(0.25, "A quarter of the requests break the schema: a caller is broken.")
    model_error_rate_moderate: float = _because(0.02, "A model that fails loudly on one request in fifty is unwell.")
    model_error_rate_severe: float = _because(0.10, "Every tenth request already gets the fallback: use it for all.")
    silence_seconds: float | None = _because(
        None,
        "No request for this long is a deviation, never a severe one: a fallback answers nobody. "
        "auto is three times a live baseline's longest pause, at least one window; 0 is never.",
    )

    def problems(self) -> list[str]:
        """What makes this policy unfit to decide by, one sentence each; empty when it is sound."""
        return [*self._wrong_numbers(), *self._broken_promises()]

    def effects(self, signal: str) -> tuple[float, float | None]:
        """The smallest moderate and severe deviation of a signal that matter at all; None where it is never severe."""
        return getattr(self, f"{signal}_moderate"), getattr(self, f"{signal}_severe", None)

    def _wrong_numbers(self) -> Iterator[str]:
        for f in fields(self):
            value = getattr(self, f.name)
            if value is not None and not 0 <= value < math.inf:
                yield f"{f.name} must be a finite number, zero or more."
            elif f.name in COUNTS and not isinstance(value, int):
                yield f"{f.name} must be a whole number."
            elif f.name in ABOVE_ZERO and value == 0:
                yield f"{f.name} must be above zero."
        if not 0 < self.false_alarm_rate < 0.5:
            yield "false_alarm_rate must lie between 0 and 0.5."

    def _broken_promises(self) -> Iterator[str]:
        if self.warning_runs < 2:
            yield "warning_runs must be at least 2: no single anomaly may act."
        if self.critical_runs < 3 or self.critical_runs < self.warning_runs:
            yield "critical_runs must be at least 3 and at least warning_runs."
        if self.warning_recovery_runs < 1 or self.recovery_runs < 1 or self.max_recovery_runs < self.recovery_runs:
            yield "recovery takes at least one calm run, and max_recovery_runs at least recovery_runs."
        if self.max_gap_seconds < self.every_seconds:
            yield "max_gap must be at least the interval between runs, or no two runs are ever consecutive."
        for name in SIGNALS_WITH_EFFECTS:
            moderate, severe = self.effects(name)
            if severe is not None and moderate > severe:
                yield f"{name}_moderate must not exceed {name}_severe."


COUNTS = (
    "min_predictions",
    "min_fresh_predictions",
    "warning_runs",
    "critical_runs",
    "warning_recovery_runs",
    "recovery_runs",
    "relapse_runs",
    "max_recovery_runs",
)

ABOVE_ZERO = ("window_seconds", "every_seconds", "max_gap_seconds", "min_predictions", "min_fresh_predictions")

SIGNALS_WITH_EFFECTS = (
    "avg_confidence",
    "low_confidence_rate",
    "missing_rate",
    "unseen_category_rate",
    "out_of_range_rate",
    "repeated_value_rate",
    "broken_relation_rate",
    "distribution_change",
    "confidence_change",
    "prediction_change",
    "estimated_accuracy_loss",
    "estimated_error_growth",
    "refusal_rate",
    "model_error_rate",
)


def reasons() -> dict[str, tuple[Any, str]]:
    """Name -> (default, reason) of every number in the policy, in order."""
    return {f.name: (f.default, f.metadata["reason"]) for f in fields(Policy)}
