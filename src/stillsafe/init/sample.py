"""The sample of healthy data: read it from CSV or Parquet, and split it into features, labels and order."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from stillsafe import table_file
from stillsafe.errors import ConfigurationError
from stillsafe.model.parts import encoded_columns
from stillsafe.table_file import TIMESTAMP

FEWEST_ROWS, FEW_ROWS = 50, 200


@dataclass(frozen=True, slots=True)
class Sample:
    """Healthy data.

    Attributes:
        features: (n, m), the columns that the model takes, in its order.
        labels: (n,) the labels, or None.
        in_time_order: whether a `timestamp` column gave the order of the rows.
        left_out: columns that the model does not take.
        unlabelled_count: rows left out because their label is missing.
        times: (n,) in microseconds since 1970, UTC, or None where they are not known.
    """

    features: pd.DataFrame
    labels: "pd.Series[Any] | None"
    in_time_order: bool
    left_out: tuple[str, ...]
    unlabelled_count: int = 0
    times: "table_file.Micros | None" = None


def read(file: Path, texts: table_file.Texts | None = None) -> pd.DataFrame:
    """Read a CSV or Parquet file; the content determines the format, not the name.

    Args:
        file: the file.
        texts: columns that hold texts, see `text_columns`.

    Raises:
        ConfigurationError: it cannot be read, has too few rows, or columns occur twice.
    """
    table = table_file.read_table(file, texts, noun="sample")
    _require_rows(len(table), file)
    return table


def text_columns(file: Path, estimator: Any, label: str | None) -> dict[str, tuple[str, ...]]:
    """The columns that an encoder of the model was fitted on as texts, each with its categories.

    Raises:
        ConfigurationError: the file cannot be read, or columns occur twice.
    """
    fitted_names = getattr(estimator, "feature_names_in_", None)
    names = [name for name in table_file.column_names(file, "sample") if name not in (label, TIMESTAMP)]
    categories = encoded_columns(estimator, names if fitted_names is None else [str(name) for name in fitted_names])
    texts = {name: tuple(each for each in values if isinstance(each, str)) for name, values in categories.items()}
    return {name: values for name, values in texts.items() if values}


def split_columns(table: pd.DataFrame, estimator: Any, *, label: str | None, file: Path) -> Sample:
    """Split a table into the columns that the model takes and the labels, and sort the rows by time if possible.

    Raises:
        ConfigurationError: columns are missing, their number is wrong, or the timestamps are invalid.
    """
    rows_with_label = table if label is None else _rows_with_label(table, label, file)
    feature_columns = _feature_columns(estimator, table, label, file)
    in_time_order = TIMESTAMP in table and TIMESTAMP not in feature_columns
    rows, times = table_file.in_time_order(rows_with_label) if in_time_order else (rows_with_label, None)
    labels = None if label is None else rows[label].reset_index(drop=True)
    left_out = tuple(name for name in table.columns if name not in {*feature_columns, label, TIMESTAMP})
    features = rows[feature_columns].reset_index(drop=True)
    return Sample(features, labels, in_time_order, left_out, len(table) - len(rows), times)


def values_read_as_missing(table: pd.DataFrame, file: Path, columns: Sample) -> Iterator[str]:
    """A sentence for each text feature of a CSV file in which words such as NA were read as missing values.

    Args:
        table: the result of `read`.
        file: the file.
        columns: the result of `split_columns`.
    """
    missing = {name: table[name].isna() for name in columns.features if _is_text(table[name]) and table[name].hasnans}
    if not missing or table_file.is_parquet(file):
        return
    texts = pd.read_csv(file, usecols=lambda name: name in missing, dtype=str, keep_default_na=False)
    for name in texts.columns:
        if words := sorted(set(texts[name][missing[name]]) - {""}):
            yield (
                f"{name}: {', '.join(words)} in the CSV file was read as missing. If it is a category, give the sample "
                "as Parquet."
            )


def _is_text(column: "pd.Series[Any]") -> bool:
    return any(isinstance(value, str) for value in column.dropna().head(1))


def _rows_with_label(table: pd.DataFrame, label: str, file: Path) -> pd.DataFrame:
    if label not in table:
        column_names = ", ".join(table.columns)
        raise ConfigurationError(
            f"There is no column {label!r}.", f"--label names one of: {column_names}.", file=str(file)
        )
    rows_with_label = table[table[label].notna()]
    if rows_with_label.empty:
        remedy = "Name another column, or leave --label out."
        raise ConfigurationError(f"The column {label!r} is empty.", remedy, file=str(file))
    _require_rows(len(rows_with_label), file)
    return rows_with_label


def _require_rows(count: int, file: Path) -> None:
    if count < FEWEST_ROWS:
        remedy = f"Give at least {FEWEST_ROWS} rows of healthy data, better some thousands."
        raise ConfigurationError(f"{count} rows are too few for a baseline.", remedy, file=str(file))


def _feature_columns(estimator: Any, table: pd.DataFrame, label: str | None, file: Path) -> list[str]:
    """The columns that the model takes: by name if it was fitted with names, else all of them in their order."""
    fitted_names = getattr(estimator, "feature_names_in_", None)
    if fitted_names is not None:
        return _require_columns([str(name) for name in fitted_names], table, label, file)
    names = [name for name in table.columns if name not in (label, TIMESTAMP)]
    count = getattr(estimator, "n_features_in_", len(names))
    if count != len(names):
        problem = f"The model takes {count} features without names, and the sample has {len(names)} columns."
        remedy = "Remove columns that are not features (name the label with --label), in the order of training."
        raise ConfigurationError(problem, remedy, file=str(file))
    return names


def _require_columns(names: list[str], table: pd.DataFrame, label: str | None, file: Path) -> list[str]:
    if missing := [name for name in names if name not in table]:
        problem = f"The model takes columns that the sample lacks: {', '.join(missing)}."
        raise ConfigurationError(problem, "Add them, or give the sample that belongs to this model.", file=str(file))
    if label in names:
        problem = f"The column {label!r} is a feature of the model, so it cannot be the label."
        raise ConfigurationError(problem, "Name the label column with --label.", file=str(file))
    return names
