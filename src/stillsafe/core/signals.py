"""What is watched, and what is said about it in one run: a signal, its reading, and how far it lies from healthy."""

import math
from dataclasses import dataclass
from enum import StrEnum

from stillsafe.core.policy import Policy
from stillsafe.core.window import Window


class Signal(StrEnum):
    """What is watched."""

    AVG_CONFIDENCE = "avg_confidence"
    LOW_CONFIDENCE_RATE = "low_confidence_rate"
    MISSING_RATE = "missing_rate"
    UNSEEN_CATEGORY_RATE = "unseen_category_rate"
    OUT_OF_RANGE_RATE = "out_of_range_rate"
    REPEATED_VALUE_RATE = "repeated_value_rate"
    BROKEN_RELATION_RATE = "broken_relation_rate"
    DISTRIBUTION_CHANGE = "distribution_change"
    CONFIDENCE_CHANGE = "confidence_change"
    PREDICTION_CHANGE = "prediction_change"
    ESTIMATED_ACCURACY_LOSS = "estimated_accuracy_loss"
    ESTIMATED_ERROR_GROWTH = "estimated_error_growth"
    REFUSAL_RATE = "refusal_rate"
    MODEL_ERROR_RATE = "model_error_rate"
    SILENCE_SECONDS = "silence_seconds"


DAMAGE = frozenset(
    {
        Signal.MISSING_RATE,
        Signal.UNSEEN_CATEGORY_RATE,
        Signal.OUT_OF_RANGE_RATE,
        Signal.REPEATED_VALUE_RATE,
        Signal.BROKEN_RELATION_RATE,
    }
)
"""Signals that say that a feature's values are no longer to be trusted, not only that other ones come."""

FAILURE = frozenset(
    {
        Signal.ESTIMATED_ACCURACY_LOSS,
        Signal.ESTIMATED_ERROR_GROWTH,
        Signal.REFUSAL_RATE,
        Signal.MODEL_ERROR_RATE,
    }
)
"""Signals of harm itself: where harm can be estimated, only these are ever severe."""


class Level(StrEnum):
    """How far one reading lies from healthy."""

    NONE = "NONE"
    MODERATE = "MODERATE"
    SEVERE = "SEVERE"


class Evidence(StrEnum):
    """What a reading, or a whole run, says: calm, deviating, or too little to say."""

    OK = "OK"
    BAD = "BAD"
    INSUFFICIENT = "INSUFFICIENT"


@dataclass(frozen=True, slots=True)
class Reading:
    """One signal in one run. Numbers are rounded to six digits, so that stored and recomputed ones agree.

    Attributes:
        signal: what was read.
        feature: of which feature, or None where the signal is about all requests.
        evidence: calm, deviating or too little to say.
        level: how far from healthy; `NONE` unless the evidence is `BAD`.
        value: now, or None where it cannot be told.
        reference: in the healthy baseline, or None where it cannot be told.
        moderate_limit, severe_limit: distance from the reference beyond which the level is reached;
            None where a level cannot be reached.
        sample_count: requests or values behind `value`.
        instead_of: features that may be damaged in place of this one: nothing tells which.
    """

    signal: Signal
    feature: str | None
    evidence: Evidence
    level: Level
    value: float | None
    reference: float | None
    moderate_limit: float | None
    severe_limit: float | None
    sample_count: int
    instead_of: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Identifies the signal from run to run."""
        return self.signal.value if self.feature is None else f"{self.signal.value}:{self.feature}"


def run_evidence(policy: Policy, window: Window, readings: tuple[Reading, ...]) -> Evidence:
    """What a run says as a whole: BAD if any reading is; else OK only if there were rows enough to be calm about."""
    if any(reading.evidence is Evidence.BAD for reading in readings):
        return Evidence.BAD
    enough = (
        bool(readings)
        and math.isfinite(window.fresh.confidence_sum)
        and window.total.prediction_count >= policy.min_predictions
        and window.fresh.prediction_count >= policy.min_fresh_predictions
    )
    return Evidence.OK if enough else Evidence.INSUFFICIENT
