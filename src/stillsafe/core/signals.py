"""What is monitored, and its result in one run: the signals in one table, the reading of a signal, its level.

To add a signal: its member and its row in `SIGNALS` here, its limits in `policy`, its measurement in `readings`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from stillsafe.core.evidence.impact_part import ImpactPart
from stillsafe.core.evidence.label_tally import Truth
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.evidence.signal_kinds import Group as Group
from stillsafe.core.evidence.signal_kinds import Subject as Subject
from stillsafe.core.evidence.signal_kinds import Unit as Unit

DIGITS = 6
"""Decimals of every reading: values are rounded before they are compared and stored."""


class Signal(StrEnum):
    """What is monitored. `SIGNALS` describes each."""

    AVG_CONFIDENCE = "avg_confidence"  #: Mean confidence of the predictions.
    LOW_CONFIDENCE_RATE = "low_confidence_rate"  #: Share of predictions below the baseline's low-confidence threshold.
    MISSING_RATE = "missing_rate"  #: Share of a feature's values that are missing.
    UNSEEN_CATEGORY_RATE = "unseen_category_rate"  #: Share of a feature's values that the baseline does not contain.
    OUT_OF_RANGE_RATE = "out_of_range_rate"  #: Share of a feature's numbers outside the baseline's range.
    REPEATED_VALUE_RATE = "repeated_value_rate"  #: Share of a feature's numbers that are one and the same number.
    CLOCK_CONTRADICTION_RATE = (
        "clock_contradiction_rate"  #: Share of a clock feature's values that contradict the clock.
    )
    BROKEN_RELATION_RATE = "broken_relation_rate"  #: Share of rows whose value does not fit the other features.
    DISTRIBUTION_CHANGE = "distribution_change"  #: Total variation distance of a feature from the baseline.
    CONFIDENCE_CHANGE = "confidence_change"  #: Total variation distance of the confidence from the baseline.
    PREDICTION_CHANGE = "prediction_change"  #: Total variation distance of the predictions from the baseline.
    ESTIMATED_ACCURACY_LOSS = "estimated_accuracy_loss"  #: Estimated loss of a classifier's accuracy.
    ESTIMATED_ERROR_GROWTH = (
        "estimated_error_growth"  #: Estimated relative growth of a regressor's mean absolute error.
    )
    ESTIMATED_METRIC_LOSS = "estimated_metric_loss"  #: Estimated loss in the metric that the owner chose.
    REALISED_LOSS = "realised_loss"  #: Loss of the model's answers by the labels that have come.
    REPEATED_ROW_RATE = "repeated_row_rate"  #: Share of requests that are unexplained copies of the same rows.
    REFUSAL_RATE = "refusal_rate"  #: Share of requests that the schema refused.
    MODEL_ERROR_RATE = "model_error_rate"  #: Share of predictions on which the model failed.
    SOURCE_DEVIATION = "source_deviation"  #: Share of a deviation that a few clients cause, while all others are calm.
    SILENCE_SECONDS = "silence_seconds"  #: Time since the last request.


class Level(StrEnum):
    """How far one reading is from healthy."""

    NONE = "NONE"  #: Within the limits, or not judged.
    MODERATE = "MODERATE"  #: Beyond the moderate limit.
    SEVERE = "SEVERE"  #: Beyond the severe limit.


class Evidence(StrEnum):
    """What a reading, or a whole run, is evidence of."""

    OK = "OK"  #: Healthy.
    BAD = "BAD"  #: A deviation.
    INSUFFICIENT = "INSUFFICIENT"  #: Too little data to judge.


@dataclass(frozen=True, slots=True)
class Reading:
    """One signal in one run. Numbers are rounded to six digits, so that stored and recomputed ones agree.

    Attributes:
        signal: what was measured.
        feature: of which feature, or None where the signal is about all requests.
        evidence: healthy, a deviation, or too little data.
        level: how far from healthy; `NONE` unless the evidence is `BAD`.
        value: in the window, or None where it cannot be measured.
        reference: in the healthy baseline, or None where it cannot be measured.
        moderate_limit, severe_limit: distance from the reference beyond which the level is reached;
            None where a level cannot be reached.
        sample_count: requests or values behind `value`.
        instead_of: features that may be damaged in place of this one, where the data does not show which is.
        corruption: of an estimated loss, the part that damage causes, in the unit of `value`; None where not known.
        standard_error: of an estimated loss, in the unit of `value`; None where not known.
        parts: of an estimated loss.
        noise: distance from the reference that noise explains, or None where the limits do not count it.
        metric: of a realised loss, and of an estimated loss by the metric that the owner chose.
        healthy_performance: in the healthy period by this metric.
        sources: of a deviation that a few clients cause, their hashed identities.
        source_keys: keys of the readings that deviate with their rows, and not without them.
        is_change: whether the value is unusual, though what it could cost is below what matters: recorded, no alarm.
        truth: of a realised loss, the rows whose labels have come.
        shares_before: of broken relations, what the runs before showed that are judged together with this one.
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
    corruption: float | None = None
    standard_error: float | None = None
    parts: tuple[ImpactPart, ...] = ()
    noise: float | None = None
    is_change: bool = False
    metric: str | None = None
    healthy_performance: float | None = None
    sources: tuple[str, ...] = ()
    source_keys: tuple[str, ...] = ()
    truth: Truth | None = None
    shares_before: tuple[float, ...] = ()

    @property
    def key(self) -> str:
        """Identifies the signal from run to run."""
        return reading_key(self.signal, self.feature)


