"""The sample of `init` as the model sees it: read, split, described, and as rows of requests."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from stillsafe.core.fallback import Answer
from stillsafe.core.schema import TEXT_TYPES, Row, Schema
from stillsafe.csv_files.dialect import read_csv_text
from stillsafe.errors import ConfigurationError, ModelError
from stillsafe.init import default_answer, infer, inspect, sample
from stillsafe.init.odd_values import odd_value_remarks
from stillsafe.model.model import Model, ModelKind
from stillsafe.model.parts import encoded_columns, opaque_columns
from stillsafe.table_file import ANY_FORMAT, CsvTable, TableFormat, is_parquet


@dataclass(frozen=True, slots=True)
class SampleSource:
    """The files that belong to each other, and how the sample is written.

    Attributes:
        model_file: the model file, for messages; None of an external model.
        sample_file: the sample, CSV or Parquet.
        label: name of the label column, or None.
        form: how a CSV sample is written, as far as the owner states it.
    """

    model_file: Path | None
    sample_file: Path
    label: str | None = None
    form: TableFormat = ANY_FORMAT


@dataclass(frozen=True, slots=True)
class SampleData:
    """The sample: the table as it was read, its columns, the inferred schema, the rows, and any labels.

    Attributes:
        odd_values: a sentence for each column with values that may stand for a missing one.
    """

    table: CsvTable
    columns: sample.Sample
    schema: infer.InferredSchema
    rows: list[Row]
    labels: list[Answer | None] | None
    odd_values: tuple[str, ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should check about how the file was read, one sentence each."""
        return (*self.table.remarks, *self.table.doubts.values(), *self.odd_values)


def read_sample(source: SampleSource, estimator: Any, kind: ModelKind, classes: tuple[Answer, ...]) -> SampleData:
    """Read the sample of a model, and infer its schema.

    Raises:
        ConfigurationError: the sample does not belong to the model, cannot be read, or has a column of numbers with
            cells that are none.
        ModelError: the model supports no confidence.
    """
    kinds = sample.column_kinds(source.sample_file, estimator, source.label, source.form)
    table = sample.read(source.sample_file, kinds, source.form)
    columns = sample.split_columns(table.frame, estimator, label=source.label, file=source.sample_file)
    require_no_doubt(table, columns, estimator, source.sample_file)
    labels = default_answer.sample_labels(columns.labels, kind, classes)
    schema = infer.describe(columns.features, source.form.dates)
    rows = infer.rows_of(columns.features, schema.schema)
    scale = inspect.probe_scale(estimator, source.model_file or Path())
    with inspect.suppress_warnings():
        candidate = Model("", kind, classes, schema.schema, estimator, scale)
        schema = infer.with_texts(infer.with_measures(schema, candidate, rows), candidate, rows)
        schema = infer.with_orders(schema, candidate, columns.features)
    odd_values = sample_odd_values(source, table, schema.schema, columns.features)
    return SampleData(table, columns, schema, infer.rows_of(columns.features, schema.schema), labels, odd_values)


def sample_odd_values(source: SampleSource, table: CsvTable, schema: Schema, features: pd.DataFrame) -> tuple[str, ...]:
    """A sentence for each column with values that may stand for a missing one, with their place in the file."""
    return tuple(odd_value_remarks(schema, features, partial(_place_of, source, table.frame)))


def _place_of(source: SampleSource, frame: pd.DataFrame, name: str, value: Any) -> str:
    """Where a value occurs first in the sample's file, in words."""
    row = int((frame[name] == value).to_numpy().argmax())
    if is_parquet(source.sample_file):
        return f"row {row + 1}"
    return f"line {read_csv_text(source.sample_file, source.form, [*map(str, frame.columns)]).line_of(row)}"


def require_no_doubt(table: CsvTable, columns: sample.Sample, estimator: Any, file: Path) -> None:
    """Check that no column is almost one of numbers, unless code outside scikit-learn takes it, which may read it.

    Raises:
        ConfigurationError: the cells that are no numbers.
    """
    opaque = opaque_columns(estimator, [*columns.features])
    for name, doubt in table.doubts.items():
        if name in columns.features and name not in opaque:
            problem, _, remedy = doubt.rpartition(". ")
            raise ConfigurationError(f"{problem}.", remedy, file=str(file))


@contextmanager
def name_doubtful_columns(data: SampleData, estimator: Any) -> Iterator[None]:
    """Add to the failure of a model on its sample which columns may have been read wrongly.

    Raises:
        ModelError: as inside, with the columns.
        ConfigurationError: as inside, with the columns.
    """
    try:
        yield
    except (ModelError, ConfigurationError) as failure:
        sentences = [*data.table.doubts.values(), *_unencoded_texts(data, estimator)]
        if not sentences:
            raise
        remedy = " ".join([*sentences, failure.remedy])
        raise type(failure)(failure.problem, remedy, file=failure.file) from failure


def _unencoded_texts(data: SampleData, estimator: Any) -> Iterator[str]:
    encoded_names = encoded_columns(estimator, data.schema.schema.names)
    for spec in data.schema.schema.features:
        column = data.columns.features[spec.name].dropna()
        if spec.type in TEXT_TYPES and spec.name not in encoded_names and spec.name not in data.table.doubts:
            example = f"{column.iloc[0]!r} in row {int(column.index[0]) + 1}"
            yield f"{spec.name} has texts, and no encoder of the model takes it: {example}."
