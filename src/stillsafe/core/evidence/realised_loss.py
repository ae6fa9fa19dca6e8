"""The realised loss: what the model's answers cost by the labels that have come, beyond their healthy error.

    loss = error of the labelled rows - error that the healthy model has on rows with the same answers

Labels are missing for a reason: only loans that were given come back. Where the study at `init` knows the labels of
each answer, the healthy error is therefore that of the same mix of answers, and by a metric of scores that of rows that
get labels alike (`score_table`). The loss deviates beyond the policy's limit
and beyond noise: standard errors of both errors, and the variation from chunk to chunk of the healthy period.
"""

import math

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.impact import PerformanceImpact
from stillsafe.core.evidence.label_errors import MeanError, cell_error, tally_error
from stillsafe.core.evidence.label_tally import AnswerTally, LabelTally, Truth
from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.core.evidence.metric_limits import SMALLEST_ERROR, metric_limits
from stillsafe.core.evidence.score_table import healthy_part
from stillsafe.core.policy import Policy
from stillsafe.core.signals import DIGITS, Reading, Signal, evidence_of, insufficient, level_of
from stillsafe.core.window import Window


def first_impact(baseline: Baseline) -> PerformanceImpact | None:
    """The first metric of the study, or of the answers alone of an external model."""
    return baseline.answer_impact if baseline.harm is None else baseline.harm


def judged_impacts(baseline: Baseline) -> tuple[PerformanceImpact, ...]:
    """The metrics of the study that labels judge: the first one, and after a metric of probabilities one of answers.

    Labels judge a metric whose healthy error is known. One of scores needs the healthy rows by score too, which studies
    of older versions lack.
    """
    first = first_impact(baseline)
    impacts = () if first is None else (first, *first.also)
    known_impacts = [each for each in impacts if each.labelled and (each.score_table or not each.needs_scores)]
    of_answers = [each for each in known_impacts if not each.metric.uses_probabilities]
    return (*known_impacts[:1], *of_answers[:1]) if known_impacts[:1] != of_answers[:1] else tuple(of_answers[:1])


def judged_impact(baseline: Baseline) -> PerformanceImpact | None:
    """The first metric of the study that labels judge; None without."""
    return next(iter(judged_impacts(baseline)), None)


def is_enough(policy: Policy, tally: AnswerTally, least: int) -> bool:
    """Whether labels are enough to judge answers, or so many that they do not wait for more of a class.

    Args:
        policy: the rules' numbers.
        tally: the labelled answers.
        least: rows that are needed.
    """
    is_long = tally.count >= policy.evidence.realised_most_waiting
    return tally.count >= least and (is_long or not _lacks_class(policy, tally))


def _lacks_class(policy: Policy, tally: AnswerTally) -> bool:
    """Whether one of two classes has too few labels for an area under the curve."""
    scarce = tally.least_class_count
    return scarce is not None and scarce < policy.evidence.realised_min_class_labels


def realised_readings(policy: Policy, baseline: Baseline | None, window: Window) -> tuple[Reading, ...]:
    """The reading of the realised loss where labels have come; none where not, so that nothing else changes."""
    labels = window.labels
    if baseline is None or labels is None:
        return ()
    none = (insufficient(Signal.REALISED_LOSS, None, labels.model.count),)
    if not is_enough(policy, labels.model, max(policy.min_labels, 1)):
        return none
    readings = [_reading(policy, baseline, impact, labels) for impact in judged_impacts(baseline)]
    known_readings = [reading for reading in readings if reading is not None]
    return (max(known_readings, key=_height),) if known_readings else none


def _height(reading: Reading) -> float:
    """How far a loss is towards its severe limit: the worst of several metrics is reported."""
    return (reading.value or 0.0) / max(reading.severe_limit or 0.0, SMALLEST_ERROR)


