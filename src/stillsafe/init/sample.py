"""The sample of healthy data: read from CSV or Parquet, and parted into features, labels and order."""

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
    """

    features: pd.DataFrame
    labels: "pd.Series[Any] | None"
    ordered: bool
    left_out: tuple[str, ...]


def read(file: Path) -> pd.DataFrame:
    """A CSV or Parquet file as a table; the content decides, not the name.

    Raises:
        ConfigurationError: it cannot be read, or holds too few rows.
    """
    try:
        with file.open("rb") as handle:
            parquet = handle.read(4) == b"PAR1"
        table = pd.read_parquet(file) if parquet else pd.read_csv(file)
    except (OSError, ValueError) as error:
        told = str(error).splitlines()[0].rstrip(".")
        raise ConfigurationError(
            f"The sample cannot be read: {told}.", "Give a CSV or Parquet file.", file=str(file)
        ) from error
    if len(table) < FEWEST_ROWS:
        remedy = f"Give at least {FEWEST_ROWS} rows of healthy data, better some thousands."
        raise ConfigurationError(f"{len(table)} rows are too few to tell what healthy is.", remedy, file=str(file))
    table.columns = [str(name) for name in table.columns]
    return table


def part(table: pd.DataFrame, estimator: Any, *, label: str | None, file: Path) -> Sample:
    """What of the table the model takes, what is the label, and in which order the rows came.

    Raises:
        ConfigurationError: columns are missing, or their number is wrong.
    """
    labels = None
    if label is not None:
        if label not in table:
            known = ", ".join(table.columns)
            raise ConfigurationError(
                f"There is no column {label!r}.", f"--label names one of: {known}.", file=str(file)
            )
        table = table[table[label].notna()]
    wanted = _names(estimator, table, label, file)
    ordered = TIMESTAMP in table and TIMESTAMP not in wanted
    if ordered:
        table = table.sort_values(TIMESTAMP, kind="stable")
    if label is not None:
        labels = table[label].reset_index(drop=True)
    left_out = tuple(name for name in table.columns if name not in {*wanted, label, TIMESTAMP})
    return Sample(table[wanted].reset_index(drop=True), labels, ordered, left_out)


def _names(estimator: Any, table: pd.DataFrame, label: str | None, file: Path) -> list[str]:
    """The columns that the model takes: by name where it knows names, else all of them in their order."""
    known = getattr(estimator, "feature_names_in_", None)
    if known is not None:
        names = [str(name) for name in known]
        if missing := [name for name in names if name not in table]:
            told = f"The model takes columns that the sample lacks: {', '.join(missing)}."
            raise ConfigurationError(told, "Add them, or give the sample that belongs to this model.", file=str(file))
        return names
    names = [name for name in table.columns if name not in (label, TIMESTAMP)]
    count = getattr(estimator, "n_features_in_", len(names))
    if count != len(names):
        told = f"The model takes {count} features without names, and the sample has {len(names)} columns."
        remedy = "Leave out what is no feature (name the label with --label), in the order of the training data."
        raise ConfigurationError(told, remedy, file=str(file))
    return names
