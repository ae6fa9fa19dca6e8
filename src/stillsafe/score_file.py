"""Scores a file: each row is answered and recorded as a request would be, in bounded memory, and can be resumed.

The answers go to a partial file, with a note of how far it is. Every row has an id of the owner's, or its prediction
has one that the note foretells: a row that was answered just before a kill gets its stored answer when the job goes on,
and no second one.
"""

import csv
import io
import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import count, repeat
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from stillsafe.core.schema import TEXT_TYPES, FeatureSpec, FeatureType
from stillsafe.core.score import as_text
from stillsafe.core.state import State
from stillsafe.csv_files.table_format import TableFormat
from stillsafe.errors import ConfigurationError, RefusedError
from stillsafe.guard import Guard, InvalidFeatures, Prediction
from stillsafe.identifiers import block_ids
from stillsafe.model.feature_columns import json_cells
from stillsafe.model.frame_rows import rows_of
from stillsafe.parquet_files import arrow
from stillsafe.parquet_files import parquet as parquet_library
from stillsafe.progress import Progress, no_progress
from stillsafe.serving.frame_replies import FrameReplies, Result
from stillsafe.store.disk import create_private, sync
from stillsafe.store.prediction_columns import PredictionColumns

if TYPE_CHECKING:
    import pandas as pd

