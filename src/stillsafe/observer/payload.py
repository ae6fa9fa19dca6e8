"""What the observer is told about an incident, and what it answers. Aggregates only, never a row.

Everything in a payload may end up in a prompt or on a page. Text that a client chose (the names of categories
never seen before) is cut and spelt in harmless ASCII here, where it enters.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from stillsafe.core.incident import Incident, IncidentEvent, sentence
from stillsafe.core.signals import Evidence, Reading

LONGEST_CLIENT_TEXT = 40
MOST_CLIENT_TEXTS = 5
_MARKUP = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&'`{}[]|*#"}


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests of the window: how many were answered, by whom, and how many were refused."""

    prediction_count: int
    fallback_count: int = 0
    refusal_count: int = 0
    model_error_count: int = 0


@dataclass(frozen=True, slots=True)
class IncidentPayload:
    """One step of an incident, in aggregates.

    Attributes:
        incident_id: the incident.
        status: `opened`, `escalated` or `resolved`.
        severity: `WARNING` or `CRITICAL`; `NORMAL` where it is resolved.
        at: the time of the run, aware UTC.
        service: the service's name.
        model_version: the version that was judged.
        reason: the deterministic sentences, with their numbers.
        sentences: one per trigger reading.
        readings: the trigger readings; empty where the incident is resolved.
        features: features that the triggers name.
        fallback: what is answered in place of the model, in words.
        fallback_active: whether the model is bypassed now.
        traffic: the window's counts.
        window_start, window_end: the window that was judged, aware UTC.
        unseen_categories: per feature, categories never seen when healthy, cut and spelt by `harmless`.
    """

    incident_id: str
    status: str
    severity: str
    at: datetime
    service: str
    model_version: str
    reason: str
    sentences: tuple[str, ...]
    readings: tuple[Reading, ...]
    features: tuple[str, ...]
    fallback: str
    fallback_active: bool
    traffic: Traffic
    window_start: datetime
    window_end: datetime
    unseen_categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What an observer says: plain text, advisory.

    Attributes:
        summary: what happened, for a person who was asleep.
        recommendations: what to look at, one per line.
        llm_model: who said it; `offline` where no language model was asked.
    """

    summary: str
    recommendations: str
    llm_model: str


def describe(
    incident: Incident,
    readings: Sequence[Reading],
    *,
    service: str,
    model_version: str,
    fallback: str,
    enforced: bool,
    traffic: Traffic,
    window_start: datetime,
    window_end: datetime,
    unseen_examples: Mapping[str, Mapping[str, int]] | None = None,
) -> IncidentPayload:
    """The payload of what a run did to an incident.

    Args:
        incident: from the decision.
        readings: all readings of the run; those that triggered the incident are kept.
        service: the service's name.
        model_version: the version that was judged.
        fallback: the conservative answer in words, such as `0.5`.
        enforced: whether DEGRADED bypasses the model (`mode = "enforce"`).
        traffic: the window's counts.
        window_start: where the window begins, aware UTC.
        window_end: where it ends.
        unseen_examples: per feature, client-chosen categories and their counts, as the window holds them.
    """
    triggers = tuple(
        reading for reading in readings if reading.key in incident.trigger_signals and reading.evidence is Evidence.BAD
    )
    return IncidentPayload(
        incident_id=incident.incident_id,
        status=incident.event.value,
        severity=incident.severity.value,
        at=incident.at,
        service=service,
        model_version=model_version,
        reason=incident.reason,
        sentences=tuple(sentence(reading) for reading in triggers),
        readings=triggers,
        features=incident.damaged_features,
        fallback=fallback,
        fallback_active=enforced and incident.event is not IncidentEvent.RESOLVED and incident.severity == "CRITICAL",
        traffic=traffic,
        window_start=window_start,
        window_end=window_end,
        unseen_categories={
            name: tuple(
                harmless(text) for text in sorted(examples, key=lambda t: (-examples[t], t))[:MOST_CLIENT_TEXTS]
            )
            for name, examples in (unseen_examples or {}).items()
            if name in incident.damaged_features and examples
        },
    )


def harmless(text: str) -> str:
    """A client's text, cut and in quotes, printable ASCII without markup: it cannot open a tag or start a line."""
    cut = text if len(text) <= LONGEST_CLIENT_TEXT else f"{text[:LONGEST_CLIENT_TEXT]}..."
    return json.dumps(cut).translate(_MARKUP).replace("\x7f", "\\u007f")