def _reading(policy: Policy, baseline: Baseline, impact: PerformanceImpact, labels: LabelTally) -> Reading | None:
    if impact.metric is Metric.AUC and _lacks_class(policy, labels.model):
        return None
    definition = impact.definition or MetricDefinition(impact.metric)
    error, healthy = tally_error(definition, labels.model), healthy_error(baseline, impact, labels, definition)
    unit = max(healthy.mean, SMALLEST_ERROR) if impact.metric is Metric.MEAN_ABSOLUTE_ERROR else 1.0
    variance = max(error.variance, healthy.variance)
    standard_error = math.sqrt(variance * (1 / error.count + 1 / max(healthy.count, 1)))
    noise = policy.evidence.realised_loss_deviations * math.hypot(standard_error, impact.effect_variation) / unit
    loss = (error.mean - healthy.mean) / unit
    if not math.isfinite(loss + noise) or labels.start is None or labels.end is None:
        return None
    is_owners = policy.metric in (None, impact.metric.value) and impact is first_impact(baseline)
    moderate, severe = (max(limit, noise) for limit in _limits(policy, impact, is_owners=is_owners))
    level = level_of(loss, moderate, severe)
    return Reading(
        Signal.REALISED_LOSS,
        None,
        evidence_of(level),
        level,
        round(loss, DIGITS),
        0.0,
        round(moderate, DIGITS),
        round(severe, DIGITS),
        labels.model.count,
        standard_error=round(standard_error / unit, DIGITS),
        noise=round(noise, DIGITS),
        metric=impact.metric.value,
        healthy_performance=round(impact.metric.performance(healthy.mean), DIGITS),
        truth=Truth(
            labels.start, labels.end, round(labels.coverage, DIGITS), _advantage(policy, definition, labels, unit)
        ),
    )


def _limits(policy: Policy, impact: PerformanceImpact, *, is_owners: bool) -> tuple[float, float]:
    """The moderate and the severe limit of the loss, in its unit."""
    if not impact.metric.is_score:
        return metric_limits(policy, impact.metric, impact.healthy_error, is_owners=is_owners)
    moderate, severe = policy.effects(Signal.REALISED_LOSS)
    if is_owners and policy.harm_moderate is not None:
        moderate = policy.harm_moderate
    if is_owners and policy.harm_severe is not None:
        severe = policy.harm_severe
    return moderate, max(moderate, moderate if severe is None else severe)


def healthy_error(
    baseline: Baseline, impact: PerformanceImpact, labels: LabelTally, definition: MetricDefinition
) -> MeanError:
    """The error of the healthy model on rows with the same answers; on all healthy rows where that is not known.

    By Bayes' rule, the share of a label among the healthy rows with an answer is proportional to the share of the label
    times that of the answer among its rows.
    """
    if impact.needs_scores and impact.score_table is not None:
        return healthy_part(impact.score_table, definition, impact.healthy_error, labels.group_coverage)
    count = impact.row_count or baseline.sample_size
    outputs = baseline.outputs.get("prediction")
    bins = None if outputs is None else outputs.bins
    names = [truth.label for truth in impact.truths]
    answers = {answer for _, answer, _ in labels.model.outcomes}
    if bins is None or not answers or None in names or not answers <= set(bins.categories):
        return MeanError(impact.healthy_error, 0.0, count)
    cells: dict[tuple[str, str], float] = {}
    spread = 0.0
    for answer in sorted(answers):
        position = bins.categories.index(answer)
        shares = {t.label or "": t.share * t.outputs["prediction"][position] for t in impact.truths}
        whole = sum(shares.values())
        if whole <= 0:
            return MeanError(impact.healthy_error, 0.0, count)
        rows = sum(n for _, each, n in labels.model.outcomes if each == answer)
        cells |= {(label, answer): rows * share / whole for label, share in shares.items() if share > 0}
        # Only the healthy rows with this answer stand for it; with the answers' healthy mix the sum is 1 / count.
        spread += (rows / labels.model.count) ** 2 / (max(count, 1) * whole)
    error = cell_error(definition, cells)
    return MeanError(error.mean, error.variance, 1 / spread)


def _advantage(policy: Policy, definition: MetricDefinition, labels: LabelTally, unit: float) -> float | None:
    """What the fallback won per row by the labels, or None where they show too little of it."""
    pair = labels.fallback, labels.paired_model
    if min(each.count for each in pair) < max(policy.min_labels, 1):
        return None
    if definition.metric is Metric.AUC and any(_lacks_class(policy, each) for each in pair):
        return None
    model, fallback = (tally_error(definition, each).mean for each in (labels.paired_model, labels.fallback))
    return round((model - fallback - definition.fallback_cost) / unit, DIGITS)
