"""Findings of `stillsafe check` by labels: how far the estimated loss was from the truth, and what a bypass won."""

from collections.abc import Iterator

from sqlalchemy import Engine

from stillsafe.check.findings import Finding, ok, warning
from stillsafe.core.evidence.bypass_price import INTERVAL_DEVIATIONS
from stillsafe.model.estimate_report import estimate_account
from stillsafe.model.incident_price import newest_price
from stillsafe.settings import Settings
from stillsafe.store import database

SUBJECT = "estimate"


def estimate_findings(engine: Engine, settings: Settings) -> Iterator[Finding]:
    """The estimate held to account, and the newest bypass with a price; nothing where no label tells of them."""
    with database.reading(engine) as connection:
        account = estimate_account(connection, settings.model.version)
        price = newest_price(connection, settings.model.version)
    if account is not None:
        yield ok(SUBJECT, account.sentence) if account.is_trusted else warning(SUBJECT, account.sentence)
    if price is not None:
        incident, bypass = price
        clear_loss = bypass.gain < -INTERVAL_DEVIATIONS * bypass.gain_error
        yield (warning if clear_loss else ok)("bypass price", f"Incident {incident.incident_id}: {bypass.sentence}")