BLOCK_ROWS = 4_000
"""Rows of a commit, which other writers of the database wait for; `MOST_BLOCK_IDS` at most."""
ANY_FORMAT = TableFormat()
OWN_COLUMNS = ("row", "id", "prediction_id", "prediction", "confidence", "decided_by", "system_state", "error")
PARQUET = ".parquet"
_PARTIAL, _NOTE = ".partial", ".partial.json"
END, NULL = "\r\n", "null"
"""The end of a line in a CSV file, and a number in JSON that there is not."""
_TRUE, _FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
T = TypeVar("T")
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
        block: random seed of the ids of the block that is answered now; empty before the first one.
        block_at: when that block began, in milliseconds since 1970.
    """

    job: str
    input: list[Any]
    rows: int = 0
    bytes: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    state: str | None = None
    is_complete: bool = False
    block: str = ""
    block_at: int = 0


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
    is_retry = _sidecar(job, _NOTE).exists()
    if job.out.suffix == PARQUET:
        parquet_library()  # or it would be missed when all is scored
    report = _begin(guard, job)
    is_scored = is_retry
    try:
        with _scoring_errors(job), _sidecar(job, _PARTIAL).open("r+b") as handle:
            if handle.seek(0, os.SEEK_END) < report.bytes:
                raise RefusedError(f"{handle.name} is shorter than its note has it: delete both to begin anew.")
            handle.truncate(report.bytes)
            handle.seek(report.bytes)
            if not report.rows:
                names = map(_probability_column, map(as_text, guard.classes))
                handle.write(_csv_text([[*OWN_COLUMNS, *names]]))
            for block in _read_ahead(_blocks(guard, job, report.rows)):
                report.state = guard.state().state
                if _is_reached(report.state, job.fail_on):
                    return report
                is_scored = True
                _score_block(guard, job, report, block, handle, is_retry=is_retry)
                is_retry = False
                handle.flush()  # or the note would be ahead of the file
                os.fsync(handle.fileno())
                report.bytes = handle.tell()
                _begin_block(job, report)
                progress(f"{report.rows:,} rows", None)
        with _scoring_errors(job):
            _finish(job)
    finally:
        if not is_scored and report.state is None:
            _discard(job)
    report.is_complete = True
    return report


def _csv_text(lines: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(lines)
    return text.getvalue().encode()


def _begin(guard: Guard, job: ScoreJob) -> ScoreReport:
    """The report of a job that was cut off, or of a new one, whose files are created if its columns are there."""
    facts = job.file.stat() if job.file.exists() else None
    if facts is None:
        raise ConfigurationError("There is no such file.", "Name the file to score.", file=str(job.file))
    name = [job.file.name, facts.st_size, facts.st_mtime_ns, job.id_column, guard.settings.model.version]
    note = _sidecar(job, _NOTE)
    if not note.exists():
        with _scoring_errors(job):
            next(_blocks(guard, job, 0, rows=1), None)
        report = ScoreReport(os.urandom(8).hex(), name)
        try:
            _sidecar(job, _PARTIAL).unlink(missing_ok=True)
            create_private(_sidecar(job, _PARTIAL))
            _begin_block(job, report)
        except OSError as error:
            problem = f"The answers cannot be written: {error.strerror}."
            raise ConfigurationError(problem, "Name another file with --out.", file=str(job.out)) from error
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


@contextmanager
def _scoring_errors(job: ScoreJob) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigurationError(
            f"It cannot be scored: {error}.", "Give a CSV or Parquet file.", file=str(job.file)
        ) from error


def _discard(job: ScoreJob) -> None:
    """Delete the files of a job that has answered nothing, so that a corrected command can begin."""
    for suffix in (_PARTIAL, _NOTE):
        _sidecar(job, suffix).unlink(missing_ok=True)


def _read_ahead(blocks: Iterator[T]) -> Iterator[T]:
    """The blocks; while one is scored, and the disk is waited for, the next one is read."""
    with ThreadPoolExecutor(1, thread_name_prefix="stillsafe-reader") as thread:
        following = thread.submit(next, blocks, None)
        while (block := following.result()) is not None:
            following = thread.submit(next, blocks, None)
            yield block


def _blocks(guard: Guard, job: ScoreJob, skip: int, rows: int | None = None) -> Iterator["pd.DataFrame"]:
    """The rows that are not scored yet, in blocks."""
    # Imported here: pandas takes a second to import.
    from stillsafe.csv_files.csv_parts import csv_parts
    from stillsafe.table_file import ColumnKinds, column_names, is_parquet

    features, size = guard.settings.schema_of_features.features, rows or BLOCK_ROWS
    columns = [spec.name for spec in features] + ([job.id_column] if job.id_column else [])
    if is_parquet(job.file):
        names = column_names(job.file, "file to score")
        blocks = _parquet_blocks(job.file, [name for name in names if name in columns], size)
    else:
        texts = [spec.name for spec in features if spec.type in TEXT_TYPES] + ([job.id_column] if job.id_column else [])
        kinds = ColumnKinds(dict.fromkeys(texts, ()), expected=columns)
        blocks = csv_parts(job.file, kinds, job.form, size)
    number = 0
    for block in blocks:
        _require(
            job, columns, [*block.columns], {spec.name for spec in features if spec.required or not spec.omittable}
        )
        if number >= skip:
            yield block
        number += len(block)


def _parquet_blocks(file: Path, columns: Sequence[str], size: int) -> Iterator["pd.DataFrame"]:
    parquet = parquet_library()

    with parquet.ParquetFile(file) as table:
        for batch in table.iter_batches(size, columns=[*columns]):
            yield batch.to_pandas(integer_object_nulls=True)  # an id stays a whole number beside a missing one


def _require(job: ScoreJob, columns: Sequence[str], present: Sequence[str], needs: set[str]) -> None:
    absent = [name for name in columns if name not in present and (name in needs or name == job.id_column)]
    if not absent and columns and not any(name in present for name in columns):
        absent = [*columns]
    if absent:
        names = ", ".join(absent)
        advice = "Name the columns as the schema does."
        if job.id_column in absent:
            others = "" if absent == [job.id_column] else f" {advice}"
            advice = f"Name your column of ids with --id, or leave the option out.{others}"
        raise ConfigurationError(f"There is no column {names}.", advice, file=str(job.file))


def _score_block(
    guard: Guard, job: ScoreJob, report: ScoreReport, block: "pd.DataFrame", handle: IO[bytes], *, is_retry: bool
) -> None:
    """Answer a block, write its lines, and count it."""
    names, first, counts = [as_text(each) for each in guard.classes], report.rows + 1, Counter(report.answers)
    features = guard.settings.schema_of_features.features
    if job.id_column is None:
        prepare, own_ids = partial(_plain_row, features), block_ids(report.block, report.block_at, len(block))
        replies = guard.predict_frame(block, prepare=prepare, ids=own_ids, is_retry=is_retry)
        text, deciders = _frame_text(replies, names, first)
    else:
        first_texts = [f"score:{report.job}:{first + index}" for index in range(len(block))]
        cells = block[job.id_column]
        ids = [str(cell) if ok else own for cell, ok, own in zip(cells, cells.notna(), first_texts, strict=True)]
        rows = [_plain_row(features, row) for row in rows_of(guard.settings.schema_of_features, block)]
        results = guard.predict_many(rows, ids=[*ids])
        text, deciders = _results_text(results, names, first, ids), Counter(map(_decider, results))
    handle.write(text)
    report.rows, report.answers = report.rows + len(block), dict(counts + deciders)


def _frame_text(replies: FrameReplies, names: Sequence[str], first: int) -> tuple[bytes, Counter[str]]:
    """The lines of rows without ids of the owner's, and how many rows were answered by whom, or refused."""
    answers = replies.replies
    if not isinstance(answers, PredictionColumns):
        results = replies.results()
        return _results_text(results, names, first, repeat("")), Counter(map(_decider, results))
    deciders = +Counter({answers.common.decided_by: len(answers), "error": len(replies.refusals)})
    lines = _column_lines(answers, names, [first + row for row in range(replies.count) if row not in replies.refusals])
    if not replies.refusals:
        return "".join(lines).encode(), deciders
    refused_lines = {
        row: _csv_text([(first + row, "", *_line(InvalidFeatures(each), names))]).decode()
        for row, each in replies.refusals.items()
    }
    iterator = iter(lines)
    merged_lines = (refused_lines[row] if row in refused_lines else next(iterator) for row in range(replies.count))
    return "".join(merged_lines).encode(), deciders


