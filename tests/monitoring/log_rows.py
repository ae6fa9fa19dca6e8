"""Made-up rows of the log, and the baseline of some."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from stillsafe.core.baseline import Baseline, BaselineSource
from stillsafe.core.schema import FeatureSpec, FeatureType, LogMode, Schema
from stillsafe.monitoring.columns import Columns
from stillsafe.monitoring.profile import profile_features
from stillsafe.store.read.requests import LogRows

AT = datetime(2026, 3, 1, tzinfo=UTC)
SCHEMA = Schema(
    (
        FeatureSpec("size", FeatureType.NUMERIC, required=False),
        FeatureSpec("lift", FeatureType.BOOLEAN, required=False),
        FeatureSpec("town", FeatureType.CATEGORY, required=False),
        FeatureSpec("name", FeatureType.CATEGORY, required=False, log=LogMode.HASH),
        FeatureSpec("rent", FeatureType.NUMERIC, required=False, log=LogMode.HASH),
        FeatureSpec("secret", FeatureType.NUMERIC, required=False, log=LogMode.DROP),
    )
)


def log_rows(
    *snapshots: Any, confidence: float | None = 0.8, fallback: bool = False, error: str | None = None
) -> LogRows:
    """A row for each snapshot, a second apart. A snapshot that is a text is stored as it is."""
    n = len(snapshots)
    return LogRows(
        range(n),
        [AT + timedelta(seconds=i) for i in range(n)],
        [snapshot if isinstance(snapshot, str) else json.dumps(snapshot) for snapshot in snapshots],
        ["1"] * n,
        [confidence] * n,
        [fallback] * n,
        [error] * n,
    )


def baseline_of(rows: Columns) -> Baseline:
    """A baseline with the profile of these rows."""
    features = profile_features(rows, SCHEMA)
    return Baseline("b", "1", AT, BaselineSource.FIRST, len(rows), 1, 0.8, 0.1, 0.7, 0.1, features=features)
