"""Removes from stored baselines the features that the owner has hidden from the log since they were made."""

from sqlalchemy import Engine

from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.logged_baseline import logged_baseline
from stillsafe.store import database
from stillsafe.store.read.baselines import all_baselines
from stillsafe.store.write.baselines import replace_document
from stillsafe.store.write.decisions import mark_runs_redacted


def redact_baselines(engine: Engine, log_format: LogFormat) -> list[str]:
    """Cut every stored baseline of a service down to what its log may show; the identifiers of those that changed.

    The runs that such a baseline judged are replayed by their stored readings from then on.

    Raises:
        StoreError: the database cannot be read or written.
    """
    with database.writing(engine) as connection:
        baselines = [record.baseline for record in all_baselines(connection)]
        pairs = [(baseline, logged_baseline(baseline, log_format)) for baseline in baselines]
        parts = [part for baseline, part in pairs if part != baseline]
        for part in parts:
            replace_document(connection, part)
            mark_runs_redacted(connection, part.baseline_id)
    return [part.baseline_id for part in parts]
