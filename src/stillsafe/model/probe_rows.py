"""A probe row: a plausible row on which a model is tried before it serves."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from stillsafe.core.baseline import FeatureBaseline
from stillsafe.core.schema import OPEN_TYPES, FeatureSpec, FeatureType, Row, Schema, Value
from stillsafe.model.reference import Reference

EXAMPLES = {FeatureType.TEXT: "some text", FeatureType.IDENTIFIER: "A1", FeatureType.DATE: "2026-01-01"}
"""A value of each kind whose healthy values are not kept."""

EXAMPLE_TIMES, EXAMPLE_DAY = {"seconds": 1_767_225_600, "milliseconds": 1_767_225_600_000}, 20260101
"""The start of 2026 as numbers."""


def probe_row(schema: Schema, reference: Reference) -> Row:
    """A row of healthy values where the reference has profiles, else of values within the hard limits."""
    return {spec.name: _probe_value(spec, reference.profile(spec)) for spec in schema.features}


def has_arbitrary_category(schema: Schema, reference: Reference) -> bool:
    """Whether the probe row contains a made-up text, because neither schema nor reference lists one."""
    if any(spec.type in OPEN_TYPES for spec in schema.features):
        return True
    open_features = [spec for spec in schema.features if spec.type is FeatureType.CATEGORY and not spec.categories]
    profiles = [reference.profile(spec) for spec in open_features]
    return any(profile is None or not profile.category_counts for profile in profiles)


def healthy_values(spec: FeatureSpec, profile: FeatureBaseline | None) -> list[Value]:
    """Values of one feature that the healthy period contains, as far as its profile shows them."""
    if spec.type is FeatureType.BOOLEAN:
        return [True, False]
    if spec.type in OPEN_TYPES:
        return [_example(spec)]
    if spec.date_format is not None:
        return allowed_numbers(spec, [EXAMPLE_TIMES.get(spec.date_format, EXAMPLE_DAY)])
    if profile is None:
        return []
    if spec.type is FeatureType.CATEGORY:
        return [name for name in profile.category_counts if spec.categories is None or name in spec.categories]
    edges = profile.bins.edges if profile.bins is not None else ()
    return allowed_numbers(spec, [*edges, profile.minimum, profile.maximum])


def allowed_numbers(spec: FeatureSpec, numbers: Sequence[Any]) -> list[Value]:
    """The finite numbers within the hard limits; for an integer feature only the whole ones."""
    low, high = spec.minimum, spec.maximum
    return [
        int(number) if spec.type is FeatureType.INTEGER else float(number)
        for number in numbers
        if number is not None
        and math.isfinite(number)
        and (low is None or number >= low)
        and (high is None or number <= high)
        and (spec.type is not FeatureType.INTEGER or float(number).is_integer())
    ]


def _example(spec: FeatureSpec) -> str:
    """A text of an open-ended feature; a date as its format has it."""
    text = EXAMPLES[spec.type]
    if spec.type is FeatureType.DATE and spec.date_format is not None:
        text = datetime.fromisoformat(text).strftime(spec.date_format)
    return text[: spec.max_length]


def _probe_value(spec: FeatureSpec, profile: FeatureBaseline | None) -> Value:
    if spec.type is FeatureType.BOOLEAN:
        return False
    if spec.type in OPEN_TYPES:
        return _example(spec)
    if spec.type is FeatureType.CATEGORY:
        counts = profile.category_counts if profile is not None else {}
        categories = [c for c in counts if spec.categories is None or c in spec.categories]
        categories = categories or list(spec.categories or ())
        return max(categories, key=lambda c: counts.get(c, 0)) if categories else ""
    if spec.date_format is not None and (times := healthy_values(spec, profile)):
        return times[0]
    limits = (profile.minimum if profile is not None else None, spec.minimum, spec.maximum)
    number = next((limit for limit in limits if limit is not None), 0.0)
    return math.ceil(number) if spec.type is FeatureType.INTEGER else float(number)
