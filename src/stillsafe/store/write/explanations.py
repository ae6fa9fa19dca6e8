"""The only writer of `llm_explanations` and `explanation_failures`. Nothing that decides ever reads those tables."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert

from stillsafe.store.tables import explanation_failures, llm_explanations

OFFLINE, LLM = "offline", "llm"


def append_explanation(
    connection: Connection,
    *,
    incident_id: str,
    incident_status: str,
    source: str,
    generated_at: datetime,
    summary: str,
    likely_causes: str,
    recommendations: str,
    llm_model: str,
    prompt_version: str | None = None,
    seconds: float | None = None,
    unverified: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write one explanation of one incident in one status (`opened`, `escalated` or `resolved`).

    Args:
        connection: inside one transaction.
        incident_id: the incident.
        incident_status: the step that is explained.
        source: `offline` or `llm`; of each there is one for a step.
        generated_at: when it was made, aware UTC.
        summary: plain text, the numbers that are not grounded marked in it; so are the next two.
        likely_causes: one per line.
        recommendations: one per line.
        llm_model: who said it.
        prompt_version: of what the model was asked, or None where none was.
        seconds: how long it took, or None.
        unverified: the numbers that are not grounded: `field`, `number`, and `at`, its place in that text.
    """
    connection.execute(
        insert(llm_explanations).values(
            incident_id=incident_id,
            incident_status=incident_status,
            source=source,
            generated_at=generated_at,
            summary=summary,
            likely_causes=likely_causes,
            recommendations=recommendations,
            llm_model=llm_model,
            prompt_version=prompt_version,
            seconds=seconds,
            unverified=[dict(each) for each in unverified],
        )
    )


def append_explanation_failure(
    connection: Connection,
    *,
    incident_id: str,
    incident_status: str,
    at: datetime,
    llm_model: str,
    failure: str,
    seconds: float,
) -> None:
    """Write that nobody explained the step, how that failed, and how long it took."""
    connection.execute(
        insert(explanation_failures).values(
            incident_id=incident_id,
            incident_status=incident_status,
            at=at,
            llm_model=llm_model,
            failure=failure,
            seconds=seconds,
        )
    )
