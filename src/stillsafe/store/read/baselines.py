"""Queries for baselines."""

from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, literal, select

from stillsafe.core.baseline import Baseline
from stillsafe.store.codec import stored_value
from stillsafe.store.tables import baseline_metrics


@dataclass(frozen=True, slots=True)
class BaselineRecord:
    """One stored baseline and whether it is the active one of its model version."""

    baseline: Baseline
    active: bool


_ACTIVE_EXISTS = (
    select(literal(1))
    .where(baseline_metrics.c.model_version == bindparam("version"), baseline_metrics.c.active)
    .limit(1)
)


def baseline_by_id(connection: Connection, baseline_id: str) -> Baseline | None:
    """A baseline by its id."""
    query = select(baseline_metrics.c.document).where(baseline_metrics.c.baseline_id == baseline_id)
    document = connection.execute(query).scalar()
    return None if document is None else stored_value(Baseline, document)


def active_baseline(connection: Connection, model_version: str) -> Baseline | None:
    """The active baseline of a model version, or None where the version has none."""
    query = select(baseline_metrics.c.document).where(
        baseline_metrics.c.model_version == model_version, baseline_metrics.c.active
    )
    document = connection.execute(query).scalar()
    return None if document is None else stored_value(Baseline, document)


def is_watched(connection: Connection, model_version: str) -> bool:
    """Whether a model version has an active baseline. Cheap, since every prediction queries it."""
    return connection.execute(_ACTIVE_EXISTS, {"version": model_version}).first() is not None


def all_baselines(connection: Connection) -> list[BaselineRecord]:
    """Every baseline, newest first."""
    query = select(baseline_metrics).order_by(baseline_metrics.c.created_at.desc(), baseline_metrics.c.baseline_id)
    return [
        BaselineRecord(stored_value(Baseline, row.document), bool(row.active))
        for row in connection.execute(query)
        if row.document is not None
    ]
