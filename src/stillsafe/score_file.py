"""Scores a file: each row is answered and recorded as a request would be, in bounded memory, and can be resumed.

The answers go to a partial file, with a note of how far it is. Every row has an id of the job, or the owner's: a row
that was answered just before a kill gets its stored answer when the job goes on, and no second one.
"""

import csv
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stillsafe.core.schema import TEXT_TYPES, FeatureSpec, FeatureType
from stillsafe.core.score import as_text
from stillsafe.core.state import State
from stillsafe.csv_files.table_format import TableFormat
from stillsafe.errors import ConfigurationError, RefusedError
from stillsafe.guard import Guard, Prediction
from stillsafe.model.frame_rows import rows_of
from stillsafe.progress import Progress, no_progress
from stillsafe.store.disk import create_private, sync

if TYPE_CHECKING:
    import pandas as pd

BLOCK_ROWS = 1_000
ANY_FORMAT = TableFormat()
OWN_COLUMNS = ("row", "id", "prediction_id", "prediction", "confidence", "decided_by", "system_state", "error")
PARQUET = ".parquet"
_PARTIAL, _NOTE = ".partial", ".partial.json"
_TRUE, _FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
Row = Mapping[str, object]


@dataclass(slots=True)
class ScoreReport:
    """How far a job is.

    Attributes:
        job: random name of the job, part of the ids of its rows.
        input: name, size and time of change of the file that is scored, the column of ids and the model version.
        rows: rows that are answered or refused.
        bytes: length of the partial file with them.
        answers: rows by who answered, `model` or `fallback`; `error` counts refused rows.
        state: the state that applied last, or None before the first row.
        is_complete: whether all rows are.
    """

    job: str
    input: list[Any]
    rows: int = 0
    bytes: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    state: str | None = None
    is_complete: bool = False


@dataclass(frozen=True, slots=True)
class ScoreJob:
    """What is scored, and where the answers go.

    Attributes:
        file: CSV or Parquet, by its content.
        out: the new file: Parquet if it ends in `.parquet`, else CSV.
        id_column: the column with your ids of the rows, or None.
        fail_on: the state, or a worse one, in which the job stops; None for none.
        form: what is known about a CSV file.
    """

    file: Path
    out: Path
    id_column: str | None = None
    fail_on: State | None = None
    form: TableFormat = ANY_FORMAT


def score_file(guard: Guard, job: ScoreJob, progress: Progress = no_progress) -> ScoreReport:
    """Answer and record every row of a file; a job that was cut off goes on where it was.

    Returns:
        The report; it is not complete where the state made the job stop. The answers are then in the partial file.

    Raises:
        ConfigurationError: the file cannot be read, or lacks a column.
        RefusedError: `out` exists already, or the partial file is another job's.
        StoreError: answers cannot be recorded; the job can go on later.
    """
    if job.out.exists():
        raise RefusedError(f"{job.out} exists already: move it away first.")
    report = _begin(job, guard.settings.model.version)
    names = [as_text(each) for each in guard.classes]
    try:
        with _sidecar(job, _PARTIAL).open("r+b") as handle:
            if handle.seek(0, os.SEEK_END) < report.bytes:
                raise RefusedError(f"{handle.name} is shorter than its note has it: delete both to begin anew.")
            handle.truncate(report.bytes)
            handle.seek(report.bytes)
            stream = _TextStream(handle)
            if not report.rows:
                csv.writer(stream).writerow([*OWN_COLUMNS, *map(_probability_column, names)])
            for block in _blocks(guard, job, report.rows):
                report.state = guard.state().state
                if _is_reached(report.state, job.fail_on):
                    return report
                _score_block(guard, job, report, block, stream, names)
                handle.flush()  # or the note would be ahead of the file
                os.fsync(handle.fileno())
                report.bytes = handle.tell()
                _save(job, report)
                progress(f"{report.rows:,} rows", None)
        _finish(job)
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigurationError(
            f"It cannot be scored: {error}.", "Give a CSV or Parquet file.", file=str(job.file)
        ) from error
    report.is_complete = True
    return report


