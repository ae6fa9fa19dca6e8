"""Every threshold and count that a decision depends on, each with its default and its reason.

The reference page on the policy is generated from this file.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from enum import StrEnum
from typing import Any

from stillsafe.core.evidence.evidence_policy import EvidencePolicy as EvidencePolicy
from stillsafe.core.signals import FAILURE, SIGNALS, Signal, reading_key


def _because(default: Any, reason: str) -> Any:
    return field(default=default, metadata={"reason": reason})


RULES_VERSION = 3
"""Version of the rules that decide. Every change to a reading's level or to a step of the state raises it."""

WORDING_VERSION = 5
"""Version of the sentences about decisions."""


EVIDENCE = EvidencePolicy()
"""The numbers of the installed rules. A baseline is made, a window counted and a state read by these."""


class Recovery(StrEnum):
    """What ends DEGRADED."""

    NOT_SEVERE = "not_severe"  #: Runs without a severe reading end it in WARNING, calm ones in NORMAL.
    CALM = "calm"  #: Only calm runs end it.


class Bypass(StrEnum):
    """When a CRITICAL incident bypasses the model."""

    ALWAYS = "always"  #: At once.
    WHEN_IT_PAYS = "when_it_pays"  #: Where only the estimated loss is severe: if the fallback is expected to do better.


