"""INSERT of `llm_explanations` and `explanation_failures`.

No decision reads these tables, and an owner may drop them: nothing is stored where one is missing.
"""

from datetime import datetime

from sqlalchemy import Connection, insert

from stillsafe.store import database
from stillsafe.store.read.incidents import ExplanationRecord, has_table
from stillsafe.store.tables import explanation_failures, llm_explanations

OFFLINE, LLM = "offline", "llm"


def append_explanation(connection: Connection, record: ExplanationRecord) -> None:
    """Insert one explanation of one step of an incident.

    Raises:
        sqlalchemy.exc.IntegrityError: the source has explained the step already.
    """
    if not has_table(connection, llm_explanations):
        return
    columns = {name: getattr(record, name) for name in ExplanationRecord.__dataclass_fields__}
    connection.execute(insert(llm_explanations).values(service_id=database.service_id(connection), **columns))


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
    """Insert that a language model failed to explain a step: how it failed, and after how many seconds."""
    if not has_table(connection, explanation_failures):
        return
    columns = {
        "incident_id": incident_id,
        "incident_status": incident_status,
        "at": at,
        "llm_model": llm_model,
        "failure": failure,
        "seconds": seconds,
    }
    connection.execute(insert(explanation_failures).values(service_id=database.service_id(connection), **columns))
