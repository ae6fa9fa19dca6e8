"""Derivation: how a reading came about, number by number, so that a person can compute it again.

A derivation is a list of steps. A step without a formula was counted or set: in the window, in the baseline or in the
policy. A step with one follows from the steps before it, whose names the formula uses. Formulas are in the usual
notation (`formula.py`), element by element where a step is a column of numbers. A reading's numbers are rounded to six
digits before they are compared and stored.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from stillsafe.core.baseline import Baseline, FeatureBaseline
from stillsafe.core.evidence.bins import Bins
from stillsafe.core.evidence.measures import Measure, RunMeasures
from stillsafe.core.evidence.sources import worst_deviation
from stillsafe.core.evidence.time_text import time_text
from stillsafe.core.policy import Policy
from stillsafe.core.signals import OUTPUT_SIGNALS, SIGNALS, Level, Reading, Signal, distance
from stillsafe.core.window import Tally, Window
from stillsafe.monitoring.formula import evaluate

Value = float | int | str | None | tuple[float | int | str | None, ...]
LABEL_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Step:
    """One number, or one column of numbers, on the way to a reading.

    Attributes:
        name: what formulas call it.
        value: the number, the column, or a word.
        meaning: what it is, and where it comes from if it has no formula.
        formula: how it follows from the steps before it; empty where it was counted or set.
    """

    name: str
    value: Value
    meaning: str
    formula: str = ""


@dataclass(frozen=True, slots=True)
class RateWords:
    """What a rate counts: its events, the rows or values that it is a share of, and where its reference comes from."""

    events: str
    rows: str
    reference: str


RATE_WORDS: Mapping[Signal, RateWords] = {
    Signal.LOW_CONFIDENCE_RATE: RateWords(
        "new predictions with a confidence below the baseline's threshold",
        "new predictions with a confidence",
        "the baseline's share",
    ),
    Signal.MISSING_RATE: RateWords("missing values", "new rows", "the baseline's share of missing values"),
    Signal.UNSEEN_CATEGORY_RATE: RateWords(
        "values whose category the baseline does not contain",
        "new values",
        "chance that a healthy value has a category not seen before: the baseline's share of values whose category "
        "occurred once (Good-Turing), and what is new because time has passed (`new_values`)",
    ),
    Signal.OUT_OF_RANGE_RATE: RateWords(
        "numbers outside the baseline's range",
        "new values",
        "chance that a healthy number is outside the range of the numbers before it: 2 / (n + 1) of n numbers",
    ),
    Signal.REPEATED_VALUE_RATE: RateWords(
        "times that the most common number occurs; 0 where it is about as common as when healthy",
        "new values",
        "the share of this number in the baseline; 0 where nothing is repeated",
    ),
    Signal.CLOCK_CONTRADICTION_RATE: RateWords(
        "values that contradict the clock", "new values whose time the baseline knows", "a healthy value agrees"
    ),
    Signal.REPEATED_ROW_RATE: RateWords(
        "unexplained copies of repeated rows", "new predictions", "healthy rows are no copies"
    ),
    Signal.REFUSAL_RATE: RateWords("refused requests", "new predictions and refused requests", "the baseline's share"),
    Signal.MODEL_ERROR_RATE: RateWords(
        "predictions on which the model failed", "new predictions by the model", "the baseline's share"
    ),
}
"""Signal -> what its rate counts."""


def count_steps(policy: Policy, run: RunMeasures, measure: Measure, reading: Reading) -> tuple[Step, ...]:
    """The derivation of a reading of single counts: a rate, a mean confidence or a total variation distance."""
    if measure.healthy_count:
        steps = _rate_steps(policy, run, measure)
    elif measure.signal is Signal.AVG_CONFIDENCE:
        steps = _mean_steps(run, measure)
    else:
        steps = _distance_steps(run, measure)
    return (*steps, *limit_steps(policy, run.baseline, reading))


def silence_steps(policy: Policy, baseline: Baseline, window: Window, reading: Reading) -> tuple[Step, ...]:
    """The derivation of a silence."""
    steps = [Step("value", reading.value, f"seconds from the last request to {time_text(window.end)}")]
    if policy.silence_seconds is not None:
        steps.append(Step("moderate_limit", reading.moderate_limit, "silence_seconds of the policy"))
    else:
        steps += [
            Step("factor", policy.evidence.silence_pause_factor, "silence_pause_factor of the policy"),
            Step("longest_pause", baseline.longest_pause_seconds, "longest pause of the baseline, in seconds"),
            Step("window_seconds", policy.window_seconds, "window_seconds of the policy"),
            Step(
                "moderate_limit",
                None,
                "limit in seconds",
                "max(factor * longest_pause, window_seconds)",
            ),
        ]
    formula = "'MODERATE' if value > moderate_limit else 'NONE'"
    return (*steps, Step("level", None, "a silence is never severe", formula))


def outlier_steps(
    rest: Window, reading: Reading, whole_readings: tuple[Reading, ...], rest_readings: tuple[Reading, ...]
) -> tuple[Step, ...]:
    """The derivation of a deviation that a few clients cause.

    Args:
        rest: the window without their rows.
        reading: the deviation.
        whole_readings: of all rows.
        rest_readings: of the rest, by which the run is judged.
    """
    worst = worst_deviation(whole_readings)
    other = next(each for each in rest_readings if each.key == worst.key)
    formula = "max(0, min(1, 1 - rest_deviation * rest_count / (deviation * count)))"
    return (
        Step("deviation", distance(worst), f"{worst.key}: how far all new rows are from healthy"),
        Step("count", reading.sample_count, "new rows"),
        Step("rest_deviation", distance(other), "the same of the new rows of all other clients"),
        Step("rest_count", rest.fresh.judged_count, "new rows of all other clients"),
        Step("value", None, f"share of the deviation, in rows, that {', '.join(reading.sources)} cause", formula),
        Step("moderate_limit", reading.moderate_limit, "source_deviation_moderate of the policy"),
        Step("level", reading.level.value, "the others are calm: a warning, and never severe"),
    )


def no_outlier_steps(reading: Reading) -> tuple[Step, ...]:
    """Why no client is named."""
    return (
        Step("value", reading.value, "nothing deviates, or no few clients alone cause it"),
        Step("moderate_limit", reading.moderate_limit, "source_deviation_moderate of the policy"),
        Step("level", reading.level.value, "no client is named"),
    )


def too_little_steps(policy: Policy, window: Window, reading: Reading) -> tuple[Step, ...]:
    """Why a reading is inconclusive."""
    return (
        Step("count", reading.sample_count, "new rows"),
        Step("min_fresh_predictions", policy.min_fresh_predictions, "at least so many new rows or values are needed"),
        Step("window_count", window.total.judged_count, "rows of the whole window"),
        Step("min_predictions", policy.min_predictions, "at least so many rows of the window are needed"),
        Step("level", Level.NONE.value, "not judged: too few rows, or none that show this signal"),
    )


def limit_steps(policy: Policy, baseline: Baseline, reading: Reading) -> Iterator[Step]:
    """From value, reference and noise to both limits and the level."""
    row = SIGNALS[reading.signal]
    impact_known = baseline.harm is not None
    effects = policy.effects(reading.signal, reading.feature, impact_known=impact_known)
    fields = dict(zip(("moderate", "severe"), row.limit_fields, strict=False))
    origin = "of the policy"
    if policy.is_written(reading.signal, reading.feature):
        origin = "of the settings"
    for level, effect in zip(("moderate", "severe"), effects, strict=True):
        if effect is None:
            why = "only what is estimated to be harmful is severe" if level in fields else "never severe"
            yield Step(f"{level}_limit", None, f"no {level} limit: {why}")
            continue
        yield Step(f"{level}_effect", effect, f"smallest deviation that matters: {fields.get(level, level)} {origin}")
        limit = reading.moderate_limit if level == "moderate" else reading.severe_limit
        if limit is not None:
            formula = f"max({level}_effect, noise)"
            yield Step(f"{level}_limit", limit, f"distance from the reference that is {level.upper()}", formula)
    yield from level_steps(reading, "abs(value - reference)" if row.two_sided else "value - reference")


def level_steps(reading: Reading, distance: str) -> Iterator[Step]:
    """The distance of a reading, by a formula, and its level."""
    difference = (reading.value or 0.0) - (reading.reference or 0.0)
    difference = abs(difference) if distance.startswith("abs") else difference
    yield Step("distance", None, "distance from the reference", distance)
    if reading.is_change:
        yield Step("level", reading.level.value, "a change, and no alarm: what it may cost is below what matters")
    elif reading.moderate_limit is None:
        yield Step("level", reading.level.value, "intact: the other features changed along with it, so it is a shift")
    else:
        formula = "'MODERATE' if distance > moderate_limit else 'NONE'"
        if reading.severe_limit is not None:
            formula = f"'SEVERE' if distance > severe_limit else {formula}"
        yield Step("level", None, "level of the reading", formula)


def noise_steps(run: RunMeasures, key: str) -> tuple[Step, ...]:
    """The standard errors that count, and how much the healthy period itself varies."""
    share, count = "1 - false_alarm_rate / (2 * reading_count)", run.reading_count
    return (
        Step("false_alarm_rate", run.false_alarm_rate, "chance of a false alarm in a run, of the policy"),
        Step("reading_count", count, "readings of this run that share it"),
        Step("z", None, "standard errors that noise exceeds no more often", f"quantile({share})"),
        Step(
            "variation",
            run.baseline.variation.get(key, 0.0),
            "standard deviation between chunks of the healthy period, beyond sampling",
        ),
    )


def _rate_steps(policy: Policy, run: RunMeasures, measure: Measure) -> tuple[Step, ...]:
    words = RATE_WORDS[measure.signal]
    return (
        Step("count", measure.sample_count, words.rows),
        *_criterion_steps(policy, run, measure),
        _event_step(measure),
        Step("value", None, "share of the new rows or values", "event_count / count"),
        *_reference_steps(run, measure),
        Step("healthy_count", measure.healthy_count, "rows or values behind the reference"),
        *noise_steps(run, measure.key),
        *_RATE_NOISE,
    )


_RATE_NOISE = (
    Step("slack", None, "allowance for rare events (Bernstein)", "z**2 / (6 * count)"),
    Step("size", None, "variance of the difference per unit of p (1 - p)", "1 / count + 1 / healthy_count"),
    Step("slope", None, "share of the window in the pooled rows", "count / (count + healthy_count + 2)"),
    Step(
        "pooled_rate",
        None,
        "rate of window and baseline in one, were the window healthy",
        "(reference * (count + healthy_count) + 1) / (count + healthy_count + 2)",
    ),
    Step("square", None, "coefficient of noise squared", "1 + z**2 * size * slope**2"),
    Step("linear", None, "coefficient of noise", "2 * slack + z**2 * size * slope * (1 - 2 * pooled_rate)"),
    Step(
        "constant",
        None,
        "constant term",
        "z**2 * (variation**2 + size * max(pooled_rate * (1 - pooled_rate), 0))",
    ),
    Step(
        "noise",
        None,
        "distance that noise explains: where square * noise**2 = linear * noise + constant",
        "(linear + sqrt(linear**2 + 4 * square * constant)) / (2 * square)",
    ),
)
"""How the noise limit of a rate follows: see `evidence/noise_limit.py`."""


def _criterion_steps(policy: Policy, run: RunMeasures, measure: Measure) -> Iterator[Step]:
    """What makes a row or a value an event, where that is a number of the baseline or of the window."""
    match measure.signal:
        case Signal.LOW_CONFIDENCE_RATE:
            yield Step("threshold", run.baseline.low_confidence_threshold, "a confidence below this is low")
        case Signal.OUT_OF_RANGE_RATE if measure.feature is not None:
            healthy = run.baseline.features[measure.feature]
            yield Step("minimum", healthy.minimum, "lower end of the baseline's range")
            yield Step("maximum", healthy.maximum, "upper end of the baseline's range")
        case Signal.REPEATED_VALUE_RATE if measure.feature is not None:
            number, count = run.tally.features[measure.feature].commonest or (None, 0)
            usual_rate = 0.0 if number is None else run.baseline.features[measure.feature].usual_rate(number)
            yield Step("number", number, "the most common number of the new rows")
            yield Step("number_count", count, "how often it occurs there")
            yield Step("usual_rate", usual_rate, "its share of the baseline's values, at most")
            yield Step("factor", policy.evidence.repeat_factor, "repeat_factor of the policy")
            yield Step("usual_limit", policy.evidence.repeat_max_usual_rate, "repeat_max_usual_rate of the policy")


def _event_step(measure: Measure) -> Step:
    """The events of a rate: counted, or for a repeated number decided by how common it was."""
    step = Step("event_count", round(measure.value * measure.sample_count), RATE_WORDS[measure.signal].events)
    if measure.signal is not Signal.REPEATED_VALUE_RATE:
        return step
    is_repeated = "number_count > factor * usual_rate * count and usual_rate <= usual_limit"
    return replace(step, formula=f"number_count if {is_repeated} else 0")


def _reference_steps(run: RunMeasures, measure: Measure) -> Iterator[Step]:
    """The reference of a rate, with the baseline's counts where they give it."""
    words, baseline = RATE_WORDS[measure.signal], run.baseline
    counts: tuple[int, int] | None = None
    match measure.signal:
        case Signal.MISSING_RATE if measure.feature is not None:
            healthy = baseline.features[measure.feature]
            counts = healthy.missing_count, healthy.value_count + healthy.missing_count
        case Signal.REPEATED_VALUE_RATE:
            yield Step("reference", None, words.reference, "usual_rate if event_count > 0 else 0")
            return
        case Signal.REFUSAL_RATE:
            counts = baseline.refusal_count, baseline.sample_size + baseline.refusal_count
        case Signal.MODEL_ERROR_RATE:
            counts = baseline.model_error_count, baseline.sample_size
    if counts is None or not counts[1]:
        yield Step("reference", measure.reference, words.reference)
        return
    yield Step("healthy_event_count", counts[0], f"{words.events}, in the baseline")
    yield Step("healthy_row_count", counts[1], f"{words.rows.removeprefix('new ')}, in the baseline")
    yield Step("reference", measure.reference, words.reference, "healthy_event_count / healthy_row_count")


