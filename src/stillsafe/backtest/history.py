"""A table of past requests, converted to plain values in time order, with an optional label column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.schema import TEXT_TYPES, FeatureType, Schema
from stillsafe.errors import ConfigurationError
from stillsafe.model.frame_rows import feature_values, plain_values
from stillsafe.model.reference import read_reference
from stillsafe.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from stillsafe.table_file import ColumnKinds

TIMESTAMP, LABEL = "timestamp", "label"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Micros = NDArray[np.int64]
"""Times in microseconds since 1970, UTC."""


@dataclass(frozen=True, slots=True)
class History:
    """Past requests, oldest first. `n` rows.

    Attributes:
        columns: feature name -> (n,) values as JSON would carry them; None for a missing value.
        micros: (n,) request times, or None if the table has no usable timestamps.
        label_column: name of the label column, or None.
        labels: (n,) raw values of the label column, or None.
    """

    columns: Mapping[str, Sequence[object]]
    micros: Micros | None
    label_column: str | None = None
    labels: Sequence[object] | None = None

    def __len__(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values())))


def read_history(frame: "pd.DataFrame", schema: Schema, label: str | None = None) -> History:
    """Convert a table to a history.

    Args:
        frame: the features, optionally a column `timestamp` and a label column; other columns are ignored.
        schema: the features.
        label: name of the label column; default `label`, if that column exists and is not a feature.

    Raises:
        ConfigurationError: the table is empty, lacks a feature or the label, or has invalid timestamps.
    """
    # Imported here: pandas takes a second to import.
    from stillsafe.table_file import in_time_order, with_named_columns

    table = with_named_columns(frame)
    _require_columns(table, schema)
    label = _label_column(table, schema, label)
    micros = None
    if TIMESTAMP in table and TIMESTAMP not in schema.names:
        table, micros = in_time_order(table)
    labels = None if label is None else plain_values(table[label])
    columns = {spec.name: feature_values(spec, table[spec.name]) for spec in schema.features}
    return History(columns, micros, label, labels)


def text_columns(settings: Settings) -> dict[str, tuple[str, ...]]:
    """The features that are texts, each with the categories that it is known to have.

    Raises:
        ModelError: the reference file is invalid.
    """
    reference = read_reference(settings.path(settings.model.reference))
    texts = [spec for spec in settings.schema_of_features.features if spec.type in TEXT_TYPES]
    profiles = {spec.name: reference.profile(spec) for spec in texts}
    return {
        spec.name: (*(spec.categories or ()), *(profile.category_counts if profile is not None else ()))
        for spec, profile in zip(texts, profiles.values(), strict=True)
    }


def column_kinds(settings: Settings) -> "ColumnKinds":
    """The columns of a history by the schema: texts, numbers, and which ones are needed.

    Raises:
        ModelError: the reference file is invalid.
    """
    # Imported here: pandas takes a second to import.
    from stillsafe.table_file import ColumnKinds

    schema = settings.schema_of_features
    numbers = [spec.name for spec in schema.features if spec.type in (FeatureType.NUMERIC, FeatureType.INTEGER)]
    return ColumnKinds(text_columns(settings), numbers, (), schema.names)


def datetime_of(micros: int) -> datetime:
    """Convert microseconds since 1970 to an aware UTC time."""
    return EPOCH + timedelta(microseconds=int(micros))


def micros_of(time: datetime) -> int:
    """Convert an aware time to microseconds since 1970."""
    return (time - EPOCH) // timedelta(microseconds=1)


def _require_columns(table: "pd.DataFrame", schema: Schema) -> None:
    if missing := [name for name in schema.names if name not in table]:
        message = f"The history lacks columns that the service's schema names: {', '.join(missing)}."
        raise ConfigurationError(message, "Add them, or pass the settings of the service that recorded this history.")
    if table.empty:
        raise ConfigurationError("The history is empty.", "Pass a table with some thousands of rows.")


def _label_column(table: "pd.DataFrame", schema: Schema, label: str | None) -> str | None:
    if label is None:
        return LABEL if LABEL in table and LABEL not in schema.names else None
    if label in schema.names:
        message = f"The column {label!r} is a feature, so it cannot be the label."
        raise ConfigurationError(message, "Name the label column with --label.")
    if label not in table:
        others = [name for name in table.columns if name not in schema.names and name != TIMESTAMP]
        remedy = f"Columns besides the features: {', '.join(others)}." if others else "It has only the features."
        raise ConfigurationError(f"The history has no column {label!r}.", remedy)
    return label
