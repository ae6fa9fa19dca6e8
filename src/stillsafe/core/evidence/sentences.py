"""Evidence in words: one sentence per reading, with its numbers, from the templates in the signal table.

A limit in a sentence is a number that compares with the value: beyond the limit the reading deviates, beyond the severe
limit it is severe.
"""

from collections.abc import Mapping

from stillsafe.core.evidence.impact_part import ImpactKind, ImpactPart
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.evidence.time_text import time_text
from stillsafe.core.policy import Policy
from stillsafe.core.signals import (
    ORIGIN_ZERO,
    SIGNALS,
    Evidence,
    Level,
    Reading,
    Signal,
    Unit,
    excess,
)
from stillsafe.core.state import Memory, State

MOST_SENTENCES = 3
MOST_NAMES = 12
"""Of the signals that deviate besides the worst ones, so many are named."""

PART_CAUSES: Mapping[ImpactKind, tuple[str, str]] = {
    ImpactKind.DAMAGE: ("damage to", "the damage of several features at once"),
    ImpactKind.SHIFT: ("a shift of", "a shift of the traffic"),
    ImpactKind.MOVEMENT: ("a movement of", "predictions that moved"),
}
"""Kind of a part of an estimated loss -> its words before a feature, and without one."""


def sentence(reading: Reading, healthy_error: float | None = None) -> str:
    """One reading in words and numbers.

    Args:
        reading: what was measured.
        healthy_error: the model's error rate or mean absolute error in the healthy period, if known: the estimated
            performance is then given beside what was lost.
    """
    if reading.evidence is Evidence.INSUFFICIENT or reading.value is None or reading.reference is None:
        if reading.signal is Signal.SILENCE_SECONDS:
            return "Silence is not judged: no limit is set, no request has arrived yet, or a run has just judged it."
        return f"Not enough data to judge {reading.key} ({reading.sample_count} predictions)."
    text = _sentence_text(reading, reading.value, _limits(reading, reading.reference), healthy_error)
    if parts := part_texts(reading):
        text = f"{text} It consists of {', '.join(parts)}."
    if not reading.instead_of:
        return text
    others, verb = " and ".join(reading.instead_of), "is" if len(reading.instead_of) == 1 else "are"
    return f"{text} Either {reading.feature} or {others} {verb} damaged: the data does not show which."


def short_sentence(reading: Reading, healthy_error: float | None = None) -> str:
    """One reading with its value alone: without limits, parts and alternatives. Empty where it has no value."""
    if reading.value is None:
        return ""
    return _sentence_text(reading, reading.value, "", healthy_error).replace(" ()", "")


def _sentence_text(reading: Reading, value: float, limits: str, healthy_error: float | None) -> str:
    """The template of the reading's signal with its numbers."""
    return SIGNALS[reading.signal].sentence.format(
        feature=reading.feature,
        value=value,
        loss=100 * value,
        count=reading.sample_count,
        limits=limits,
        performance=_performance(reading, value, healthy_error),
        metric=Metric(reading.metric).phrase if reading.metric else "performance",
        sources=source_text(reading),
        deviations=source_deviations(reading),
        truth=truth_text(reading),
    )


def truth_text(reading: Reading) -> str:
    """When the rows were answered whose labels have come, and how many of these rows have one."""
    truth = reading.truth
    if truth is None:
        return ""
    return f" of {time_text(truth.start)} to {time_text(truth.end)} ({truth.coverage:.0%} have a label)"


def source_text(reading: Reading) -> str:
    """The clients that cause a deviation."""
    names = reading.sources
    count = "one client" if len(names) == 1 else f"{len(names)} clients"
    return f"{count} ({', '.join(names)})" if names else "single clients"


def source_deviations(reading: Reading) -> str:
    """What deviates with the rows of these clients; empty where no client differs from the others."""
    if not reading.sources:
        return ""
    keys = reading.source_keys
    others = f" and {len(keys) - MOST_SENTENCES} others" if len(keys) > MOST_SENTENCES else ""
    return f"; all other clients are calm. Deviating: {', '.join(keys[:MOST_SENTENCES])}{others}"


def summary(readings: tuple[Reading, ...], healthy_error: float | None = None) -> str:
    """The worst three readings in full sentences, worst first, and the names of the others."""
    order = sorted(readings, key=lambda r: (r.level is not Level.SEVERE, -excess(r, from_reference=True), r.key))
    sentences = [sentence(reading, healthy_error) for reading in order[:MOST_SENTENCES]]
    if rest := order[MOST_SENTENCES:]:
        verb = "signal deviates" if len(rest) == 1 else "signals deviate"
        names = ", ".join(reading.key for reading in rest[:MOST_NAMES])
        others = f" and {len(rest) - MOST_NAMES} others" if len(rest) > MOST_NAMES else ""
        sentences.append(f"{len(rest)} more {verb}: {names}{others}.")
    return " ".join(sentences)