def _column_lines(answers: PredictionColumns, names: Sequence[str], numbers: Sequence[int]) -> list[str]:
    """The line of each answer: the same cells as `_line` has, made by column."""
    texts = answers.texts()
    quoted_texts = {each: _csv_text([[each]]).decode().removesuffix(END) for each in {*texts}}
    common = _csv_text([[answers.common.decided_by, answers.common.system_state.value, ""]]).decode().removesuffix(END)
    probabilities = answers.probabilities or {}
    cells: list[Iterable[object]] = [map(quoted_texts.__getitem__, texts), _number_cells(answers.confidences)]
    cells += [_number_cells(probabilities[name]) if name in probabilities else repeat("") for name in names]
    template = f"%d,,%s,%s,%s,{common.replace('%', '%%')}{',%s' * len(names)}{END}"
    return list(map(template.__mod__, zip(numbers, answers.ids, *cells, strict=False)))


def _number_cells(values: Sequence[float | None]) -> Sequence[str]:
    """Numbers as JSON writes them; empty where there is none."""
    return [each if each != NULL else "" for each in json_cells(values)]


def _results_text(results: Sequence[Result], names: Sequence[str], first: int, ids: Iterable[str]) -> bytes:
    lines = zip(count(first), ids, (_line(each, names) for each in results), strict=False)
    return _csv_text((number, own, *line) for number, own, line in lines)


def _decider(result: Result) -> str:
    return result.decided_by if isinstance(result, Prediction) else "error"


def _line(result: Result, names: Sequence[str]) -> Sequence[object]:
    if not isinstance(result, Prediction):
        return [*[""] * 5, str(result), *[""] * len(names)]
    prediction = "" if result.prediction is None else as_text(result.prediction)
    probabilities = result.probabilities or {}
    cells = [result.prediction_id, prediction, result.confidence, result.decided_by, result.system_state, ""]
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


def _begin_block(job: ScoreJob, report: ScoreReport) -> None:
    """Note how far the job is, and what the ids of the next block are made of, before that is answered."""
    report.block, report.block_at = os.urandom(8).hex(), time.time_ns() // 1_000_000
    _save(job, report)


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
    pa = arrow()
    from pyarrow import csv as arrow_csv

    parquet = parquet_library()

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
