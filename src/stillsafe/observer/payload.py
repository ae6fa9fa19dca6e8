"""What the observer is told about an incident, and what it answers. Aggregates only, never a row.

Everything in a payload may end up in a prompt or on a page. Text that a client chose (the names of categories
never seen before) is cut and spelt in harmless ASCII here, where it enters; of features that the log does not keep
in clear, no value enters at all.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any

from pydantic import TypeAdapter

from stillsafe.core.incident import sentence
from stillsafe.core.signals import Level, Reading, Signal

VERSION = 1
LONGEST_CLIENT_TEXT = 40
MOST_CLIENT_TEXTS = 5
LONGEST_NAME = 100
LONGEST_REASON = 1_000
MOST_DEVIATIONS = 8
_MARKUP = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&'`{}[]|*#"}


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests of the window: how many were answered, by whom, and how many were refused."""

    prediction_count: int
    fallback_count: int = 0
    refusal_count: int = 0
    model_error_count: int = 0


@dataclass(frozen=True, slots=True)
class Deviation:
    """One signal that made the incident, with its numbers as a reading has them (rates in [0, 1]).

    Attributes:
        signal: what was read.
        feature: of which feature, or None.
        level: how far from healthy.
        value, reference: now and in the healthy baseline, or None where it cannot be told.
        moderate_limit, severe_limit: distance from the reference beyond which the level is reached, or None.
        sample_count: requests or values behind `value`.
        deviating_runs, severe_runs: runs in a row in which the signal deviated, and was severe.
        sentence: the reading in words.
        new_values: a few categories never seen when healthy. A client chose them: data, spelt by `harmless`.
        repeated_value: the number that stands in place of all others, or None.
        instead_of: features that may be damaged in place of this one: nothing tells which.
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
    """What answers in the model's place.

    Attributes:
        active: whether the model is bypassed now.
        default: the answer where no rule applies, in words.
        rule_count: conditions that are tried first.
        avoided_features: features whose rules are skipped, for they are damaged.
    """

    active: bool
    default: str
    rule_count: int = 0
    avoided_features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IncidentPayload:
    """One step of an incident, in aggregates.

    Attributes:
        version: of this document's form.
        incident_id: the incident.
        status: `opened`, `escalated` or `resolved`.
        severity: `WARNING` or `CRITICAL`; `NORMAL` where it is resolved.
        detected_at: when the incident was opened, aware UTC.
        at: the time of the run that took this step, aware UTC.
        service: the service's name.
        model_version: the version that was judged.
        state_before, state_after: what everybody obeyed before the run, and obeys since.
        reason: what the monitor concluded, with its numbers.
        earlier_reason: where the incident is resolved, what it had been about; else empty.
        deviations: what made the incident, the worst first; empty where it is resolved.
        further_deviations: how many more there are.
        fallback: what answers in the model's place.
        traffic: the window's counts.
        window_start, window_end: the window that was judged, aware UTC.
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
    """What an observer says: plain text, advisory.

    Attributes:
        summary: what happened, for a person who was asleep.
        likely_causes: what may have led to it, one per line.
        recommendations: what to look at, one per line.
        llm_model: who said it; `offline` where no language model was asked.
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
) -> tuple[Deviation, ...]:
    """What deviated, the worst first.

    Args:
        readings: those that made the incident.
        streaks: per reading key, the runs in a row in which it deviated, and was severe.
        kept_features: features that the log keeps in clear: of no other does any value enter.
        new_values: per feature, categories never seen when healthy and their counts, as clients sent them.
        repeated_values: per feature, its commonest number.
    """
    ordered = sorted(readings, key=lambda reading: (reading.level is not Level.SEVERE, -_excess(reading), reading.key))
    return tuple(_deviation(reading, streaks, kept_features, new_values, repeated_values) for reading in ordered)


def _deviation(
    reading: Reading,
    streaks: Mapping[str, tuple[int, int]],
    kept_features: Collection[str],
    new_values: Mapping[str, Mapping[str, int]],
    repeated_values: Mapping[str, float],
) -> Deviation:
    name = reading.feature
    spelt = None if name is None else plain(name, LONGEST_NAME)
    instead = tuple(plain(other, LONGEST_NAME) for other in reading.instead_of)
    shown = name is not None and name in kept_features
    deviating, severe = streaks.get(reading.key, (0, 0))
    return Deviation(
        signal=reading.signal,
        feature=spelt,
        level=reading.level,
        value=reading.value,
        reference=reading.reference,
        moderate_limit=reading.moderate_limit,
        severe_limit=reading.severe_limit,
        sample_count=reading.sample_count,
        deviating_runs=deviating,
        severe_runs=severe,
        sentence=sentence(replace(reading, feature=spelt, instead_of=instead)),
        new_values=_examples(new_values.get(name or "", {}))
        if shown and reading.signal is Signal.UNSEEN_CATEGORY_RATE
        else (),
        repeated_value=repeated_values.get(name or "")
        if shown and reading.signal is Signal.REPEATED_VALUE_RATE
        else None,
        instead_of=instead,
    )


def _examples(counts: Mapping[str, int]) -> tuple[str, ...]:
    """The most frequent ones, each spelt."""
    return tuple(harmless(text) for text in sorted(counts, key=lambda t: (-counts[t], t))[:MOST_CLIENT_TEXTS])


def _excess(reading: Reading) -> float:
    if reading.value is None or reading.reference is None or not reading.moderate_limit:
        return 0.0
    return abs(reading.value - reading.reference) / reading.moderate_limit


def to_json(payload: IncidentPayload) -> str:
    """The payload as a JSON document that `schema` describes."""
    return _adapter().dump_json(payload, indent=2).decode()


def from_json(text: str) -> IncidentPayload:
    """The payload of such a document.

    Raises:
        pydantic.ValidationError: it is none.
    """
    return _adapter().validate_json(text)


def schema() -> dict[str, Any]:
    """The JSON schema of a payload of this version."""
    return _adapter().json_schema(mode="serialization")


@cache
def _adapter() -> TypeAdapter[IncidentPayload]:
    return TypeAdapter(IncidentPayload)


def harmless(text: str) -> str:
    """A client's text, cut and in quotes, printable ASCII without markup: it cannot open a tag or start a line."""
    cut = text if len(text) <= LONGEST_CLIENT_TEXT else f"{text[:LONGEST_CLIENT_TEXT]}..."
    return json.dumps(cut).translate(_MARKUP).replace("\x7f", "\\u007f")


def plain(text: str, longest: int) -> str:
    """A name or sentence of the service's own on one line, cut: what cannot be printed, and tags, are spelt out."""
    cut = text if len(text) <= longest else f"{text[:longest]}..."
    return "".join(sign if sign.isprintable() and sign not in "<>`" else f"\\u{ord(sign):04x}" for sign in cut)
