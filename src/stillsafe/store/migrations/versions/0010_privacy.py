"""What fewer than five values share is removed from baselines and windows that older releases stored.

A run whose window or baseline changed is marked: it is replayed by its stored readings, and not recounted.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from stillsafe.store.redaction import baseline_columns, is_of_older_release, redacted_baseline, redacted_window

revision = "0010"
down_revision = "0009"

BATCH = 200
DOCUMENT = sa.JSON(none_as_null=True)
SEARCHABLE = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    """Apply."""
    for table in ("baseline_metrics", "current_window_metrics"):
        op.add_column(table, sa.Column("is_redacted", sa.Boolean(), nullable=False, server_default=sa.false()))
    connection = op.get_bind()
    _redact_baselines(connection)
    _redact_windows(connection)


def _redact_baselines(connection: sa.Connection) -> None:
    baselines = sa.table(
        "baseline_metrics",
        sa.column("service_id", sa.Integer()),
        sa.column("baseline_id", sa.String()),
        sa.column("document", DOCUMENT),
        sa.column("feature_ranges", DOCUMENT),
        sa.column("category_frequencies", SEARCHABLE),
        sa.column("is_redacted", sa.Boolean()),
    )
    runs = sa.table(
        "current_window_metrics",
        sa.column("service_id", sa.Integer()),
        sa.column("baseline_id", sa.String()),
        sa.column("is_redacted", sa.Boolean()),
    )
    keys = connection.execute(sa.select(baselines.c.service_id, baselines.c.baseline_id)).all()
    for service_id, baseline_id in keys:
        is_key = sa.and_(baselines.c.service_id == service_id, baselines.c.baseline_id == baseline_id)
        document: Any = connection.execute(sa.select(baselines.c.document).where(is_key)).scalar()
        if not is_of_older_release(document):
            continue
        new_document = redacted_baseline(document)
        values = {"document": new_document, **baseline_columns(new_document), "is_redacted": True}
        connection.execute(sa.update(baselines).where(is_key).values(**values))
        is_judged_by_it = sa.and_(runs.c.service_id == service_id, runs.c.baseline_id == baseline_id)
        connection.execute(sa.update(runs).where(is_judged_by_it).values(is_redacted=True))


def _redact_windows(connection: sa.Connection) -> None:
    runs = sa.table(
        "current_window_metrics",
        sa.column("id", sa.Integer()),
        sa.column("window", DOCUMENT),
        sa.column("is_redacted", sa.Boolean()),
    )
    query = sa.select(runs.c.id, runs.c.window).where(runs.c.window.is_not(None)).order_by(runs.c.id).limit(BATCH)
    update = sa.update(runs).where(runs.c.id == sa.bindparam("run_id"))
    rows = connection.execute(query).all()
    while rows:
        changes: list[dict[str, Any]] = [
            {"run_id": row.id, "new_window": redacted_window(row.window)}
            for row in rows
            if is_of_older_release(row.window)
        ]
        if changes:
            connection.execute(update.values(window=sa.bindparam("new_window"), is_redacted=True), changes)
        rows = connection.execute(query.where(runs.c.id > rows[-1].id)).all()
