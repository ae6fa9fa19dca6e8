"""The archive: files are complete, hold each row once, and are read as the log is."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from stillsafe.errors import RefusedError
from stillsafe.monitoring.archive import (
    UNKNOWN,
    Archive,
    add_rows,
    archive_file,
    archive_files,
    archived_ids,
    erase_rows,
    service_ids,
    stamps_of,
)
from stillsafe.store.read.requests import RequestTable

DAY = datetime(2026, 3, 1, tzinfo=UTC)
FIRST_DAY = DAY.date()
PREDICTIONS, REFUSALS = RequestTable.PREDICTIONS, RequestTable.REFUSALS


def prediction(row_id: int, **changes: Any) -> dict[str, Any]:
    """A row of the log, a minute after the row before."""
    row = {
        "id": row_id,
        "timestamp": DAY + timedelta(minutes=row_id),
        "model_version": "1",
        "system_state": "NORMAL",
        "input_summary": f'{{"size": {row_id}}}',
        "prediction": "yes",
        "confidence_score": 0.9,
        "fallback_used": False,
        "prediction_id": f"p{row_id}",
        "decided_by": "model",
        "reason": "made up",
        "model_error": None,
        "synthetic": False,
        "service_id": 1,
        "source": "0123456789abcdef",
        "request_id": None,
        "trace_id": None,
    }
    return row | changes


def refusal(row_id: int) -> dict[str, Any]:
    """A refused request, a minute after the one before."""
    return {
        "id": row_id,
        "timestamp": DAY + timedelta(minutes=row_id),
        "model_version": "1",
        "violations": "[]",
        "service_id": 1,
        "source": None,
    }


def add_predictions(folder: Path, *rows: dict[str, Any], day: date = FIRST_DAY) -> Path:
    """Add rows of one day to its file."""
    file = archive_file(folder, PREDICTIONS, day, "1")
    add_rows(file, PREDICTIONS, [rows])
    return file


def test_a_file_is_named_by_table_day_and_version(tmp_path: Path) -> None:
    """A version may contain any character, so it is escaped in the name."""
    assert archive_file(tmp_path, REFUSALS, FIRST_DAY, "2/b").name == "refusals-2026-03-01-2%2Fb.parquet"


def test_rows_are_stored_once(tmp_path: Path) -> None:
    """Rows that a file has already are not added again, in the same batch order or another."""
    folder = tmp_path / "new" / "archive"
    file = add_predictions(folder, prediction(1), prediction(2))
    add_rows(file, PREDICTIONS, [[prediction(2)], [prediction(3), prediction(1)]])
    assert sorted(archived_ids(folder, PREDICTIONS)) == [1, 2, 3]
    assert parquet.read_table(file, partitioning=None).sort_by("id").to_pylist() == [prediction(i) for i in (1, 2, 3)]


def test_only_complete_files_have_their_name(tmp_path: Path) -> None:
    """A failure in the middle leaves the old file as it was, and the partial one is replaced by the next attempt."""
    file = add_predictions(tmp_path, prediction(1))

    def failing_batches() -> Any:
        yield [prediction(2)]
        raise OSError("disk full")

    with pytest.raises(RefusedError, match=r"cannot be read or written: disk full"):
        add_rows(file, PREDICTIONS, failing_batches())
    assert archived_ids(tmp_path, PREDICTIONS) == [1]
    add_predictions(tmp_path, prediction(2))
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert archived_ids(tmp_path, PREDICTIONS) == [1, 2]


def test_other_rows_under_the_same_ids_are_refused(tmp_path: Path) -> None:
    """Ids start at 1 in every database, so the file of another database is not added to."""
    file = add_predictions(tmp_path, prediction(1))
    with pytest.raises(RefusedError, match="other rows under the same ids"):
        add_predictions(tmp_path, prediction(1, prediction="no"))
    with pytest.raises(RefusedError, match="no archive of these rows"):
        add_rows(file, REFUSALS, [[refusal(2)]])
    assert archived_ids(tmp_path, PREDICTIONS) == [1]


@pytest.mark.parametrize("later_names", [("source",), ("source", "service_id", "synthetic", "trace_id")])
@pytest.mark.parametrize("requests", RequestTable)
def test_an_archive_of_an_older_release_is_added_to(
    tmp_path: Path, requests: RequestTable, later_names: tuple[str, ...]
) -> None:
    """Its rows have no service, no source and are not synthetic: those of the first service, and evidence."""
    row = partial(prediction, source=None) if requests is PREDICTIONS else refusal
    file = archive_file(tmp_path, requests, FIRST_DAY, "1")
    add_rows(file, requests, [[row(1)]])
    table = parquet.read_table(file, partitioning=None)
    parquet.write_table(table.drop_columns([name for name in later_names if name in table.schema.names]), file)
    add_rows(file, requests, [[row(1), row(2)]])
    assert parquet.read_table(file, partitioning=None).sort_by("id").to_pylist() == [row(1), row(2)]


def test_each_service_has_an_archive_of_its_own(tmp_path: Path) -> None:
    """Rows of two services in one file could not be told apart by version and time, so the second is refused."""
    file = add_predictions(tmp_path, prediction(1))
    with pytest.raises(RefusedError, match="rows of another service"):
        add_predictions(tmp_path, prediction(2, service_id=2))
    assert archived_ids(tmp_path, PREDICTIONS) == [1]
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".parquet"] == [file.name]


def test_window_rows_are_those_that_the_log_lacks(tmp_path: Path) -> None:
    """Of the evidence in `[start, end)` that a run read, without the rows of the log; fresh from a time on, or all."""
    add_predictions(tmp_path, *(prediction(i, synthetic=i == 6) for i in range(10)))
    add_rows(archive_file(tmp_path, PREDICTIONS, FIRST_DAY, "2"), PREDICTIONS, [[prediction(10, model_version="2")]])
    start, end, fresh_since = (DAY + timedelta(minutes=minutes) for minutes in (2, 9, 5))
    archive, log_ids = Archive(tmp_path), {3, 4}
    rows = archive.window_rows((start, end), "1", lambda _at, row_id: row_id <= 7, log_ids, fresh=fresh_since)
    assert rows.ids == [2, 5, 7]
    assert rows.fresh == [False, True, True]
    by_time = archive.window_rows((start, end), "1", lambda at, _id: at > fresh_since, log_ids, fresh=True)
    assert (by_time.ids, by_time.fresh) == ([7, 8], [True, True])
    assert rows.input_summaries == [f'{{"size": {i}}}' for i in rows.ids]
    assert (rows.predictions[0], rows.confidences[0], rows.fallback_used[0], rows.model_errors[0]) == (
        "yes",
        0.9,
        False,
        None,
    )


def test_refusals_are_found_by_time_and_version(tmp_path: Path) -> None:
    """Their ids in `[start, end)` that a run read; another version has none."""
    add_rows(archive_file(tmp_path, REFUSALS, FIRST_DAY, "1"), REFUSALS, [[refusal(i) for i in range(5)]])
    archive, end = Archive(tmp_path), DAY + timedelta(minutes=4)
    refusals = archive.refusal_sources(DAY + timedelta(minutes=1), end, "1", lambda _at, _id: True)
    assert list(refusals) == [1, 2, 3]
    assert list(archive.refusal_sources(DAY, end, "1", lambda _at, row_id: row_id < 2)) == [0, 1]
    assert archive.refusal_sources(DAY, end, "2", lambda _at, _id: True) == {}


def test_the_last_request_is_the_latest_of_log_and_archive(tmp_path: Path) -> None:
    """Answered or refused, before a time and up to the row ids; that of the log counts if it is later."""
    next_day = DAY + timedelta(days=1)
    add_predictions(tmp_path, prediction(1), prediction(5))
    add_predictions(tmp_path, prediction(9, timestamp=next_day), day=next_day.date())
    add_rows(archive_file(tmp_path, REFUSALS, FIRST_DAY, "1"), REFUSALS, [[refusal(7)]])
    archive, far = Archive(tmp_path), DAY + timedelta(days=9)
    assert archive.last_request_at(None, far, 9, 9) == next_day
    assert archive.last_request_at(None, next_day, 9, 9) == DAY + timedelta(minutes=7)
    assert archive.last_request_at(None, far, 8, 6) == DAY + timedelta(minutes=5)
    assert archive.last_request_at(None, DAY, 9, 9) is None
    assert archive.last_request_at(DAY + timedelta(days=2), far, 9, 9) == DAY + timedelta(days=2)


def test_a_frame_has_features_and_timestamps(tmp_path: Path) -> None:
    """The history of a backtest: one row per prediction, times aware."""
    add_predictions(tmp_path, prediction(1), prediction(2))
    frame = Archive(tmp_path).frame()
    assert frame["size"].tolist() == [1, 2]
    assert frame["timestamp"].tolist() == [DAY + timedelta(minutes=1), DAY + timedelta(minutes=2)]


def test_a_folder_without_an_archive_is_refused(tmp_path: Path) -> None:
    """An empty folder, or none, is a mistake in its name."""
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RefusedError, match="holds no archive"):
            Archive(folder)


def test_a_foreign_file_is_refused_with_its_name(tmp_path: Path) -> None:
    """A file without a day in its name, or without Parquet content, names itself in the error."""
    (tmp_path / "predictions-latest.parquet").touch()
    with pytest.raises(RefusedError, match=r"predictions-latest\.parquet: its name is not that of an archive file"):
        Archive(tmp_path).window_rows((DAY, DAY), "1", lambda _at, _id: True, (), fresh=True)
    with pytest.raises(RefusedError, match=r"predictions-latest\.parquet: it cannot be read or written"):
        archived_ids(tmp_path, PREDICTIONS)


def test_rows_are_erased_from_a_file(tmp_path: Path) -> None:
    """All others stay as they are; a trial counts; what an interrupted write left is deleted."""
    file = add_predictions(tmp_path, *(prediction(i) for i in range(1, 5)))
    bytes_before = file.read_bytes()

    def is_even(_stamps: frozenset[str], row: Mapping[str, Any]) -> bool:
        return bool(row["id"] % 2 == 0)

    assert erase_rows(file, PREDICTIONS, is_even, dry_run=True) == 2
    assert file.read_bytes() == bytes_before
    (tmp_path / f"{file.name}.partial").write_text("half a row")
    assert archive_files(tmp_path, PREDICTIONS) == [file]
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert erase_rows(file, PREDICTIONS, is_even) == 2
    assert parquet.read_table(file, partitioning=None).to_pylist() == [prediction(1), prediction(3)]
    assert erase_rows(file, PREDICTIONS, is_even) == 0


def test_a_file_names_the_prunes_that_wrote_it(tmp_path: Path) -> None:
    """Also after rows were erased from it; those of older releases are unknown."""
    file = archive_file(tmp_path, PREDICTIONS, FIRST_DAY, "1")
    for stamp, row_id in (("a", 1), ("b", 2), ("b", 3)):
        add_rows(file, PREDICTIONS, [[prediction(row_id)]], stamp)
    assert stamps_of(file) == {"a", "b"}
    assert erase_rows(file, PREDICTIONS, lambda stamps, row: "a" in stamps and row["id"] == 1) == 1
    assert stamps_of(file) == {"a", "b"}
    assert service_ids(file) == {1}
    parquet.write_table(parquet.read_table(file, partitioning=None).replace_schema_metadata(None), file)
    assert stamps_of(file) == {UNKNOWN}
    add_rows(file, PREDICTIONS, [[prediction(4)]], "c")
    assert stamps_of(file) == {UNKNOWN, "c"}
