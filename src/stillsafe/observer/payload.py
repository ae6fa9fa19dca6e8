"""The observer's input and output: the payload of an incident step, and the explanation. Aggregates only, no row.

Everything in a payload may appear in a prompt or on a page. So text that a client chose (categories unseen in the
baseline) is truncated and escaped when the payload is built. The payload holds no value of a feature that
the log hashes or drops.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from stillsafe.core.evidence.quoted_text import escape_untrusted_text
from stillsafe.core.evidence.sentences import sentence
from stillsafe.core.signals import Level, Reading, Signal, excess
from stillsafe.core.text import truncate

VERSION = 1
MOST_CLIENT_TEXTS = 5
LONGEST_NAME = 100
LONGEST_REASON = 1_000
MOST_DEVIATIONS = 8


@dataclass(frozen=True, slots=True)
class Traffic:
    """Counts of the window's requests."""

    prediction_count: int
    fallback_count: int = 0
    refusal_count: int = 0
    model_error_count: int = 0


@dataclass(frozen=True, slots=True)
class Deviation:
    """One signal that caused the incident, with the numbers of its reading (rates in [0, 1]).

    Attributes:
        signal: what was measured.
        feature: of which feature, or None.
        level: how far from healthy.
        value, reference: in the window and in the healthy baseline, or None where it cannot be measured.
        moderate_limit, severe_limit: distance from the reference beyond which the level is reached, or None.
        sample_count: requests or values behind `value`.
        deviating_runs, severe_runs: consecutive runs in which the signal deviated, and was severe.
        sentence: the reading in words.
        new_values: a few categories unseen in the baseline, which clients chose; escaped by `escape_untrusted_text`.
        repeated_value: the number that the feature repeats, or None.
        instead_of: features that may be damaged in place of this one; the data does not show which.
    """

    signal: Signal
    feature: str | None
    level: Level
    value: float | None
    reference: float | None
    moderate_limit: float | None
    severe_limit: float | None
    sample_count: int
    deviating_runs: int
    severe_runs: int
    sentence: str
    new_values: tuple[str, ...] = ()
    repeated_value: float | None = None
    instead_of: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Substitute:
    """The fallback.

    Attributes:
        active: whether it answers in place of the model now.
        default: its answer where no rule applies, as text.
        rule_count: rules that are tried first.
        avoided_features: damaged features; the rules that read them are skipped.
    """

    active: bool
    default: str
    rule_count: int = 0
    avoided_features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IncidentPayload:
    """One step of an incident, in aggregates.

    Attributes:
        version: of the payload's format.
        incident_id: the incident.
        status: `opened`, `escalated` or `resolved`.
        severity: `WARNING` or `CRITICAL`; `NORMAL` if the incident is resolved.
        detected_at: when the incident was opened, aware UTC.
        at: the time of the run that recorded this step, aware UTC.
        service: the service's name.
        model_version: the monitored version.
        state_before, state_after: the state before the run, and since.
        reason: the monitor's reason, with its numbers.
        earlier_reason: the reason of the incident if it is resolved, else empty.
        deviations: the signals that caused the incident, the worst first; empty if it is resolved.
        further_deviations: how many more there are.
        fallback: the fallback.
        traffic: the counts of the window's requests.
        window_start, window_end: the monitored window, aware UTC.
    """

    version: int
    incident_id: str
    status: str
    severity: str
    detected_at: datetime
    at: datetime
    service: str
    model_version: str
    state_before: str
    state_after: str
    reason: str
    earlier_reason: str
    deviations: tuple[Deviation, ...]
    further_deviations: int
    fallback: Substitute
    traffic: Traffic
    window_start: datetime
    window_end: datetime


@dataclass(frozen=True, slots=True)
class Explanation:
    """An observer's explanation: plain text, advisory.

    Attributes:
        summary: what happened.
        likely_causes: one per line.
        recommendations: what to check first, one per line.
        llm_model: the language model that wrote it, or `offline`.
    """

    summary: str
    likely_causes: str
    recommendations: str
    llm_model: str