def run_counts(policy: Policy, memory: Memory) -> str:
    """Which run of how many a deviating run is, and what follows.

    Args:
        policy: the rules' numbers.
        memory: after the run, whose streaks count it.
    """
    deviating, _ = _longest({key: streak.deviating for key, streak in memory.streaks.items()})
    severe, signal = _longest({key: streak.severe for key, streak in memory.streaks.items()})
    if memory.state is State.NORMAL and deviating < policy.warning_runs:
        missing_runs = policy.warning_runs - deviating
        texts = [f"Deviating run {deviating} of {policy.warning_runs}: WARNING after {missing_runs} more in a row."]
    else:
        texts = [f"Deviating run {deviating} in a row: the state stays {memory.state}."]
    if 0 < severe < policy.critical_runs and memory.state is not State.DEGRADED:
        missing_runs = policy.critical_runs - severe
        texts.append(f"Severe run {severe} of {policy.critical_runs} ({signal}): CRITICAL after {missing_runs} more.")
    return " ".join(texts)


def _longest(counts: Mapping[str, int]) -> tuple[int, str]:
    """The longest streak and its key; of equally long ones the first by name."""
    key = min(counts, key=lambda key: (-counts[key], key), default="")
    return counts.get(key, 0), key


def limit_texts(reading: Reading) -> dict[str, str]:
    """Both limits as numbers that compare with the value, by name: a duration's and a loss's count from zero."""
    row = SIGNALS[reading.signal]
    origin = 0.0 if row.unit in ORIGIN_ZERO else reading.reference or 0.0
    sign = -1 if row.two_sided and (reading.value or 0.0) < origin else 1
    limits = {"limit": reading.moderate_limit, "severe limit": reading.severe_limit}
    return {name: number_text(row.unit, origin + sign * size) for name, size in limits.items() if size is not None}


def _limits(reading: Reading, reference: float) -> str:
    """The reference and both limits of a sentence, and the standard error of an estimate."""
    row = SIGNALS[reading.signal]
    texts = [] if row.unit in ORIGIN_ZERO else [f"{row.reference} {number_text(row.unit, reference)}"]
    texts += [f"{name} {text}" for name, text in limit_texts(reading).items()]
    if reading.standard_error:
        texts.append(f"standard error {number_text(row.unit, reading.standard_error)}")
    return ", ".join(texts) or "no limit"


def part_texts(reading: Reading) -> tuple[str, ...]:
    """What an estimated loss consists of: the largest parts by name, the others in one. A gain is no part of it."""
    unit = SIGNALS[reading.signal].unit
    is_gain = sum(part.loss for part in reading.parts if part.kind is ImpactKind.SHIFT) <= 0
    counted_parts = [p for p in reading.parts if p.loss and not (is_gain and p.kind is ImpactKind.SHIFT)]
    parts = sorted(counted_parts, key=lambda p: (-abs(p.loss), p.kind, p.feature or ""))
    texts = [f"{number_text(unit, part.loss)} by {part_cause(part)}" for part in parts[:MOST_SENTENCES]]
    if rest := parts[MOST_SENTENCES:]:
        noun = "smaller part" if len(rest) == 1 else "smaller parts"
        texts.append(f"{number_text(unit, sum(part.loss for part in rest))} by {len(rest)} {noun}")
    return tuple(texts)


def part_cause(part: ImpactPart) -> str:
    """What a part of an estimated loss comes from, in words: `damage to income on 84% of the rows`."""
    words, others = PART_CAUSES[part.kind]
    share = "" if part.share is None else f" on {part.share:.0%} of the rows"
    return f"{others if part.feature is None else f'{words} {part.feature}'}{share}"


def _performance(reading: Reading, loss: float, healthy_error: float | None) -> str:
    if reading.signal is Signal.ESTIMATED_METRIC_LOSS and reading.metric and reading.healthy_performance is not None:
        metric, healthy = Metric(reading.metric), reading.healthy_performance
        now = max(healthy - loss, 0.0) if metric.is_score else healthy + loss
        return f" {now:.3g} (healthy {healthy:.3g}),"
    if reading.signal is Signal.REALISED_LOSS:
        return _realised_performance(reading, loss)
    if healthy_error is None:
        return ":"
    if reading.signal is Signal.ESTIMATED_ACCURACY_LOSS:
        return f" {max(1 - healthy_error - loss, 0):.0%} (healthy {1 - healthy_error:.0%}),"
    return f" {healthy_error * (1 + loss):.3g} (healthy {healthy_error:.3g}),"


def _realised_performance(reading: Reading, loss: float) -> str:
    healthy = reading.healthy_performance
    if not reading.metric or healthy is None:
        return ""
    metric = Metric(reading.metric)
    growth = healthy * loss if metric is Metric.MEAN_ABSOLUTE_ERROR else loss
    now = max(healthy - loss, 0.0) if metric.is_score else healthy + growth
    basis = "where labels come alike" if metric.uses_probabilities else "on the same answers"
    return f" {now:.3g} (healthy {healthy:.3g} {basis}),"


def number_text(unit: Unit, number: float) -> str:
    """A number as sentences give it: `0.908`, `31.2%`, `0.46`, `15.8 points`, `34%`, `900 s`."""
    match unit:
        case Unit.SHARE:
            return f"{number:.1%}"
        case Unit.POINTS:
            return f"{100 * number:.1f} points"
        case Unit.GROWTH:
            return f"{number:.0%}"
        case Unit.SECONDS:
            return f"{number:g} s"
        case Unit.LOSS:
            return f"{number:.3g}"
        case _:
            return f"{number:.2f}" if unit is Unit.DISTANCE else f"{number:.3f}"
