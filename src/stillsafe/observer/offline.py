"""The offline observer: explains an incident from templates, always alike, without network. Pure.

It is the default. Where a language model explains too, the offline explanation is shown first.
"""

from stillsafe.core.incident import IncidentEvent
from stillsafe.observer.advice import likely_causes, recommendations
from stillsafe.observer.facts import consequence, opening, traffic
from stillsafe.observer.payload import Explanation, IncidentPayload

MODEL = "offline"


def explain(payload: IncidentPayload) -> Explanation:
    """Summary, likely causes and recommendations. Deterministic and total; every number in them is in the payload."""
    summary = [opening(payload), payload.reason, *_earlier_reason(payload), traffic(payload), consequence(payload)]
    return Explanation(" ".join(summary), "\n".join(likely_causes(payload)), "\n".join(recommendations(payload)), MODEL)


def _earlier_reason(payload: IncidentPayload) -> list[str]:
    resolved = payload.status == IncidentEvent.RESOLVED and payload.earlier_reason
    return [f"It had been about this: {payload.earlier_reason}"] if resolved else []