class _TextStream:
    """Text to a binary file, unbuffered."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def write(self, text: str) -> int:
        """Write a text in UTF-8."""
        return int(self._handle.write(text.encode()))


def _begin(job: ScoreJob, model_version: str) -> ScoreReport:
    """The report of a job that was cut off, or of a new one, whose files are created."""
    facts = job.file.stat() if job.file.exists() else None
    if facts is None:
        raise ConfigurationError("There is no such file.", "Name the file to score.", file=str(job.file))
    name = [job.file.name, facts.st_size, facts.st_mtime_ns, job.id_column, model_version]
    note = _sidecar(job, _NOTE)
    if not note.exists():
        report = ScoreReport(os.urandom(8).hex(), name)
        _sidecar(job, _PARTIAL).unlink(missing_ok=True)
        create_private(_sidecar(job, _PARTIAL))
        _save(job, report)
        return report
    try:
        report = ScoreReport(**json.loads(note.read_text()))
    except (ValueError, TypeError):
        raise RefusedError(f"{note} cannot be read: delete it to begin anew.") from None
    if report.input != name:
        raise RefusedError(
            f"{note} is of another file, of a changed one, or of another model version: delete it to begin anew."
        )
    return report


def _blocks(guard: Guard, job: ScoreJob, skip: int) -> Iterator["pd.DataFrame"]:
    """The rows that are not scored yet, in blocks."""
    # Imported here: pandas takes a second to import.
    from stillsafe.csv_files.csv_parts import csv_parts
    from stillsafe.table_file import ColumnKinds, column_names, is_parquet

    features = guard.settings.schema_of_features.features
    columns = [spec.name for spec in features] + ([job.id_column] if job.id_column else [])
    if is_parquet(job.file):
        names = column_names(job.file, "file to score")
        blocks = _parquet_blocks(job.file, [name for name in names if name in columns])
    else:
        texts = [spec.name for spec in features if spec.type in TEXT_TYPES] + ([job.id_column] if job.id_column else [])
        kinds = ColumnKinds(dict.fromkeys(texts, ()), expected=columns)
        blocks = csv_parts(job.file, kinds, job.form, BLOCK_ROWS)
    number = 0
    for block in blocks:
        _require(
            job, columns, [*block.columns], {spec.name for spec in features if spec.required or not spec.omittable}
        )
        if number >= skip:
            yield block
        number += len(block)


def _parquet_blocks(file: Path, columns: Sequence[str]) -> Iterator["pd.DataFrame"]:
    from pyarrow import parquet

    with parquet.ParquetFile(file) as table:
        for batch in table.iter_batches(BLOCK_ROWS, columns=[*columns]):
            yield batch.to_pandas(integer_object_nulls=True)  # an id stays a whole number beside a missing one


def _require(job: ScoreJob, columns: Sequence[str], present: Sequence[str], needs: set[str]) -> None:
    absent = [name for name in columns if name not in present and (name in needs or name == job.id_column)]
    if not absent and columns and not any(name in present for name in columns):
        absent = [*columns]
    if absent:
        names = ", ".join(absent)
        raise ConfigurationError(
            f"There is no column {names}.", "Name the columns as the schema does.", file=str(job.file)
        )


def _score_block(
    guard: Guard, job: ScoreJob, report: ScoreReport, block: "pd.DataFrame", stream: Any, names: Sequence[str]
) -> None:
    schema = guard.settings.schema_of_features
    rows = [_plain_row(schema.features, row) for row in rows_of(schema, block)]
    first = report.rows + 1
    ids = [f"score:{report.job}:{first + index}" for index in range(len(rows))]
    if job.id_column is not None:
        cells = block[job.id_column]
        ids = [str(cell) if ok else own for cell, ok, own in zip(cells, cells.notna(), ids, strict=True)]
    counts = Counter(report.answers)
    lines = csv.writer(stream)
    for index, result in enumerate(guard.predict_many(rows, ids=ids)):
        if isinstance(result, Prediction):
            counts[result.decided_by] += 1
            answer = _answer_cells(result, names)
        else:
            counts["error"] += 1
            answer = [*[""] * 5, str(result), *[""] * len(names)]
        lines.writerow([first + index, ids[index] if job.id_column else "", *answer])
    report.rows, report.answers = report.rows + len(rows), dict(counts)


def _answer_cells(answer: Prediction, names: Sequence[str]) -> list[object]:
    prediction = "" if answer.prediction is None else as_text(answer.prediction)
    probabilities = answer.probabilities or {}
    cells = [answer.prediction_id, prediction, answer.confidence, answer.decided_by, answer.system_state, ""]
    return [*cells, *(probabilities.get(name, "") for name in names)]


def _plain_row(features: Sequence[FeatureSpec], row: Row) -> dict[str, object]:
    """The row with numbers and flags that stand as texts in a column with other texts; what is neither stays."""
    values = dict(row)
    for spec in features:
        cell = values.get(spec.name)
        if isinstance(cell, str) and spec.type not in TEXT_TYPES:
            values[spec.name] = _flag(cell) if spec.type is FeatureType.BOOLEAN else _number(cell)
    return values


def _flag(cell: str) -> object:
    return True if cell.strip() in _TRUE else False if cell.strip() in _FALSE else cell


def _number(cell: str) -> object:
    try:
        return float(cell)
    except ValueError:
        return cell


def _is_reached(state: str, fail_on: State | None) -> bool:
    states = [*State]
    return fail_on is not None and states.index(State(state)) >= states.index(fail_on)


def _probability_column(name: str) -> str:
    return f"probability.{name}"


def _sidecar(job: ScoreJob, suffix: str) -> Path:
    return job.out.with_name(job.out.name + suffix)


def _save(job: ScoreJob, report: ScoreReport) -> None:
    """Replace the note at once: a kill leaves the old one or the new one."""
    note = _sidecar(job, _NOTE)
    new_note = note.with_suffix(".new")
    new_note.write_text(json.dumps(asdict(report)))
    sync(new_note)
    new_note.replace(note)


def _finish(job: ScoreJob) -> None:
    """Give the answers their name."""
    partial_file = _sidecar(job, _PARTIAL)
    if job.out.suffix == PARQUET:
        _convert(partial_file, job.out)
        partial_file.unlink()
    else:
        partial_file.replace(job.out)
    sync(job.out)
    _sidecar(job, _NOTE).unlink()


def _convert(partial_file: Path, out: Path) -> None:
    """Write the answers as Parquet, block by block."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv
    from pyarrow import parquet

    with partial_file.open(encoding="utf-8", newline="") as head:
        names = next(csv.reader(head))
    # Stated, because a first block of the fallback's answers has no probability to infer the type from.
    kinds = dict.fromkeys(names, pa.float64()) | dict.fromkeys(OWN_COLUMNS, pa.string())
    kinds |= {"row": pa.int64(), "confidence": pa.float64()}
    options = arrow_csv.ConvertOptions(column_types=kinds, strings_can_be_null=True, null_values=[""])
    temporary = out.with_name(out.name + ".new")
    with (
        arrow_csv.open_csv(partial_file, convert_options=options) as reader,
        parquet.ParquetWriter(temporary, reader.schema, compression="zstd") as writer,
    ):
        for batch in reader:
            writer.write_batch(batch)
    temporary.replace(out)