def reading_key(signal: Signal, feature: str | None) -> str:
    """The key of a signal's reading: `missing_rate:temp`, `refusal_rate`."""
    return f"{signal}" if feature is None else f"{signal}:{feature}"


@dataclass(frozen=True, slots=True)
class SignalRow:
    """One row of the signal table.

    Attributes:
        label: the name on the dashboard.
        unit: how its numbers are shown.
        subject: what it is about.
        sentence: a deviation in words. `incident.sentence` fills in the placeholders.
        cause: what usually causes it. The observer fills in `{name}`, `{examples}` and `{repeated}`.
        remedy: what to check first, with `{name}`.
        group: what a deviation means.
        limit_fields: the policy's fields with its limits; each has its default and its reason there.
        two_sided: whether a value below the reference is a deviation too.
        rebuttable: whether the reading is healthy where all other features have shifted along with its feature.
        output: the model output whose distribution it compares, `confidence` or `prediction`.
        metric: the performance metric whose loss it estimates.
        reference: the word for the reference: the baseline's value, what is expected of healthy rows, or by chance.
    """

    label: str
    unit: Unit
    subject: Subject
    sentence: str
    cause: str
    remedy: str
    group: Group = Group.CHANGE
    limit_fields: tuple[str, ...] = ()
    two_sided: bool = False
    rebuttable: bool = False
    output: str | None = None
    metric: str | None = None
    reference: str = "baseline"


_RATE = "{value:.1%} of {count}"
_SHIFT = "total variation distance {value:.2f} from the baseline over {count} predictions ({limits})"
_UNSURE = "The model is unsure: the requests differ from its training data."
_OTHER_REQUESTS = (
    "The requests differ from the healthy period: other customers, a season, a campaign, or a damaged input."
)
_UNFIT = "The model no longer fits the requests."
_COMPARE = "Compare today's inputs with the healthy period, the deviating features first."
_VERIFY = (
    "The loss is an estimate without today's labels: as soon as some are known, run `stillsafe backtest` on them to "
    "measure the real loss."
)

