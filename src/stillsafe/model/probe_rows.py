"""A probe row: a plausible row on which a model is tried before it serves."""

import math

from stillsafe.core.baseline import FeatureBaseline
from stillsafe.core.schema import FeatureSpec, FeatureType, Row, Schema, Value
from stillsafe.model.reference import Reference


def probe_row(schema: Schema, reference: Reference) -> Row:
    """A row of healthy values where the reference has profiles, else of values within the hard limits."""
    return {spec.name: _probe_value(spec, reference.profile(spec)) for spec in schema.features}


def has_arbitrary_category(schema: Schema, reference: Reference) -> bool:
    """Whether the probe row contains a made-up category, because neither schema nor reference lists one."""
    open_features = [spec for spec in schema.features if spec.type is FeatureType.CATEGORY and not spec.categories]
    profiles = [reference.profile(spec) for spec in open_features]
    return any(profile is None or not profile.category_counts for profile in profiles)


def _probe_value(spec: FeatureSpec, profile: FeatureBaseline | None) -> Value:
    if spec.type is FeatureType.BOOLEAN:
        return False
    if spec.type is FeatureType.CATEGORY:
        counts = profile.category_counts if profile is not None else {}
        categories = [c for c in counts if spec.categories is None or c in spec.categories]
        categories = categories or list(spec.categories or ())
        return max(categories, key=lambda c: counts.get(c, 0)) if categories else ""
    limits = (profile.minimum if profile is not None else None, spec.minimum, spec.maximum)
    number = next((limit for limit in limits if limit is not None), 0.0)
    return math.ceil(number) if spec.type is FeatureType.INTEGER else float(number)
