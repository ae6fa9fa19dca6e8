"""How the log shows the features of a row, and what of a baseline can be compared with it.

The baseline and the log may hide different things: a sample at `init` has plain categories, and the log their hashes
where the owner asked for that. A hash of a category that the baseline contains counts as that category.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from stillsafe.core.baseline import Baseline, FeatureBaseline
from stillsafe.core.schema import OPEN_TYPES, LogMode, Schema, salted_hash
from stillsafe.monitoring.columns import Columns, DictionaryColumn
from stillsafe.monitoring.views import with_baseline_views
from stillsafe.settings import Settings

HASH = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class LogFormat:
    """How the log shows the features.

    Attributes:
        schema: the features.
        salt: of hashed values.
        min_count: values that must share a category or a number in a window.
    """

    schema: Schema
    salt: str = ""
    min_count: int = 1

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The format of a service's log."""
        return cls(settings.schema_of_features, settings.service.hash_salt, settings.privacy.min_count)

    def comparable_baseline(self, baseline: Baseline) -> Baseline:
        """The baseline as rows of the log can be compared with it: of a hidden value only whether it is missing."""
        hashed_types = {spec.name: spec.type for spec in self.schema.features if spec.log is LogMode.HASH}
        features = {
            name: _visible_part(feature)
            if name in hashed_types and (hashed_types[name] in OPEN_TYPES or not feature.is_categorical)
            else feature
            for name, feature in baseline.features.items()
        }
        return replace(baseline, features=features)

    def comparable_columns(self, rows: Columns, baseline: Baseline) -> Columns:
        """The rows with each category in the form that the baseline has it in, plain or hashed, and with its views."""
        rows = with_baseline_views(rows, baseline.features, self.salt)
        categories = {
            name: self._comparable_column(column, baseline.features[name]) if name in baseline.features else column
            for name, column in rows.categories.items()
        }
        return replace(rows, categories=categories)

    def _comparable_column(self, column: DictionaryColumn, feature: FeatureBaseline) -> DictionaryColumn:
        healthy = {*feature.category_counts, *feature.rare_categories}
        unknown = {text for text in column.vocabulary if isinstance(text, str) and text not in healthy}
        if not unknown or not healthy:
            return column
        twins: dict[object, str] = {}
        if any(map(HASH.fullmatch, healthy)):
            twins |= {text: each for text in unknown if (each := salted_hash(text, self.salt)) in healthy}
        if any(HASH.fullmatch(text) for text in unknown):
            plain = {salted_hash(category, self.salt): category for category in healthy}
            twins |= {text: plain[text] for text in unknown if text in plain}
        return _with_texts(column, [twins.get(text, text) for text in column.vocabulary]) if twins else column


def _visible_part(feature: FeatureBaseline) -> FeatureBaseline:
    """What the log shows of a hidden value; a number keeps its bins, which the joint table counts too."""
    bins = feature.bins if feature.bins is not None and feature.bins.lowest is not None else None
    return FeatureBaseline(None, feature.value_count, feature.missing_count, bins=bins)


def _with_texts(column: DictionaryColumn, vocabulary: Sequence[object]) -> DictionaryColumn:
    """The column with another text for each of its texts; equal ones become one."""
    positions = {text: index for index, text in enumerate(dict.fromkeys(vocabulary))}
    indices = np.array([positions[text] for text in vocabulary], dtype=np.int32)
    return DictionaryColumn(indices[column.indices], tuple(positions))