SIGNALS: Mapping[Signal, SignalRow] = {
    Signal.AVG_CONFIDENCE: SignalRow(
        label="Mean confidence",
        unit=Unit.SCORE,
        subject=Subject.OUTPUT,
        sentence="Mean confidence {value:.3f} over {count} predictions ({limits}).",
        cause=_UNSURE,
        remedy=_COMPARE,
        limit_fields=("avg_confidence_moderate", "avg_confidence_severe"),
        two_sided=True,
    ),
    Signal.LOW_CONFIDENCE_RATE: SignalRow(
        label="Low confidence",
        unit=Unit.SHARE,
        subject=Subject.OUTPUT,
        sentence=f"Low confidence in {_RATE} predictions ({{limits}}).",
        cause=_UNSURE,
        remedy=_COMPARE,
        limit_fields=("low_confidence_rate_moderate", "low_confidence_rate_severe"),
    ),
    Signal.MISSING_RATE: SignalRow(
        label="Missing values",
        unit=Unit.SHARE,
        subject=Subject.FEATURE,
        sentence=f"{{feature}} is missing in {_RATE} predictions ({{limits}}).",
        cause="The feed of {name} has failed, or its field was renamed: its values no longer arrive.",
        remedy="Check the source of {name} and its last deployment.",
        group=Group.DAMAGE,
        limit_fields=("missing_rate_moderate", "missing_rate_severe"),
    ),
    Signal.UNSEEN_CATEGORY_RATE: SignalRow(
        label="Unseen categories",
        unit=Unit.SHARE,
        subject=Subject.FEATURE,
        sentence=f"{{feature}} has a category unseen in the baseline in {_RATE} values ({{limits}}).",
        cause="{name} has values unseen in the healthy period{examples}: a new spelling, code or product.",
        remedy="Check the new values of {name}: map them to known ones, or retrain with them.",
        group=Group.DAMAGE,
        limit_fields=("unseen_category_rate_moderate", "unseen_category_rate_severe"),
        reference="expected",
    ),
    Signal.OUT_OF_RANGE_RATE: SignalRow(
        label="Out of healthy range",
        unit=Unit.SHARE,
        subject=Subject.FEATURE,
        sentence=f"{{feature}} is outside its healthy range in {_RATE} values ({{limits}}).",
        cause="The unit, the scale or the source of {name} has changed.",
        remedy="Compare the unit and the scale of {name} with the healthy period.",
        group=Group.DAMAGE,
        limit_fields=("out_of_range_rate_moderate", "out_of_range_rate_severe"),
        rebuttable=True,
        reference="expected",
    ),
    Signal.REPEATED_VALUE_RATE: SignalRow(
        label="Repeated number",
        unit=Unit.SHARE,
        subject=Subject.FEATURE,
        sentence=f"{{feature}} repeats one number in {_RATE} values ({{limits}}).",
        cause="{name} repeats one number{repeated} as a default does that replaces a failed feed, or a stuck sensor.",
        remedy="Check the source of {name}: find what fills in the constant, and why.",
        group=Group.DAMAGE,
        limit_fields=("repeated_value_rate_moderate", "repeated_value_rate_severe"),
        rebuttable=True,
        reference="expected",
    ),
    Signal.CLOCK_CONTRADICTION_RATE: SignalRow(
        label="Contradicts the clock",
        unit=Unit.SHARE,
        subject=Subject.FEATURE,
        sentence=f"{{feature}} contradicts the time of the request in {_RATE} values ({{limits}}).",
        cause="The source of {name} is late, repeats old values, or has another time zone than the service.",
        remedy="Compare {name} with the time of the requests, and check the time zone of its source.",
        group=Group.DAMAGE,
        limit_fields=("clock_contradiction_rate_moderate",),
        reference="expected",
    ),
    Signal.BROKEN_RELATION_RATE: SignalRow(
        label="Broken relations",
        unit=Unit.SHARE,
        subject=Subject.FEATURE,
        sentence=f"{{feature}} does not fit the other features in {_RATE} predictions ({{limits}}).",
        cause=(
            "Each value of {name} is plausible but belongs to another row: a wrong join key, a stale or shuffled "
            "column, or two swapped columns."
        ),
        remedy="Check how {name} is joined to its rows.",
        group=Group.DAMAGE,
        limit_fields=("broken_relation_rate_moderate", "broken_relation_rate_severe"),
        reference="expected",
    ),
    Signal.DISTRIBUTION_CHANGE: SignalRow(
        label="Distribution",
        unit=Unit.DISTANCE,
        subject=Subject.FEATURE,
        sentence=f"The distribution of {{feature}} shifted: {_SHIFT}.",
        cause="The population of {name} has changed: other customers, a season, a campaign.",
        remedy="Check whether {name} may have changed for a good reason.",
        limit_fields=("distribution_change_moderate",),
        reference="by chance",
    ),
    Signal.CONFIDENCE_CHANGE: SignalRow(
        label="Distribution of confidence",
        unit=Unit.DISTANCE,
        subject=Subject.OUTPUT,
        sentence=f"The confidence distribution shifted: {_SHIFT}.",
        cause=_OTHER_REQUESTS,
        remedy=_COMPARE,
        limit_fields=("confidence_change_moderate",),
        output="confidence",
        reference="by chance",
    ),
    Signal.PREDICTION_CHANGE: SignalRow(
        label="Distribution of predictions",
        unit=Unit.DISTANCE,
        subject=Subject.OUTPUT,
        sentence=f"The prediction distribution shifted: {_SHIFT}.",
        cause=_OTHER_REQUESTS,
        remedy=_COMPARE,
        limit_fields=("prediction_change_moderate",),
        output="prediction",
        reference="by chance",
    ),
    Signal.ESTIMATED_ACCURACY_LOSS: SignalRow(
        label="Estimated accuracy loss",
        unit=Unit.POINTS,
        subject=Subject.OUTPUT,
        sentence="Estimated accuracy{performance} {loss:.1f} points lost over {count} predictions ({limits}).",
        cause=_UNFIT,
        remedy=_VERIFY,
        group=Group.FAILURE,
        limit_fields=("estimated_accuracy_loss_moderate", "estimated_accuracy_loss_severe"),
        metric="accuracy",
    ),
    Signal.ESTIMATED_ERROR_GROWTH: SignalRow(
        label="Estimated error growth",
        unit=Unit.GROWTH,
        subject=Subject.OUTPUT,
        sentence="Estimated mean absolute error{performance} {loss:.0f}% higher over {count} predictions ({limits}).",
        cause=_UNFIT,
        remedy=_VERIFY,
        group=Group.FAILURE,
        limit_fields=("estimated_error_growth_moderate", "estimated_error_growth_severe"),
        metric="mean_absolute_error",
    ),
    Signal.ESTIMATED_METRIC_LOSS: SignalRow(
        label="Estimated loss",
        unit=Unit.LOSS,
        subject=Subject.OUTPUT,
        sentence="Estimated {metric}{performance} {value:.3g} lost over {count} predictions ({limits}).",
        cause=_UNFIT,
        remedy=_VERIFY,
        group=Group.FAILURE,
        limit_fields=("estimated_metric_loss_moderate", "estimated_metric_loss_severe"),
    ),
    Signal.REALISED_LOSS: SignalRow(
        label="Realised loss",
        unit=Unit.LOSS,
        subject=Subject.OUTPUT,
        sentence="By the labels of {count} predictions{truth}, {metric}{performance} {value:.3g} lost ({limits}).",
        cause="The same inputs have another truth than before: the world has changed, and the model has not.",
        remedy="Train the model again with the labels that have come, and check first that the labels are right.",
        group=Group.FAILURE,
        limit_fields=("realised_loss_moderate", "realised_loss_severe"),
    ),
    Signal.REPEATED_ROW_RATE: SignalRow(
        label="Repeated rows",
        unit=Unit.SHARE,
        subject=Subject.TRAFFIC,
        sentence=f"The same row again and again in {_RATE} predictions ({{limits}}).",
        cause="A probe, a health check or a client in a loop sends one row again and again, or a whole feed is dead.",
        remedy="Find who repeats one row: mark a probe as synthetic, and repair a client in a loop or a feed.",
        group=Group.CLIENT,
        limit_fields=("repeated_row_rate_moderate",),
        reference="expected",
    ),
    Signal.REFUSAL_RATE: SignalRow(
        label="Refused requests",
        unit=Unit.SHARE,
        subject=Subject.TRAFFIC,
        sentence=f"The schema refused {_RATE} requests ({{limits}}).",
        cause="A client was changed and now violates the schema.",
        remedy="Check the refusals by feature and kind, and contact the clients that send them.",
        group=Group.CLIENT,
        limit_fields=("refusal_rate_moderate",),
    ),
    Signal.MODEL_ERROR_RATE: SignalRow(
        label="Model errors",
        unit=Unit.SHARE,
        subject=Subject.TRAFFIC,
        sentence=f"The model failed on {_RATE} predictions ({{limits}}).",
        cause="The model itself fails: a library or a file has changed, or an input that it cannot process.",
        remedy="Check the model's errors in the log, then the last deployment.",
        group=Group.FAILURE,
        limit_fields=("model_error_rate_moderate", "model_error_rate_severe"),
    ),
    Signal.SOURCE_DEVIATION: SignalRow(
        label="Deviation of single clients",
        unit=Unit.SHARE,
        subject=Subject.TRAFFIC,
        sentence="{value:.0%} of the deviating rows of {count} predictions come from {sources} ({limits}){deviations}.",
        cause="One client differs from all others: it was changed, it is tested, or it is hostile.",
        remedy="Find the client by `source` in the log of predictions; repair it, or revoke its access.",
        group=Group.CLIENT,
        limit_fields=("source_deviation_moderate",),
        reference="expected",
    ),
    Signal.SILENCE_SECONDS: SignalRow(
        label="Silence",
        unit=Unit.SECONDS,
        subject=Subject.TRAFFIC,
        sentence="No request for {value:.0f} s ({limits}).",
        cause="The clients, the network or the load balancer no longer send requests to this service.",
        remedy="Send a request by hand; then check the clients, the network and the load balancer.",
        limit_fields=("silence_seconds",),
    ),
}
"""Everything about a signal but its limits' numbers, which are in the policy, and its measurement, in `readings`."""

