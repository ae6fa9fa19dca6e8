"""The healthy period in aggregated statistics, never in rows.

A baseline belongs to one model version and does not change after it is made.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from stillsafe.core.evidence.bins import Bins
from stillsafe.core.evidence.impact import PerformanceImpact
from stillsafe.core.evidence.new_values import NewValues
from stillsafe.core.evidence.slot_table import ClockFeature, SlotTable
from stillsafe.core.evidence.view import View
from stillsafe.core.schema import FeatureType


class BaselineSource(StrEnum):
    """Where a baseline's rows came from."""

    REFERENCE = "reference"  #: A file with labelled rows, at `init`.
    FIRST = "first"  #: The first predictions of a model version.
    SPAN = "span"  #: The predictions of a given period.


@dataclass(frozen=True, slots=True)
class FeatureBaseline:
    """One feature in the healthy period.

    Attributes:
        type: the kind of value, or None where only missing values were visible (a hashed number).
        value_count: values that were present.
        missing_count: values that were missing.
        minimum, maximum: range of the numbers; None where there was none. Each end is shared by `min_count` values.
        category_counts: how often each category occurred, each whole code, or each form of an open-ended text, unless
            fewer than the baseline's `min_count` values share it.
        bins: the bins of its values, or None in a baseline of an older version.
        bin_counts: values in each bin.
        distinct_count: how many different numbers occurred.
        frequent: the most frequent numbers with their counts, most frequent first, down to `min_count`.
        rare_categories: salted hashes of the rarer categories, which are known too.
        single_count: rarer categories that occurred once.
        unlisted_count: values of categories that are neither in `category_counts` nor in `rare_categories`.
        unlisted_most: how often a value that is in neither list occurred at most; None in an older baseline.
        outside_count: healthy numbers outside the range.
        view: how it is computed, where it is a view of another feature; None of a feature itself.
        new_values: how many values are new because time has passed; None in an older baseline and without times.
    """

    type: FeatureType | None
    value_count: int
    missing_count: int
    minimum: float | None = None
    maximum: float | None = None
    category_counts: Mapping[str, int] = field(default_factory=dict)
    bins: Bins | None = None
    bin_counts: tuple[int, ...] = ()
    distinct_count: int = 0
    frequent: tuple[tuple[float, int], ...] = ()
    rare_categories: tuple[str, ...] = ()
    single_count: int = 0
    unlisted_count: int = 0
    unlisted_most: int | None = None
    outside_count: int = 0
    view: View | None = None
    new_values: NewValues | None = None

    @property
    def is_categorical(self) -> bool:
        """Whether its values are watched one by one: categories, whole codes, or the forms of a text."""
        return self.type is FeatureType.CATEGORY or bool(self.category_counts or self.rare_categories)

    @property
    def missing_rate(self) -> float:
        """Share of missing values, in [0, 1]."""
        count = self.value_count + self.missing_count
        return self.missing_count / count if count else 0.0

    @property
    def expected_unseen_rate(self) -> float:
        """Probability that the next healthy value is a category that the baseline does not know, were no time to pass.

        The share of values whose category occurred once, and of those whose category is not listed. Source: I. J.
        Good, "The population frequencies of species and the estimation of population parameters", Biometrika 40
        (1953); the Good-Turing estimate.
        """
        singles = self.single_count + sum(1 for count in self.category_counts.values() if count == 1)
        return (singles + self.unlisted_count) / self.value_count if self.value_count else 0.0

    @property
    def expected_out_of_range_rate(self) -> float:
        """Probability that the next healthy number is outside the range: of `value_count` numbers, 2 / (n + 1).

        Each number outside the range adds 1 / (n + 1). Exact for exchangeable continuous values, since each is equally
        likely to be the new extreme (S. S. Wilks, "Determination of sample sizes for setting tolerance limits", 1941).
        """
        return (self.outside_count + 2) / (self.value_count + 1)

    def usual_rate(self, number: float) -> float:
        """Share of the values that were this number, in [0, 1]; an upper limit for a number not in `frequent`."""
        last = self.frequent[-1][1] if len(self.frequent) < self.distinct_count and self.frequent else 0
        most = last if self.unlisted_most is None else self.unlisted_most
        return dict(self.frequent).get(number, most) / self.value_count if self.value_count else 0.0


@dataclass(frozen=True, slots=True)
class Joint:
    """How often the bins of two features occurred in the same row, for every two features.

    Attributes:
        features: the features, in order; each has bins.
        counts: the upper triangle of the symmetric table over all their bins, row by row from the diagonal on.
        row_sd: per feature, the standard deviation of one row's broken share (see `association`), measured on rows that
            were not in the table.
    """

    features: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    row_sd: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Baseline:
    """The statistics of a healthy period.

    Attributes:
        baseline_id: its identifier.
        model_version: the version that it belongs to.
        created_at: when it was made, aware UTC.
        source: where the rows came from.
        sample_size: predictions used.
        confidence_count: those with a confidence.
        avg_confidence, confidence_sd: mean and standard deviation of the confidence, or None without any.
        low_confidence_threshold: a confidence below this is low.
        low_confidence_rate: share of low confidences, in [0, 1].
        refusal_count: requests refused in the period, in addition to the `sample_size` predictions.
        model_error_count: predictions on which the model failed.
        features: one entry per watched feature.
        variation: per reading key, the standard deviation from one chunk of the period to the next beyond what
            sampling explains; 0 for an absent key.
        longest_pause_seconds: longest time without a request, or None where unknown.
        prediction_counts: how often each prediction occurred (classes only).
        outputs: the model's `confidence` and `prediction`, profiled as features are.
        prediction_mean, prediction_sd: of a regressor's predictions, or None.
        joint: how often bins occurred together, or None where that is not known.
        offset: per reading key, the value that healthy rows show on average where it is not zero.
        harm: the results of the impact study, or None without one.
        slots: the period by hour, or None where the times of its rows are not known.
        clock: the features that the clock determines.
        is_hour_known: whether the period has the hours of a composed baseline, so that distributions can be compared.
        effective_size: rows that stand behind the shares of a composed baseline (`slots.composed_baseline`), or None.
        min_count: a category, a number or the end of a range stands in it only if so many values share it.
        answer_impact: of an external model, which has no impact study, the performance of its answers by the labels of
            the sample; it has no features. None without labels.
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
    outputs: Mapping[str, FeatureBaseline] = field(default_factory=dict)
    prediction_mean: float | None = None
    prediction_sd: float | None = None
    joint: Joint | None = None
    offset: Mapping[str, float] = field(default_factory=dict)
    harm: PerformanceImpact | None = None
    slots: SlotTable | None = None
    clock: Mapping[str, ClockFeature] = field(default_factory=dict)
    effective_size: int | None = None
    is_hour_known: bool = True
    min_count: int = 1
    answer_impact: PerformanceImpact | None = None
