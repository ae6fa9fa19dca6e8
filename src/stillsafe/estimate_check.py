"""Finding of `stillsafe check` about the estimated loss: how far it was from the truth that came later."""

from collections.abc import Iterator

from sqlalchemy import Engine

from stillsafe.findings import Finding, ok, warning
from stillsafe.model.estimate_report import estimate_account
from stillsafe.settings import Settings
from stillsafe.store import database

SUBJECT = "estimate"


def estimate_findings(engine: Engine, settings: Settings) -> Iterator[Finding]:
    """The estimate held to account; nothing where no labelled window has one."""
    with database.reading(engine) as connection:
        account = estimate_account(connection, settings.model.version)
    if account is not None:
        yield ok(SUBJECT, account.sentence) if account.is_trusted else warning(SUBJECT, account.sentence)
