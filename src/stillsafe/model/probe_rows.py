"""One row that a model should have no trouble with, to try it on before it serves."""

import math
from collections.abc import Mapping
from typing import Any

from stillsafe.core.schema import FeatureSpec, FeatureType, Logged, Row, Schema, Value


def typical_row(schema: Schema, reference: Mapping[str, Any]) -> Row:
    """A row as healthy as the reference tells, or else within the hard limits."""
    return {spec.name: _typical_value(spec, seen(spec, reference)) for spec in schema.features}


def seen(spec: FeatureSpec, reference: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the reference baseline says of a feature; nothing of one that is not written down as it is."""
    baseline = reference.get("baseline")
    features = baseline.get("features") if isinstance(baseline, dict) else None
    seen = features.get(spec.name) if isinstance(features, dict) else None
    return seen if isinstance(seen, dict) and spec.log is Logged.KEEP else {}


def _typical_value(spec: FeatureSpec, seen: Mapping[str, Any]) -> Value:
    if spec.type is FeatureType.BOOLEAN:
        return False
    if spec.type is FeatureType.CATEGORY:
        counts = seen.get("category_counts") or {}
        known = [c for c in counts if spec.categories is None or c in spec.categories] or list(spec.categories or ())
        return str(max(known, key=lambda c: counts.get(c, 0))) if known else ""
    limits = (seen.get("minimum"), spec.minimum, spec.maximum)
    number = next((limit for limit in limits if limit is not None), 0.0)
    return math.ceil(number) if spec.type is FeatureType.INTEGER else float(number)


def guessed(schema: Schema, reference: Mapping[str, Any]) -> bool:
    """Whether a typical row holds a category that nobody has ever seen."""
    categories = [spec for spec in schema.features if spec.type is FeatureType.CATEGORY and not spec.categories]
    return any(not seen(spec, reference).get("category_counts") for spec in categories)
