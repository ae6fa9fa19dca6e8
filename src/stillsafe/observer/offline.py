"""The observer that needs no network: an incident explained from templates, always alike for the same incident.

It is the default, and what is shown first where a language model has been asked too. Pure.
"""

from stillsafe.core.incident import IncidentEvent
from stillsafe.observer.advice import likely_causes, recommendations
from stillsafe.observer.facts import consequence, opening, traffic
from stillsafe.observer.payload import Explanation, IncidentPayload

MODEL = "offline"


def explain(payload: IncidentPayload) -> Explanation:
    """Summary, likely causes and recommendations. Deterministic and total; every number in them is in the payload."""
    summary = [opening(payload), payload.reason, *_earlier(payload), traffic(payload), consequence(payload)]
    return Explanation(" ".join(summary), "\n".join(likely_causes(payload)), "\n".join(recommendations(payload)), MODEL)


def _earlier(payload: IncidentPayload) -> list[str]:
    resolved = payload.status == IncidentEvent.RESOLVED and payload.earlier_reason
    return [f"It had been about this: {payload.earlier_reason}"] if resolved else []
