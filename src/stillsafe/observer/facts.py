"""The fact sheet: a payload in short sentences. Pure.

The language model gets the fact sheet and not JSON: small models copy the numbers of sentences, and alter those of
JSON.
"""

from collections.abc import Iterator

from stillsafe.core.evidence.time_text import time_text
from stillsafe.core.incident import IncidentEvent
from stillsafe.observer.advice import likely_causes
from stillsafe.observer.payload import Deviation, IncidentPayload


def fact_sheet(payload: IncidentPayload) -> str:
    """Every fact that a language model gets about the incident, one per line."""
    return "\n".join(_facts(payload))


def _facts(payload: IncidentPayload) -> Iterator[str]:
    yield opening(payload)
    yield f"The monitor moved the state from {payload.state_before} to {payload.state_after}."
    for deviation in payload.deviations:
        yield f"{deviation.sentence}{_streak(deviation)}"
    if payload.further_deviations:
        yield f"{count(payload.further_deviations, 'further signal')} deviated too."
    if payload.status == IncidentEvent.RESOLVED:
        yield payload.reason
        yield f"The incident had been about this: {payload.earlier_reason}"
    yield traffic(payload)
    yield consequence(payload)
    yield from (f"A likely cause: {cause}" for cause in likely_causes(payload))


def opening(payload: IncidentPayload) -> str:
    """Which service is affected, how, and since when."""
    service = f"{payload.service} (model version {payload.model_version})"
    time = time_text(payload.at)
    detection_time = time_text(payload.detected_at)
    match payload.status:
        case IncidentEvent.RESOLVED:
            return f"{service} is back to NORMAL since {time}. The incident had been detected at {detection_time}."
        case IncidentEvent.ESCALATED:
            return (
                f"The deviation of {service}, first detected at {detection_time}, has become {payload.severity} "
                f"at {time}."
            )
        case _:
            return f"{service} deviates from its healthy baseline: {payload.severity} since {time}."


def traffic(payload: IncidentPayload) -> str:
    """How many requests the window holds, and their outcomes."""
    counts = payload.traffic
    parts = [f"{count(counts.prediction_count, 'prediction')}, {counts.fallback_count} of them by the fallback"]
    if counts.refusal_count:
        parts.append(count(counts.refusal_count, "refused request"))
    if counts.model_error_count:
        parts.append(count(counts.model_error_count, "model error"))
    span = f"{time_text(payload.window_start)} to {time_text(payload.window_end)}"
    return f"The window from {span} holds {'; '.join(parts)}."


def consequence(payload: IncidentPayload) -> str:
    """Whether the model or the fallback answers now."""
    if payload.status == IncidentEvent.RESOLVED:
        return "The model answers."
    if payload.fallback.active:
        return f"The model is bypassed: the fallback answers ({_substitute(payload)})."
    if payload.severity == "CRITICAL":
        return "The model is not bypassed and still answers, although its answers are not to be trusted."
    return "The model still answers."


def count(number: int, noun: str) -> str:
    """A number and its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _substitute(payload: IncidentPayload) -> str:
    fallback = payload.fallback
    text = f"by default {fallback.default}"
    if fallback.rule_count:
        text = f"{count(fallback.rule_count, 'rule')}, then {text}"
    if fallback.rule_count and fallback.avoided_features:
        text += f"; rules that read {', '.join(fallback.avoided_features)} are skipped"
    return text


def _streak(deviation: Deviation) -> str:
    if not deviation.deviating_runs:
        return ""
    text = f" It has deviated in {count(deviation.deviating_runs, 'run')} in a row"
    return f"{text}, severely in {deviation.severe_runs} of them." if deviation.severe_runs else f"{text}."
