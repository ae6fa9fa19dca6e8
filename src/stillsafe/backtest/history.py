"""A user's history as requests would have brought it: plain values in time order, labels in the model's own words."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.fallback import Answer
from stillsafe.core.schema import FeatureSpec, FeatureType, Schema
from stillsafe.errors import ConfigurationError

if TYPE_CHECKING:
    import pandas as pd

TIMESTAMP, LABEL = "timestamp", "label"
MOST_CLASSES_TOLD = 10
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class History:
    """Requests of the past, oldest first. `n` rows.

    Attributes:
        columns: per feature its values as JSON would bring them, (n,); None where missing.
        micros: (n,) times in microseconds since 1970, or None where the rows have none.
        label: the name of the label column, or None.
        labels: (n,) its values as they are, or None.
    """

    columns: Mapping[str, Sequence[object]]
    micros: NDArray[np.int64] | None
    label: str | None = None
    labels: Sequence[object] | None = None

    def __len__(self) -> int:
        """Rows."""
        return len(next(iter(self.columns.values())))


def read_history(frame: "pd.DataFrame", schema: Schema, label: str | None = None) -> History:
    """A table as a history.

    Args:
        frame: the features, and where there are any a column `timestamp` and one of labels; others are left out.
        schema: the features.
        label: the column with the true answers; default the column `label`, if there is one that is no feature.

    Raises:
        ConfigurationError: it is empty, lacks features or the label, or its timestamps are none.
    """
    table = frame.reset_index() if frame.index.name == TIMESTAMP else frame
    table = table.set_axis([str(name) for name in table.columns], axis=1)
    _require_columns(table, schema)
    label = _label_of(table, schema, label)
    micros = _micros(table, schema)
    if micros is not None:
        order = np.argsort(micros, kind="stable")
        table, micros = table.iloc[order], micros[order]
    elif TIMESTAMP in table and TIMESTAMP not in schema.names:
        table = table.sort_values(TIMESTAMP, kind="stable")
    labels = None if label is None else _plain(table[label])
    return History({spec.name: _values(spec, table[spec.name]) for spec in schema.features}, micros, label, labels)


def moment(micros: int) -> datetime:
    """A time in microseconds since 1970 as aware UTC."""
    return EPOCH + timedelta(microseconds=int(micros))


def true_answers(labels: Sequence[object], classes: Sequence[Answer]) -> list[Answer | None]:
    """Labels in the model's own words, None where there is none.

    Args:
        labels: the column.
        classes: a classifier's answers; empty of a regressor, whose labels are numbers.

    Raises:
        ConfigurationError: they cannot be this model's answers.
    """
    told = {value: _answer(value, classes) for value in set(labels) if value is not None}
    truth = [None if value is None else told[value] for value in labels]
    if all(answer is None for answer in truth):
        known = ", ".join(repr(c) for c in classes[:MOST_CLASSES_TOLD])
        wanted = f"a class of the model ({known})" if classes else "a finite number"
        raise ConfigurationError(
            f"No value of the label column is {wanted}.", "Name the column with the true answers with --label."
        )
    return truth


def _answer(value: object, classes: Sequence[Answer]) -> Answer | None:
    """One label: a CSV file says True for true, and 1.0 for 1 where another is missing."""
    if not classes:
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
    plain = int(value) if isinstance(value, float) and value.is_integer() else value
    written = str(plain)
    return next((c for c in classes if c == plain or written in (str(c), json.dumps(c))), None)


def _require_columns(table: "pd.DataFrame", schema: Schema) -> None:
    if twice := sorted(set(table.columns[table.columns.duplicated()])):
        raise ConfigurationError(f"Columns that occur twice: {', '.join(twice)}.", "Rename them.")
    if missing := [name for name in schema.names if name not in table]:
        told = f"The history lacks columns that the service's schema names: {', '.join(missing)}."
        raise ConfigurationError(told, "Add them, or name the settings of the service that it belongs to.")
    if table.empty:
        raise ConfigurationError("The history is empty.", "Give a table with some thousands of rows.")


def _label_of(table: "pd.DataFrame", schema: Schema, label: str | None) -> str | None:
    if label is None:
        return LABEL if LABEL in table and LABEL not in schema.names else None
    if label in schema.names:
        told = f"The column {label!r} is a feature, so it cannot be the label."
        raise ConfigurationError(told, "Name the column with the true answers.")
    if label not in table:
        others = [name for name in table.columns if name not in schema.names and name != TIMESTAMP]
        known = f"It has besides the features: {', '.join(others)}." if others else "It has none but the features."
        raise ConfigurationError(f"The history has no column {label!r}.", known)
    return label


def _micros(table: "pd.DataFrame", schema: Schema) -> "NDArray[np.int64] | None":
    """The timestamps, or None where there are none or where they are numbers, which are an order and no times.

    Raises:
        ConfigurationError: the column holds no times, or not in every row.
    """
    import pandas as pd

    if TIMESTAMP not in table or TIMESTAMP in schema.names or pd.api.types.is_numeric_dtype(table[TIMESTAMP]):
        return None
    try:
        times = pd.to_datetime(table[TIMESTAMP], utc=True, format="mixed")
    except (ValueError, TypeError) as error:
        told = f"The column {TIMESTAMP!r} holds no times."
        raise ConfigurationError(
            told, "Write times as 2026-01-31T12:00:00Z, or rename the column and use --rows-per-run."
        ) from error
    if lacking := int(times.isna().sum()):
        told = f"The column {TIMESTAMP!r} is empty in {lacking} rows."
        raise ConfigurationError(told, "Fill them, or leave these rows out.")
    return np.asarray(times.dt.as_unit("us").astype("int64"), np.int64)


def _values(spec: FeatureSpec, column: "pd.Series[Any]") -> list[object]:
    """A feature's values. A file that does not know texts from numbers has texts read as numbers: they are texts."""
    values = _plain(column)
    return [_as_text(value) for value in values] if spec.type is FeatureType.CATEGORY else values


def _plain(column: "pd.Series[Any]") -> list[object]:
    present = column.notna().to_numpy()
    values = column.astype(object).tolist()
    return [
        (value.item() if isinstance(value, np.generic) else value) if there else None
        for value, there in zip(values, present.tolist(), strict=True)
    ]


def _as_text(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, int | float) else value
