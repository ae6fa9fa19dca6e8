"""The sample of healthy data: read it from CSV or Parquet, and split it into features, labels and order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from stillsafe import table_file
from stillsafe.errors import ConfigurationError
from stillsafe.model.boosters.adapter import BoosterModel
from stillsafe.model.parts import encoded_columns
from stillsafe.table_file import ANY_FORMAT, ANY_KINDS, TIMESTAMP, ColumnKinds, CsvTable, TableFormat

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


def read(file: Path, kinds: ColumnKinds = ANY_KINDS, form: TableFormat = ANY_FORMAT) -> CsvTable:
    """Read a CSV or Parquet file; the content determines the format, not the name.

    Args:
        file: the file.
        kinds: what the model's encoders learnt about the columns, see `column_kinds`.
        form: how a CSV file is written, as far as it is known.

    Raises:
        ConfigurationError: it cannot be read, has too few rows, or columns occur twice.
    """
    table = table_file.read_with_remarks(file, kinds, "sample", form)
    _require_rows(len(table.frame), file)
    return replace(table, frame=_with_texts(table.frame, kinds.texts))


def column_kinds(file: Path, estimator: Any, label: str | None, form: TableFormat = ANY_FORMAT) -> ColumnKinds:
    """The columns that an encoder of the model was fitted on as texts, each with its categories, and those it needs.

    Raises:
        ConfigurationError: the file cannot be read, or columns occur twice.
    """
    if isinstance(estimator, BoosterModel):
        names = table_file.column_names(file, "sample", form, _fitted_names(estimator))
        estimator.take_names([each for each in names if each not in (label, TIMESTAMP)])
    expected = _fitted_names(estimator)
    wanted_names = [*expected, *([] if label is None else [label])]
    file_names = table_file.column_names(file, "sample", form, wanted_names)
    categories = encoded_columns(estimator, expected or [each for each in file_names if each not in (label, TIMESTAMP)])
    texts = {name: tuple(each for each in values if isinstance(each, str)) for name, values in categories.items()}
    surplus = {*file_names} - {*wanted_names} if expected else ()
    return ColumnKinds({name: values for name, values in texts.items() if values}, (), frozenset(surplus), wanted_names)


def _fitted_names(estimator: Any) -> tuple[str, ...]:
    """The columns that the model was fitted with; empty if it was fitted without names."""
    names = getattr(estimator, "feature_names_in_", None)
    return () if names is None else tuple(str(name) for name in names)


def _with_texts(table: pd.DataFrame, texts: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The table with texts where the model's encoder learnt texts and a typed file has numbers: 1 is "1"."""
    names = [name for name in texts if name in table and pd.api.types.is_numeric_dtype(table[name])]
    return table.assign(**{name: [_text_of(value, texts[name]) for value in table[name].tolist()] for name in names})


def _text_of(value: Any, categories: Sequence[str]) -> Any:
    if pd.isna(value):
        return None
    is_whole = isinstance(value, float) and value.is_integer() and str(value) not in categories
    return str(int(value) if is_whole else value)


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