ORIGIN_ZERO = frozenset({Unit.SECONDS, Unit.POINTS, Unit.GROWTH, Unit.LOSS})
"""Units whose limits count from zero: a sentence leaves out their reference."""

DAMAGE = frozenset(signal for signal, row in SIGNALS.items() if row.group is Group.DAMAGE)
FAILURE = frozenset(signal for signal, row in SIGNALS.items() if row.group is Group.FAILURE)
CLIENT = frozenset(signal for signal, row in SIGNALS.items() if row.group is Group.CLIENT)
OUTPUT_SIGNALS = {row.output: signal for signal, row in SIGNALS.items() if row.output is not None}
METRIC_SIGNALS = dict.fromkeys(Metric, Signal.ESTIMATED_METRIC_LOSS)
METRIC_SIGNALS |= {Metric(row.metric): signal for signal, row in SIGNALS.items() if row.metric is not None}


def distance(reading: Reading, *, from_reference: bool = False) -> float:
    """Distance of a value from healthy in the direction of a deviation, 0 on the healthy side or without a value.

    A duration counts from zero, as it is judged; with `from_reference` from its reference, as sentences are ordered.
    """
    row = SIGNALS[reading.signal]
    if reading.value is None:
        return 0.0
    origin = 0.0 if row.unit is Unit.SECONDS and not from_reference else reading.reference or 0.0
    difference = reading.value - origin
    return abs(difference) if row.two_sided else max(difference, 0.0)


def excess(reading: Reading, *, from_reference: bool = False) -> float:
    """Distance from healthy in moderate limits: a reading deviates above 1. 0 where there is no value or limit."""
    return distance(reading, from_reference=from_reference) / reading.moderate_limit if reading.moderate_limit else 0.0


def level_of(distance: float, moderate: float, severe: float | None) -> Level:
    """The level of a distance beyond these limits; `severe` is None where the signal is never severe."""
    if severe is not None and distance > severe:
        return Level.SEVERE
    return Level.MODERATE if distance > moderate else Level.NONE


def evidence_of(level: Level) -> Evidence:
    """The evidence of a reading with enough data."""
    return Evidence.OK if level is Level.NONE else Evidence.BAD


def insufficient(signal: Signal, feature: str | None, sample_count: int) -> Reading:
    """A reading with too little data."""
    return Reading(signal, feature, Evidence.INSUFFICIENT, Level.NONE, None, None, None, None, sample_count)