def _mean_steps(run: RunMeasures, measure: Measure) -> tuple[Step, ...]:
    tally, baseline, n = run.tally, run.baseline, measure.sample_count
    return (
        Step("confidence_sum", tally.confidence_sum, "sum of the confidences of the new predictions"),
        Step("count", n, "new predictions with a confidence"),
        Step("value", None, "mean confidence", "confidence_sum / count"),
        Step("reference", measure.reference, "the baseline's mean"),
        Step("healthy_count", baseline.confidence_count, "confidences of the baseline"),
        Step("square_sum", tally.confidence_square_sum, "sum of their squares, of the new predictions"),
        Step("variance", None, "variance of the new confidences", "square_sum / count - value**2"),
        Step("healthy_sd", baseline.confidence_sd, "standard deviation of the baseline's confidences"),
        Step(
            "standard_error",
            None,
            "standard error of the difference by sampling",
            "sqrt(max(variance, healthy_sd**2) * (1 / count + 1 / healthy_count))",
        ),
        *noise_steps(run, measure.key),
        Step("noise", None, "distance that noise explains", "sqrt((z * standard_error)**2 + (z * variation)**2)"),
    )


def _distance_steps(run: RunMeasures, measure: Measure) -> tuple[Step, ...]:
    shift = run.shift
    if shift is None:
        return ()
    output = next((name for name, signal in OUTPUT_SIGNALS.items() if signal is measure.signal), None)
    if output is not None or measure.feature is None:
        name = output or ""
        profile, healthy = run.baseline.outputs[name], shift.healthy_outputs[name]
    else:
        name = measure.feature
        profile, healthy = run.baseline.features[name], shift.healthy[name]
    labels, edges = bin_labels(profile), () if profile.bins is None else profile.bins.edges
    counts = _bin_counts(run.tally, name, profile, is_output=output is not None)
    return (
        Step("bin", labels, "bins that the baseline fixed"),
        *([Step("edge", edges, "numbers between the bins; one on an edge belongs to the bin below")] if edges else []),
        Step("window_count", counts, "new rows in each; numbers far outside count in the outermost bins"),
        Step("window_share", None, "share of the new rows", "window_count / sum(window_count)"),
        Step("healthy_share", tuple(healthy.tolist()), "share of the healthy rows, of the same hours if known"),
        Step(
            "value",
            None,
            "total variation distance: share of the rows in another bin",
            "0.5 * sum(abs(window_share - healthy_share))",
        ),
        Step("count", shift.count, "new rows"),
        Step("healthy_count", shift.healthy_count, "rows behind the healthy shares"),
        Step(
            "bin_variance",
            None,
            "variance of each share's difference by sampling",
            "healthy_share * (1 - healthy_share) * (1 / count + 1 / healthy_count)",
        ),
        Step(
            "reference",
            None,
            "distance by chance: half the mean of absolute normal deviates",
            "0.5 * sqrt(2 / 3.141592653589793) * sum(sqrt(bin_variance))",
        ),
        Step("standard_error", None, "its standard deviation (an upper bound)", "0.5 * sqrt(sum(bin_variance))"),
        *noise_steps(run, measure.key),
        Step("noise", None, "distance that noise explains", "sqrt((z * standard_error)**2 + (z * variation)**2)"),
    )


