"""INSERT and UPDATE of `baseline_metrics`."""

from typing import Any

from sqlalchemy import Connection, insert, update

from stillsafe.core.baseline import Baseline
from stillsafe.store import database
from stillsafe.store.codec import to_document
from stillsafe.store.tables import baseline_metrics


def insert_baseline(connection: Connection, baseline: Baseline) -> None:
    """Insert a baseline that is not active yet."""
    connection.execute(
        insert(baseline_metrics).values(
            service_id=database.service_id(connection),
            active=False,
            document=to_document(baseline),
            **baseline_columns(baseline),
        )
    )


def baseline_columns(baseline: Baseline) -> dict[str, Any]:
    """The columns that copy a part of the baseline's document. A replay compares them, so their formulas stay."""
    features = baseline.features
    return {
        "baseline_id": baseline.baseline_id,
        "created_at": baseline.created_at,
        "sample_size": baseline.sample_size,
        "avg_confidence": baseline.avg_confidence,
        "low_confidence_rate": baseline.low_confidence_rate,
        "feature_ranges": {
            name: {"min": f.minimum, "max": f.maximum} for name, f in features.items() if f.minimum is not None
        },
        "category_frequencies": {
            name: {category: count / f.value_count for category, count in f.category_counts.items()}
            for name, f in features.items()
            if f.category_counts
        },
        "missing_value_rates": {name: f.missing_rate for name, f in features.items()},
        "model_version": baseline.model_version,
        "source": baseline.source.value,
    }


def replace_document(connection: Connection, baseline: Baseline) -> None:
    """Store a part of a baseline in its place, and mark it as redacted."""
    columns = {name: value for name, value in baseline_columns(baseline).items() if name != "baseline_id"}
    connection.execute(
        update(baseline_metrics)
        .where(
            baseline_metrics.c.service_id == database.service_id(connection),
            baseline_metrics.c.baseline_id == baseline.baseline_id,
        )
        .values(**columns, document=to_document(baseline), is_redacted=True)
    )


def mark_active(connection: Connection, baseline: Baseline) -> None:
    """Make a baseline the one active baseline of its model version."""
    same_version = baseline_metrics.c.model_version == baseline.model_version
    connection.execute(
        update(baseline_metrics)
        .where(baseline_metrics.c.service_id == database.service_id(connection), same_version)
        .values(active=baseline_metrics.c.baseline_id == baseline.baseline_id)
    )
