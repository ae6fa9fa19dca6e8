"""The sample of healthy data: read from CSV or Parquet, and parted into features, labels and order."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from stillsafe.errors import ConfigurationError

TIMESTAMP = "timestamp"
FEWEST_ROWS, FEW_ROWS = 50, 200


@dataclass(frozen=True, slots=True)
class Sample:
    """Healthy data.

    Attributes:
        features: (n, m), the columns that the model takes, in its order.
        labels: (n,) the true answers, or None.
        ordered: whether the rows are in time order by a `timestamp` column.
        left_out: columns that the model does not take.
        unlabelled_count: rows left out because their label is missing.
    """

    features: pd.DataFrame
    labels: "pd.Series[Any] | None"
    ordered: bool
    left_out: tuple[str, ...]
    unlabelled_count: int = 0


def read(file: Path) -> pd.DataFrame:
    """A CSV or Parquet file as a table; the content decides, not the name.

    Raises:
        ConfigurationError: it cannot be read, or holds too few rows.
    """
    try:
        table = pd.read_parquet(file) if _is_parquet(file) else pd.read_csv(file, low_memory=False)
    except (OSError, ValueError) as error:
        told = (getattr(error, "strerror", None) or next(iter(str(error).splitlines()), "it is damaged")).rstrip(".")
        raise ConfigurationError(
            f"The sample cannot be read: {told}.", "Give a CSV or Parquet file.", file=str(file)
        ) from error
    if table.index.name == TIMESTAMP:
        table = table.reset_index()
    _require_rows(len(table), file)
    table.columns = pd.Index([str(name) for name in table.columns])
    if twice := sorted(set(table.columns[table.columns.duplicated()])):
        raise ConfigurationError(f"Columns that occur twice: {', '.join(twice)}.", "Rename them.", file=str(file))
    return table


def part(table: pd.DataFrame, estimator: Any, *, label: str | None, file: Path) -> Sample:
    """What of the table the model takes, what is the label, and in which order the rows came.

    Raises:
        ConfigurationError: columns are missing, or their number is wrong.
    """
    labelled = table if label is None else _labelled(table, label, file)
    wanted = _names(estimator, table, label, file)
    ordered = TIMESTAMP in table and TIMESTAMP not in wanted
    rows = _in_time_order(labelled, file) if ordered else labelled
    labels = None if label is None else rows[label].reset_index(drop=True)
    left_out = tuple(name for name in table.columns if name not in {*wanted, label, TIMESTAMP})
    return Sample(rows[wanted].reset_index(drop=True), labels, ordered, left_out, len(table) - len(rows))


def swallowed(table: pd.DataFrame, file: Path, given: Sample) -> Iterator[str]:
    """A sentence for each text feature of a CSV file in which words such as NA were read as missing.

    Args:
        table: the file as `read` gave it.
        file: the file.
        given: what the model takes of it.
    """
    gaps = {name: table[name].isna() for name in given.features if _is_text(table[name]) and table[name].hasnans}
    if not gaps or _is_parquet(file):
        return
    literal = pd.read_csv(file, usecols=lambda name: name in gaps, dtype=str, keep_default_na=False)
    for name in literal.columns:
        if words := sorted(set(literal[name][gaps[name]]) - {""}):
            yield (
                f"{name}: {', '.join(words)} in the CSV file was read as missing. If it is a category, give the "
                "sample as Parquet."
            )


def _is_parquet(file: Path) -> bool:
    with file.open("rb") as handle:
        return handle.read(4) == b"PAR1"


def _is_text(column: "pd.Series[Any]") -> bool:
    return any(isinstance(value, str) for value in column.dropna().head(1))


def _labelled(table: pd.DataFrame, label: str, file: Path) -> pd.DataFrame:
    if label not in table:
        known = ", ".join(table.columns)
        raise ConfigurationError(f"There is no column {label!r}.", f"--label names one of: {known}.", file=str(file))
    present = table[table[label].notna()]
    if present.empty:
        remedy = "Name another column, or leave --label out."
        raise ConfigurationError(f"The column {label!r} is empty.", remedy, file=str(file))
    _require_rows(len(present), file)
    return present


def _require_rows(count: int, file: Path) -> None:
    if count < FEWEST_ROWS:
        remedy = f"Give at least {FEWEST_ROWS} rows of healthy data, better some thousands."
        raise ConfigurationError(f"{count} rows are too few to tell what healthy is.", remedy, file=str(file))


def _in_time_order(table: pd.DataFrame, file: Path) -> pd.DataFrame:
    column = table[TIMESTAMP]
    try:
        times = column if pd.api.types.is_numeric_dtype(column) else pd.to_datetime(column, utc=True, format="mixed")
    except (ValueError, TypeError) as error:
        remedy = "Write times as 2026-01-31T12:00:00Z, or rename the column."
        raise ConfigurationError(f"The column {TIMESTAMP!r} holds no times.", remedy, file=str(file)) from error
    order = times.reset_index(drop=True).sort_values(kind="stable").index
    return table.iloc[order]


def _names(estimator: Any, table: pd.DataFrame, label: str | None, file: Path) -> list[str]:
    """The columns that the model takes: by name where it knows names, else all of them in their order."""
    known = getattr(estimator, "feature_names_in_", None)
    if known is not None:
        return _known_names([str(name) for name in known], table, label, file)
    names = [name for name in table.columns if name not in (label, TIMESTAMP)]
    count = getattr(estimator, "n_features_in_", len(names))
    if count != len(names):
        told = f"The model takes {count} features without names, and the sample has {len(names)} columns."
        remedy = "Leave out what is no feature (name the label with --label), in the order of the training data."
        raise ConfigurationError(told, remedy, file=str(file))
    return names


def _known_names(names: list[str], table: pd.DataFrame, label: str | None, file: Path) -> list[str]:
    if missing := [name for name in names if name not in table]:
        told = f"The model takes columns that the sample lacks: {', '.join(missing)}."
        raise ConfigurationError(told, "Add them, or give the sample that belongs to this model.", file=str(file))
    if label in names:
        told = f"The column {label!r} is a feature of the model, so it cannot be the label."
        raise ConfigurationError(told, "Name the column with the true answers.", file=str(file))
    return names
