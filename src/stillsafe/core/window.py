"""The most recent traffic in the statistics of the baseline, over `[start, end)`.

Windows overlap: fifteen minutes every ten. A window therefore has two tallies, so that one burst is never evidence
twice: `total` over all its rows, for people; `fresh` over those that no conclusive run has judged, for decisions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from stillsafe.core.evidence.label_tally import LabelTally


@dataclass(frozen=True, slots=True)
class FeatureTally:
    """Counts of one feature's values against its baseline.

    Attributes:
        value_count: values that were present.
        missing_count: values that were missing.
        unseen_count: values whose category is not in the baseline.
        below_count, above_count: numbers outside the baseline's range.
        bin_counts: values in each of the baseline's bins.
        commonest: the most frequent number with its count, or None; the number is None where it is erased.
        clock_count: of a clock feature, values whose time the baseline knows.
        contradiction_count: of these, the ones that contradict the time of their request.
        claim_deviations: of an hour, standard errors by which the other features of these rows fit the hour that they
            claim better than the hour of their request; below zero where they fit the latter better.
        unseen_examples: a few unseen categories with their counts. Client-controlled text: data, never markup.
    """

    value_count: int = 0
    missing_count: int = 0
    unseen_count: int = 0
    below_count: int = 0
    above_count: int = 0
    unseen_examples: Mapping[str, int] = field(default_factory=dict)
    bin_counts: tuple[int, ...] = ()
    commonest: tuple[float | None, int] | None = None
    clock_count: int = 0
    contradiction_count: int = 0
    claim_deviations: float = 0.0


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts and sums over a set of requests. Independent of their order.

    Attributes:
        prediction_count: requests answered.
        repeated_count: of these, the unexplained copies of repeated rows. All fields below leave them out, except the
            `fallback_count`.
        judged_copy_count: unexplained copies that are evidence nevertheless, because hardly another row came.
        confidence_count: of these, the ones with a confidence (logged, or scored afterwards by the shadow).
        confidence_sum, confidence_square_sum: exact sums (`math.fsum`) over them.
        low_confidence_count: of these, the ones below the baseline's threshold.
        model_error_count: requests on which the model failed.
        fallback_count: requests answered by the fallback.
        refusal_count: requests refused, in addition to `prediction_count`.
        features: one entry per feature that occurred.
        prediction_counts: how often each prediction occurred (classes only).
        outputs: the model's `confidence` and `prediction`, tallied as features are.
        prediction_sum: sum of a regressor's predictions.
        agreement: for every two features of the baseline's joint table, the PMI of their bins summed over the rows (see
            `association`): the upper triangle row by row.
    """

    prediction_count: int = 0
    confidence_count: int = 0
    confidence_sum: float = 0.0
    confidence_square_sum: float = 0.0
    low_confidence_count: int = 0
    model_error_count: int = 0
    fallback_count: int = 0
    refusal_count: int = 0
    features: Mapping[str, FeatureTally] = field(default_factory=dict)
    prediction_counts: Mapping[str, int] = field(default_factory=dict)
    outputs: Mapping[str, FeatureTally] = field(default_factory=dict)
    prediction_sum: float = 0.0
    agreement: tuple[float, ...] = ()
    repeated_count: int = 0
    judged_copy_count: int = 0

    @property
    def judged_count(self) -> int:
        """Requests that are evidence."""
        return self.prediction_count - self.repeated_count

    @property
    def avg_confidence(self) -> float | None:
        """Mean confidence in [0, 1], or None without any."""
        return self.confidence_sum / self.confidence_count if self.confidence_count else None

    @property
    def low_confidence_rate(self) -> float | None:
        """Share of low confidences in [0, 1], or None without any."""
        return self.low_confidence_count / self.confidence_count if self.confidence_count else None

    @property
    def unseen_categories(self) -> bool:
        """Whether any category is not in the baseline."""
        return any(feature.unseen_count for feature in self.features.values())


@dataclass(frozen=True, slots=True)
class Window:
    """The most recent traffic of one model version.

    Attributes:
        start, end: aware UTC; `start` belongs to it, `end` does not.
        model_version: the version whose rows are counted.
        total: over all rows of the window.
        fresh: over the rows that no conclusive run has judged.
        shadow: whether the monitor scored bypassed rows afterwards.
        silent_seconds: time from the last request to `end`, or None without any request.
        oldest_unjudged_at: time of the oldest request that no conclusive run has judged, synthetic ones included.
        late_count: fresh rows whose time an earlier conclusive run had covered.
        expired_count: rows that grew too old before any run judged them.
        synthetic_count: requests that the clients marked as no evidence.
        clock_jump: whether the clock moved on by more than a day without a request, so that it may be wrong.
        min_count: a category or a number stands in it only if so many values share it.
        slot_counts: fresh rows by the slot of their own time (see `slot_table`); empty where no times are known.
        source_count: clients that sent fresh rows, where they are known.
        sources: fresh rows of the largest of them, by their hashed identity.
        outliers: fresh rows of the sources without which the window may be calm, by their hashed identity.
        rest: the window of all other rows, where there are outliers.
        labels: the rows whose labels have come since the last labelled run, whatever their time; None without any.
    """

    start: datetime
    end: datetime
    model_version: str
    total: Tally
    fresh: Tally
    shadow: bool = False
    silent_seconds: float | None = None
    oldest_unjudged_at: datetime | None = None
    late_count: int = 0
    expired_count: int = 0
    synthetic_count: int = 0
    clock_jump: bool = False
    slot_counts: Mapping[str, int] = field(default_factory=dict)
    min_count: int = 1
    source_count: int = 0
    sources: Mapping[str, int] = field(default_factory=dict)
    outliers: Mapping[str, int] = field(default_factory=dict)
    rest: "Window | None" = None
    labels: LabelTally | None = None