@dataclass(frozen=True, slots=True)
class FallbackPrice:
    """How well a fallback answered rows that it was not learnt on.

    Attributes:
        reads: the features that it reads; none of the default answer.
        score: higher is better: the accuracy, or minus a regressor's error as a share of the model's healthy error.
        error: standard error of the difference from the model's score in a later run; None where it is not known.
    """

    reads: tuple[str, ...]
    score: float
    error: float | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules' numbers. A run stores the policy that it used, so that its decision can be recomputed."""

    window_seconds: float = _because(900.0, "Fifteen minutes: long enough to average, short enough to act.")
    every_seconds: float = _because(600.0, "How often the monitor runs; a state is valid for two of these.")
    max_gap_seconds: float = _because(
        1800.0, "Runs further apart than this are not consecutive: a streak towards WARNING or CRITICAL starts anew."
    )
    min_predictions: int = _because(50, "Below fifty rows the noise of a rate exceeds any deviation worth acting on.")
    min_fresh_predictions: int = _because(
        25, "Windows overlap: a run with fewer rows that no earlier run has judged is inconclusive."
    )
    max_carry_seconds: float = _because(
        86400.0, "A row that no conclusive run has judged is carried to the next one for a day at most."
    )
    max_carry_predictions: int = _because(
        100_000,
        "One run judges at most so many new rows, the newest: a monitor that was away must not dilute the present.",
    )
    not_judged_intervals: float = _because(
        6.0, "A request that waits for a conclusive run longer than so many intervals makes its version not judged."
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
    avg_confidence_moderate: float = _because(0.05, "Five points of mean confidence, up or down, need an explanation.")
    avg_confidence_severe: float = _because(0.12, "Twelve points mean that the requests differ from the training data.")
    low_confidence_threshold: float | None = _because(
        None, "A prediction below this is a low-confidence one; auto takes the baseline's 10th percentile."
    )
    low_confidence_rate_moderate: float = _because(0.10, "Ten points more unsure predictions: twice the healthy share.")
    low_confidence_rate_severe: float = _because(0.25, "A quarter more of all predictions are unsure.")
    missing_rate_moderate: float = _because(0.05, "One value in twenty newly missing indicates an upstream fault.")
    missing_rate_severe: float = _because(
        0.25, "Without a quarter of its values a feature is no longer a reliable input."
    )
    unseen_category_rate_moderate: float = _because(0.05, "One value in twenty that the healthy period never showed.")
    unseen_category_rate_severe: float = _because(
        0.25, "A quarter of a feature consists of categories that the model does not know."
    )
    out_of_range_rate_moderate: float = _because(
        0.05, "Healthy traffic has stray values too; one in twenty is a change of unit or source."
    )
    out_of_range_rate_severe: float = _because(0.25, "The model extrapolates on a quarter of its traffic.")
    repeated_value_rate_moderate: float = _because(
        0.25, "Where numbers hardly ever repeat, one number in a quarter of the values is a filled-in default."
    )
    repeated_value_rate_severe: float = _because(0.5, "Half of a feature is a constant and no measurement.")
    broken_relation_rate_moderate: float = _because(
        0.15,
        "A feature that contradicts the others on more rows than this counts as permuted, stale or wrongly joined.",
    )
    broken_relation_rate_severe: float = _because(
        0.5, "On half of the rows the feature's value belongs to another row."
    )
    clock_contradiction_rate_moderate: float = _because(
        0.05, "One value in twenty that is impossible at the time of its request: a stale source, or another time zone."
    )
    distribution_change_moderate: float = _because(
        0.30, "Three values in ten would have to change to match the baseline: other customers, season or unit."
    )
    confidence_change_moderate: float = _because(
        0.20, "A fifth of the confidences has moved: a mean may hide what the whole distribution shows."
    )
    prediction_change_moderate: float = _because(
        0.20, "A fifth of the predictions differ from the healthy distribution."
    )
    estimated_accuracy_loss_moderate: float = _because(
        0.02, "Two points of accuracy: less than half of the five points that matter, an early sign."
    )
    estimated_accuracy_loss_severe: float = _because(
        0.0375, "Three quarters of five points: beyond the error of the estimate, a loss that matters."
    )
    estimated_error_growth_moderate: float = _because(
        0.08, "The mean absolute error has grown by a twelfth: less than half of the fifth that matters."
    )
    estimated_error_growth_severe: float = _because(0.15, "Three quarters of a fifth more error, which matters.")
    estimated_metric_loss_moderate: float = _because(
        0.025, "Half of the five points that matter, of any score between 0 and 1 that the owner chose."
    )
    estimated_metric_loss_severe: float = _because(
        0.05, "Five points matter; a score of few positive rows is estimated less exactly than accuracy."
    )
    harm_moderate: float | None = _because(
        None, "`[harm] moderate`: the owner's limit in the unit of the metric; by default the limits above."
    )
    harm_severe: float | None = _because(None, "`[harm] severe`: the owner's limit in the unit of the metric.")
    realised_loss_moderate: float = _because(
        0.025, "Half of the five points that matter, of a score by labels; an error may grow as an estimated one may."
    )
    realised_loss_severe: float = _because(0.05, "Five points lost by labels are harm itself, and no estimate of it.")
    min_labels: int = _because(
        100, "Fewer new labels wait for a later run: their noise exceeds any loss that is worth acting on."
    )
    label_max_age_seconds: float = _because(
        2592000.0, "Labels of rows older than thirty days say too little about the present to decide anything."
    )
    refusal_rate_moderate: float = _because(
        0.05, "One request in twenty refused: a client that ignores refusals fails silently."
    )
    repeated_row_rate_moderate: float = _because(
        0.25,
        "A quarter of the requests are copies of the same rows: a probe that nobody marked, or a client in a loop.",
    )
    model_error_rate_moderate: float = _because(
        0.02, "A healthy model fails on almost no request: one in fifty is a fault."
    )
    model_error_rate_severe: float = _because(0.10, "Every tenth request already gets the fallback: use it for all.")
    source_deviation_moderate: float = _because(
        0.5, "Where the others are calm, a deviation that loses half without a few clients is theirs: it only warns."
    )
    silence_seconds: float | None = _because(
        None,
        "No request for this long is a deviation, never a severe one: a fallback cannot help without requests. "
        "auto is three times a live baseline's longest pause, at least one window; 0 is never.",
    )
    evidence: EvidencePolicy = field(
        default=EVIDENCE, metadata={"reason": "The numbers that turn counts into evidence."}
    )
    unwatched_features: tuple[str, ...] = _because((), "Features with `watch = false` give no evidence.")
    feature_limits: Mapping[str, float] = field(
        default_factory=dict,
        metadata={"reason": "Reading key -> moderate limit of one feature, in place of the limit for all features."},
    )
    written_limits: tuple[str, ...] = _because(
        (), "Limits that the owner wrote hold, also where the impact can be estimated."
    )
    recovery: Recovery = field(
        default=Recovery.NOT_SEVERE,
        metadata={"reason": "Where the harm is over and only a change stays, the model answers again, with a WARNING."},
    )
    bypass: Bypass = field(
        default=Bypass.ALWAYS,
        metadata={"reason": "An owner's answers may be safer than any estimate; rules that `init` learnt are priced."},
    )
    fallback_prices: tuple[FallbackPrice, ...] = _because(
        (), "Held-out scores of the fallback's rule lists and of its default, to compare with the model's."
    )
    model_score: float | None = _because(None, "The model's held-out score on the rows of the fallback's prices.")
    observe: bool = _because(
        False,
        "In mode observe the model answers in DEGRADED too: its own scores show whether the harm is over.",
    )
    metric: str | None = _because(None, "The metric that the owner chose; by default accuracy or mean absolute error.")

    def problems(self) -> list[str]:
        """What makes this policy unsound, one sentence each; empty when it is sound."""
        return [*self._invalid_numbers(), *self._invalid_combinations(), *self.evidence.problems()]

    @property
    def not_judged_seconds(self) -> float:
        """How long a request may wait for a conclusive run before its version counts as not judged."""
        return self.not_judged_intervals * self.every_seconds

    def effects(
        self, signal: str, feature: str | None = None, *, impact_known: bool = False
    ) -> tuple[float, float | None]:
        """The smallest moderate and severe deviation of a signal that matters; None where it is never severe.

        Where the impact can be estimated, it measures better what a change costs. Then only failures are severe, and
        what the owner wrote.
        """
        rests = impact_known and signal not in FAILURE and f"{signal}_severe" not in self.written_limits
        severe = None if rests else getattr(self, f"{signal}_severe", None)
        moderate = self.feature_limits.get(reading_key(Signal(signal), feature), getattr(self, f"{signal}_moderate"))
        return moderate, None if severe is None else max(moderate, severe)

    def is_written(self, signal: Signal, feature: str | None) -> bool:
        """Whether the owner wrote a limit of the signal, or of its reading of one feature."""
        limits = SIGNALS[signal].limit_fields
        return reading_key(signal, feature) in self.feature_limits or any(
            name in self.written_limits for name in limits
        )

    def _invalid_numbers(self) -> Iterator[str]:
        for f in _numbers():
            value = getattr(self, f.name)
            if value is not None and not 0 <= value < math.inf:
                yield f"{f.name} must be a finite number, zero or more."
            elif f.name in COUNTS and not isinstance(value, int):
                yield f"{f.name} must be a whole number."
            elif f.name in ABOVE_ZERO and value == 0:
                yield f"{f.name} must be above zero."
        if not 0 < self.false_alarm_rate < 0.5:
            yield "false_alarm_rate must lie between 0 and 0.5."

    def _invalid_combinations(self) -> Iterator[str]:
        if self.warning_runs < 2:
            yield "warning_runs must be at least 2: no single anomaly may act."
        if self.critical_runs < 3 or self.critical_runs < self.warning_runs:
            yield "critical_runs must be at least 3 and at least warning_runs."
        if self.warning_recovery_runs < 1 or self.recovery_runs < 1 or self.max_recovery_runs < self.recovery_runs:
            yield "recovery takes at least one calm run, and max_recovery_runs at least recovery_runs."
        if self.max_carry_seconds < self.window_seconds:
            yield "max_carry must be at least the window, or rows of the window are never judged."
        if self.max_gap_seconds < self.every_seconds:
            yield "max_gap must be at least the interval between runs, or no two runs are ever consecutive."
        for row in SIGNALS.values():
            match row.limit_fields:
                case (moderate, severe) if getattr(self, moderate) > getattr(self, severe):
                    yield f"{moderate} must not exceed {severe}."


NOT_NUMBERS = (
    "evidence",
    "unwatched_features",
    "feature_limits",
    "written_limits",
    "recovery",
    "bypass",
    "fallback_prices",
    "model_score",
    "observe",
    "metric",
)
"""Fields of the policy that are no number of their own."""

COUNTS = (
    "min_predictions",
    "min_fresh_predictions",
    "max_carry_predictions",
    "min_labels",
    "warning_runs",
    "critical_runs",
    "warning_recovery_runs",
    "recovery_runs",
    "relapse_runs",
    "max_recovery_runs",
)

ABOVE_ZERO = (
    "window_seconds",
    "every_seconds",
    "max_gap_seconds",
    "max_carry_seconds",
    "max_carry_predictions",
    "min_labels",
    "label_max_age_seconds",
    "not_judged_intervals",
    "min_predictions",
    "min_fresh_predictions",
)


def _numbers() -> Iterator[Field[Any]]:
    """The fields of the policy that a person may set."""
    return (f for f in fields(Policy) if f.name not in NOT_NUMBERS)


def reasons() -> dict[str, tuple[Any, str]]:
    """Name -> (default, reason) of every number in the policy that a person may set, in order."""
    return {f.name: (f.default, f.metadata["reason"]) for f in _numbers()}


def evidence_reasons() -> dict[str, tuple[Any, str]]:
    """Name -> (value, reason) of every number of the policy's `evidence` section, in order."""
    return {f.name: (f.default, f.metadata["reason"]) for f in fields(EvidencePolicy)}
