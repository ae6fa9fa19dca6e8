"""Which features a request must name: those that no row of the sample lacks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from stillsafe.core.schema import Row, Schema
from stillsafe.core.text import join_names
from stillsafe.init.infer import CONFIDENCE, FEWEST_VALUES, MOST_NAMES


@dataclass(frozen=True, slots=True)
class NamedFeatures:
    """The schema of a new service.

    Attributes:
        schema: the features, those that no row lacks not omittable.
        sentences: what is refused, how sure that is, and how to change it; empty where every feature is omittable.
    """

    schema: Schema
    sentences: tuple[str, ...] = ()


def name_complete_features(schema: Schema, rows: Sequence[Row]) -> NamedFeatures:
    """Have requests name the features that no row of the sample lacks. A sample of few rows is no evidence.

    Their values may be null where the model copes with that, so that a failed feed is served and watched.

    Args:
        schema: what the model tolerates; its required features stay as they are.
        rows: the sample.
    """
    names = [
        spec.name
        for spec in schema.features
        if len(rows) >= FEWEST_VALUES and not spec.required and all(row[spec.name] is not None for row in rows)
    ]
    if not names:
        return NamedFeatures(schema)
    specs = (replace(spec, omittable=spec.name not in names) for spec in schema.features)
    return NamedFeatures(Schema(tuple(specs)), (_sentence(names, len(rows)),))


def _sentence(names: Sequence[str], row_count: int) -> str:
    """The bound is that of a minimum of zero, see `infer.describe`."""
    share = 1 - (1 - CONFIDENCE) ** (1 / row_count)
    return (
        f"Requests must name these features, since no row of the sample lacks them: {join_names(names, MOST_NAMES)}. "
        f"A value may be null, and is then watched. From {row_count} rows it is {CONFIDENCE:.0%} sure that fewer than "
        f"{share:.2%} of requests lack one. If clients may leave one out, set `omittable = true` for it."
    )
