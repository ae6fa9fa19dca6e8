"""What healthy looks like: aggregated statistics of a period known to be good, never its rows.

A baseline belongs to one model version and is frozen when made.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from stillsafe.core.schema import FeatureType


class BaselineSource(StrEnum):
    """Where a baseline's rows came from."""

    REFERENCE = "reference"
    FIRST = "first"
    SPAN = "span"


@dataclass(frozen=True, slots=True)
class FeatureBaseline:
    """One feature in the healthy period.

    Attributes:
        type: the kind of value, or None where only missing values could be seen (a hashed number).
        value_count: values that were present.
        missing_count: values that were missing.
        minimum, maximum: range seen, of a number; None where there was none.
        category_counts: how often each category was seen.
    """

    type: FeatureType | None
    value_count: int
    missing_count: int
    minimum: float | None = None
    maximum: float | None = None
    category_counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def missing_rate(self) -> float:
        """Share of missing values, in [0, 1]."""
        seen = self.value_count + self.missing_count
        return self.missing_count / seen if seen else 0.0

    @property
    def expected_unseen_rate(self) -> float:
        """Chance that the next healthy value is a category not seen yet: the share of categories seen once.

        Source: I. J. Good, "The population frequencies of species and the estimation of population
        parameters", Biometrika 40 (1953); the Good-Turing estimate.
        """
        once = sum(1 for count in self.category_counts.values() if count == 1)
        return once / self.value_count if self.value_count else 0.0

    @property
    def expected_out_of_range_rate(self) -> float:
        """Chance that the next healthy number lies outside the range of the `value_count` seen: 2 / (n + 1).

        Exact for exchangeable continuous values, since each is equally likely to be the new extreme
        (S. S. Wilks, "Determination of sample sizes for setting tolerance limits", 1941).
        """
        return 2 / (self.value_count + 1)


@dataclass(frozen=True, slots=True)
class Baseline:
    """The healthy period in numbers.

    Attributes:
        baseline_id: its identifier.
        model_version: the only version that it speaks for.
        created_at: when it was made, aware UTC.
        source: where the rows came from.
        sample_size: predictions used.
        confidence_count: those with a confidence.
        avg_confidence, confidence_sd: mean and standard deviation of the confidence, or None without any.
        low_confidence_threshold: a confidence below this is low.
        low_confidence_rate: share of low confidences, in [0, 1].
        refusal_count: requests refused in the period, besides `sample_size` served.
        model_error_count: predictions on which the model failed.
        features: one entry per watched feature.
        variation: per reading key, the standard deviation from one stretch of the period to the next
            beyond what sampling explains; a key that is absent varies by nothing.
        longest_pause_seconds: longest time without a request, or None where unknown.
        prediction_counts: how often each answer was given (classes only).
    """

    baseline_id: str
    model_version: str
    created_at: datetime
    source: BaselineSource
    sample_size: int
    confidence_count: int
    avg_confidence: float | None
    confidence_sd: float | None
    low_confidence_threshold: float | None
    low_confidence_rate: float | None
    refusal_count: int = 0
    model_error_count: int = 0
    features: Mapping[str, FeatureBaseline] = field(default_factory=dict)
    variation: Mapping[str, float] = field(default_factory=dict)
    longest_pause_seconds: float | None = None
    prediction_counts: Mapping[str, int] = field(default_factory=dict)