def deviations(
    readings: Sequence[Reading],
    streaks: Mapping[str, tuple[int, int]],
    *,
    kept_features: Collection[str],
    new_values: Mapping[str, Mapping[str, int]],
    repeated_values: Mapping[str, float],
    healthy_error: float | None = None,
) -> tuple[Deviation, ...]:
    """The deviations of an incident, the worst first.

    Args:
        readings: those that caused the incident.
        streaks: per reading key, the consecutive runs in which it deviated, and was severe.
        kept_features: features that the log keeps in clear; values of no others enter.
        new_values: per feature, categories unseen in the baseline and their counts, as clients sent them.
        repeated_values: per feature, its most frequent number.
        healthy_error: the model's error in the healthy period, if known; see `incident.sentence`.
    """
    return tuple(
        _deviation(
            reading,
            streaks.get(reading.key, (0, 0)),
            new_values.get(reading.feature or "", {}) if reading.feature in kept_features else {},
            repeated_values.get(reading.feature or "") if reading.feature in kept_features else None,
            healthy_error,
        )
        for reading in sorted(readings, key=_severity_order)
    )


def _deviation(
    reading: Reading,
    streak: tuple[int, int],
    new_values: Mapping[str, int],
    repeated_value: float | None,
    healthy_error: float | None,
) -> Deviation:
    feature = None if reading.feature is None else escape_own_text(reading.feature, LONGEST_NAME)
    alternatives = tuple(escape_own_text(name, LONGEST_NAME) for name in reading.instead_of)
    parts = tuple(
        replace(part, feature=None if part.feature is None else escape_own_text(part.feature, LONGEST_NAME))
        for part in reading.parts
    )
    deviating_runs, severe_runs = streak
    return Deviation(
        signal=reading.signal,
        feature=feature,
        level=reading.level,
        value=reading.value,
        reference=reading.reference,
        moderate_limit=reading.moderate_limit,
        severe_limit=reading.severe_limit,
        sample_count=reading.sample_count,
        deviating_runs=deviating_runs,
        severe_runs=severe_runs,
        sentence=sentence(replace(reading, feature=feature, instead_of=alternatives, parts=parts), healthy_error),
        new_values=_examples(new_values) if reading.signal is Signal.UNSEEN_CATEGORY_RATE else (),
        repeated_value=repeated_value if reading.signal is Signal.REPEATED_VALUE_RATE else None,
        instead_of=alternatives,
    )


def _severity_order(reading: Reading) -> tuple[bool, float, str]:
    return reading.level is not Level.SEVERE, -excess(reading, from_reference=True), reading.key


def _examples(counts: Mapping[str, int]) -> tuple[str, ...]:
    """The most frequent categories, escaped."""
    most_frequent = sorted(counts, key=lambda text: (-counts[text], text))[:MOST_CLIENT_TEXTS]
    return tuple(escape_untrusted_text(text) for text in most_frequent)


def to_json(payload: IncidentPayload) -> str:
    """The payload as JSON; `schema` describes it."""
    return _adapter().dump_json(payload, indent=2).decode()


def from_json(text: str) -> IncidentPayload:
    """The payload of a JSON text.

    Raises:
        pydantic.ValidationError: the text is not a payload.
    """
    return _adapter().validate_json(text)


def schema() -> dict[str, Any]:
    """The JSON schema of a payload of this version."""
    return _adapter().json_schema(mode="serialization")


@cache
def _adapter() -> TypeAdapter[IncidentPayload]:
    return TypeAdapter(IncidentPayload)


def escape_own_text(text: str, longest: int) -> str:
    """A name or sentence of the service on one line, truncated; unprintable characters and tags are escaped."""
    signs = truncate(text, longest)
    return "".join(sign if sign.isprintable() and sign not in "<>`" else f"\\u{ord(sign):04x}" for sign in signs)
