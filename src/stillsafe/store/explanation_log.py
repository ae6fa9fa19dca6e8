"""The only writer of `llm_explanations`. Nothing that decides ever reads that table."""

from datetime import datetime

from sqlalchemy import Connection, insert

from stillsafe.store.tables import llm_explanations


def append(
    connection: Connection,
    *,
    incident_id: str,
    incident_status: str,
    generated_at: datetime,
    summary: str,
    recommendations: str,
    llm_model: str,
) -> None:
    """Write one explanation of one incident in one status (`opened`, `escalated` or `resolved`)."""
    connection.execute(
        insert(llm_explanations).values(
            incident_id=incident_id,
            incident_status=incident_status,
            generated_at=generated_at,
            summary=summary,
            recommendations=recommendations,
            llm_model=llm_model,
        )
    )