def _bin_counts(tally: Tally, name: str, profile: FeatureBaseline, *, is_output: bool) -> tuple[int, ...]:
    """Window counts by bin; of a feature, numbers far outside count in the outermost ordinary bins."""
    counts = (tally.outputs if is_output else tally.features)[name].bin_counts
    if is_output or profile.bins is None:
        return counts
    ordinary_counts = [0] * profile.bins.size
    for bin_, count in zip(profile.bins.clipped_bins, counts, strict=True):
        ordinary_counts[bin_] += count
    return tuple(ordinary_counts)


def bin_labels(profile: FeatureBaseline) -> tuple[str, ...]:
    """The bins of a feature or an output in words."""
    bins = profile.bins or Bins()
    if bins.lowest is None:
        groups = [f"{group[0]} and {len(group) - 1} more" for group in bins.groups]
        return (*(bins.categories or ("any",)), *groups, "rare", "unseen", "missing")
    edges = [f"{edge:.{LABEL_DIGITS}g}" for edge in bins.edges]
    if not edges:
        return ("all", "far below", "far above", "missing")
    between = [f"{low} to {high}" for low, high in pairwise(edges)]
    return (f"up to {edges[0]}", *between, f"above {edges[-1]}", "far below", "far above", "missing")


def evaluated_steps(steps: Iterable[Step]) -> tuple[Step, ...]:
    """The steps with the values of their formulas."""
    values: dict[str, Any] = {}
    results = []
    for step in steps:
        if step.formula:
            result = evaluate(step.formula, values)
            value = tuple(result.tolist()) if isinstance(result, np.ndarray) and result.ndim else result
            step = replace(step, value=value.item() if isinstance(value, np.generic | np.ndarray) else value)
        is_column = isinstance(step.value, tuple) and not any(isinstance(cell, str) for cell in step.value)
        values[step.name] = np.array(step.value, dtype=np.float64) if is_column else step.value
        results.append(step)
    return tuple(results)


def measures_by_key(measures: Sequence[Measure]) -> dict[str, Measure]:
    """The measures of a run by the key of their readings."""
    return {measure.key: measure for measure in measures}
