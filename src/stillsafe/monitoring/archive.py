"""The archive of pruned requests: one Parquet file for each day and model version.

Each file is written under a temporary name, synced and renamed, so a file in the archive is always complete. Row ids
identify the rows: adding the same rows twice stores them once.
"""

import json
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from stillsafe.errors import RefusedError
from stillsafe.parquet_files import arrow
from stillsafe.parquet_files import parquet as parquet_library
from stillsafe.store.disk import create_private, sync
from stillsafe.store.read.requests import RequestTable, WindowRows, micros_of
from stillsafe.store.tables import FIRST_SERVICE

if TYPE_CHECKING:
    import pandas as pd

PREFIXES = {RequestTable.PREDICTIONS: "predictions", RequestTable.REFUSALS: "refusals"}
_PARTIAL_SUFFIX = ".partial"
_STAMPS, UNKNOWN = b"stillsafe.prunes", ""
"""The stamps of the prunes that wrote a file, in its metadata; and that of releases which wrote none."""
_LATER_COLUMNS: dict[str, Any] = {
    "synthetic": False,
    "service_id": FIRST_SERVICE,
    **dict.fromkeys(("source", "request_id", "trace_id")),
}
"""Columns that archives of older releases lack, and their values there."""
_WINDOW_COLUMNS = ("input_summary", "prediction", "confidence_score", "fallback_used", "model_error")


def archive_file(folder: Path, requests: RequestTable, day: date, model_version: str) -> Path:
    """The file for the rows of a day (UTC) and a model version."""
    return folder / f"{PREFIXES[requests]}-{day.isoformat()}-{quote(model_version, safe='')}.parquet"


def add_rows(
    file: Path, requests: RequestTable, batches: Iterable[Sequence[dict[str, Any]]], stamp: str = UNKNOWN
) -> None:
    """Add rows to a file and sync it to the disk. Rows that it has already are not added again.

    Args:
        file: created with its folder where it does not exist.
        requests: the table of the rows.
        batches: whole rows, as from `request_rows`.
        stamp: of the prune that adds them.

    Raises:
        RefusedError: the file cannot be read or written, or belongs to another database.
    """
    pa = arrow()
    parquet = parquet_library()

    partial_file = file.with_name(file.name + _PARTIAL_SUFFIX)
    with _file_errors(file):
        stamps = {stamp, *(stamps_of(file) if file.exists() else ())}
        schema = _with_stamps(_schema(requests), stamps)
        _create_folder(file.parent)
        create_private(partial_file)
        with parquet.ParquetWriter(partial_file, schema, compression="zstd") as writer:
            old_ids = _copy_rows(writer, file, schema) if file.exists() else np.empty(0, np.int64)
            for rows in batches:
                batch = pa.Table.from_pylist(list(rows), schema=schema)
                _require_same_service(file, batch)
                is_old = np.isin(batch["id"].to_numpy(), old_ids)
                if is_old.any():
                    _require_same(file, batch.filter(pa.array(is_old)))
                writer.write_table(batch.filter(pa.array(~is_old)))
        sync(partial_file)
        partial_file.replace(file)
        sync(file.parent)


def erase_rows(
    file: Path,
    requests: RequestTable,
    is_erased: Callable[[frozenset[str], Mapping[str, Any]], bool],
    *,
    dry_run: bool = False,
) -> int:
    """Write a file again without some of its rows, and return how many there were.

    A file without such rows stays as it is. One whose write is interrupted has all its rows.

    Args:
        file: of the archive.
        requests: the table of its rows.
        is_erased: whether a row is to go, by the file's stamps and the row; its documents are text.
        dry_run: only count them.

    Raises:
        RefusedError: the file cannot be read or written.
    """
    pa = arrow()
    parquet = parquet_library()

    partial_file, stamps = file.with_name(file.name + _PARTIAL_SUFFIX), stamps_of(file)
    schema = _with_stamps(_schema(requests), stamps)
    with _file_errors(file), parquet.ParquetFile(file) as old_file:
        count = sum(is_erased(stamps, row) for batch in old_file.iter_batches() for row in batch.to_pylist())
        if dry_run or not count:
            return count
        create_private(partial_file)
        with parquet.ParquetWriter(partial_file, schema, compression="zstd") as writer:
            for batch in old_file.iter_batches():
                stays = pa.array([not is_erased(stamps, row) for row in batch.to_pylist()], pa.bool_())
                table = pa.Table.from_batches([batch], old_file.schema_arrow).filter(stays)
                writer.write_table(_with_all_columns(table, schema))
        sync(partial_file)
        partial_file.replace(file)
        sync(file.parent)
    return count


def archive_files(folder: Path, requests: RequestTable, *, keep_partial: bool = False) -> list[Path]:
    """The files of a folder, sorted; what an interrupted write left there is deleted, unless one may be under way."""
    for partial_file in () if keep_partial else folder.glob(f"{PREFIXES[requests]}-*.parquet{_PARTIAL_SUFFIX}"):
        partial_file.unlink(missing_ok=True)
    return sorted(folder.glob(f"{PREFIXES[requests]}-*.parquet"))


def stamps_of(file: Path) -> frozenset[str]:
    """The stamps of the prunes that wrote a file; `UNKNOWN` stands for those of older releases.

    Raises:
        RefusedError: it cannot be read.
    """
    with _file_errors(file):
        content = (parquet_library().read_schema(file).metadata or {}).get(_STAMPS)
        return frozenset([UNKNOWN] if content is None else json.loads(content))


def service_ids(file: Path) -> set[int]:
    """The services whose rows a file has.

    Raises:
        RefusedError: it cannot be read.
    """
    parquet = parquet_library()

    with _file_errors(file):
        if "service_id" not in parquet.read_schema(file).names:
            return {FIRST_SERVICE}
        return set(parquet.read_table(file, columns=["service_id"], partitioning=None)["service_id"].to_pylist())


def archived_ids(folder: Path, requests: RequestTable) -> list[int]:
    """Row ids in all files of a folder, with repetitions if there are any.

    Raises:
        RefusedError: a file cannot be read.
    """
    parquet = parquet_library()

    ids: list[int] = []
    for file in sorted(folder.glob(f"{PREFIXES[requests]}-*.parquet")):
        with _file_errors(file):
            ids += parquet.read_table(file, columns=["id"], partitioning=None)["id"].to_pylist()
    return ids


class Archive:
    """Reads the files of an archive folder, in addition to the log.

    Raises:
        RefusedError: the folder does not exist or holds no archive file.
    """

    def __init__(self, folder: Path) -> None:
        self._files = {requests: sorted(folder.glob(f"{prefix}-*.parquet")) for requests, prefix in PREFIXES.items()}
        if not any(self._files.values()):
            raise RefusedError(f"{folder}: it holds no archive. Name the folder that was given to `prune --archive`.")

    def window_rows(
        self,
        span: tuple[datetime, datetime],
        version: str,
        is_read: Callable[[datetime, int], bool],
        log_ids: Container[int],
        *,
        fresh: bool | datetime,
    ) -> WindowRows:
        """Rows of a run that only the archive has.

        Args:
            span: their times, half open.
            version: their model version.
            is_read: whether the run read a row, by its time and id.
            log_ids: rows that the log still has.
            fresh: whether the rows are fresh, or the time from which on they are.
        """
        rows = [
            row
            for row in self._rows(RequestTable.PREDICTIONS, *span, version)
            if not row.get("synthetic") and row["id"] not in log_ids and is_read(row["timestamp"], row["id"])
        ]
        window_rows = WindowRows(
            [row["id"] for row in rows],
            [fresh if isinstance(fresh, bool) else row["timestamp"] >= fresh for row in rows],
            *([row[name] for row in rows] for name in _WINDOW_COLUMNS),
        )
        times, sources = micros_of([row["timestamp"] for row in rows]), [row.get("source") for row in rows]
        return replace(window_rows, times=times, sources=sources)

    def refusal_sources(
        self, start: datetime, end: datetime, model_version: str, is_read: Callable[[datetime, int], bool]
    ) -> dict[int, str | None]:
        """Row ids of the requests refused in `[start, end)` that a run read, by their times and ids; with sources."""
        rows = self._rows(RequestTable.REFUSALS, start, end, model_version)
        return {row["id"]: row.get("source") for row in rows if is_read(row["timestamp"], row["id"])}

    def last_request_at(
        self, log_time: datetime | None, end: datetime, up_to_prediction: int, up_to_refusal: int
    ) -> datetime | None:
        """Time of the last request before `end` in the archive, or `log_time`, that in the log, if it is later."""
        latest = log_time
        for requests, up_to in ((RequestTable.PREDICTIONS, up_to_prediction), (RequestTable.REFUSALS, up_to_refusal)):
            # Files of earlier days cannot hold a later request, so the newest day comes first.
            for file in sorted(self._files[requests], key=_day_of, reverse=True):
                if _day_of(file) > end.date() or (latest is not None and _day_of(file) < latest.date()):
                    continue
                filters = [("timestamp", "<", end), ("id", "<=", up_to)]
                times = [row["timestamp"] for row in _read_rows(file, ["timestamp"], filters)]
                latest = max([*times, *([] if latest is None else [latest])], default=None)
        return latest

    def frame(self) -> "pd.DataFrame":
        """The features and the timestamp of every prediction, as a history for a backtest."""
        import pandas as pd

        rows = [
            json.loads(row["input_summary"]) | {"timestamp": row["timestamp"]}
            for file in self._files[RequestTable.PREDICTIONS]
            for row in _read_rows(file, ["timestamp", "input_summary"], None)
        ]
        return pd.DataFrame(rows)

    def _rows(self, requests: RequestTable, start: datetime, end: datetime, version: str) -> list[dict[str, Any]]:
        filters = [("timestamp", ">=", start), ("timestamp", "<", end), ("model_version", "=", version)]
        files = [file for file in self._files[requests] if start.date() <= _day_of(file) <= end.date()]
        return [row for file in files for row in _read_rows(file, None, filters)]


def _day_of(file: Path) -> date:
    """The day in a file's name."""
    try:
        return date.fromisoformat(file.name.split("-", 1)[1][:10])
    except ValueError:
        raise RefusedError(f"{file}: its name is not that of an archive file. Move it to another folder.") from None


def _read_rows(
    file: Path, names: list[str] | None, filters: list[tuple[str, str, object]] | None
) -> list[dict[str, Any]]:
    """Rows of one file, times aware UTC."""
    parquet = parquet_library()

    with _file_errors(file):
        table = parquet.read_table(file, columns=names, filters=filters, partitioning=None)
        rows: list[dict[str, Any]] = table.to_pylist()
    return [row | {"timestamp": row["timestamp"].astimezone(UTC)} for row in rows]


def _copy_rows(writer: Any, file: Path, schema: Any) -> NDArray[np.int64]:
    """Copy the rows of a file batch by batch, and return their ids."""
    pa = arrow()
    parquet = parquet_library()

    ids = [np.empty(0, np.int64)]
    with parquet.ParquetFile(file) as old_file:
        old_schema = old_file.schema_arrow
        if not old_schema.equals(_older_schema(schema, old_schema.names)):
            raise RefusedError(f"{file}: it is no archive of these rows. Name another folder.")
        for batch in old_file.iter_batches():
            writer.write_table(_with_all_columns(pa.Table.from_batches([batch], old_schema), schema))
            ids.append(batch["id"].to_numpy())
    return np.concatenate(ids)


def _require_same(file: Path, rows: Any) -> None:
    """Require that the file has the same rows under these ids: in another database's archive they are other rows."""
    parquet = parquet_library()

    ids = rows["id"].to_pylist()
    old_rows = parquet.read_table(file, filters=[("id", "in", ids)], partitioning=None).sort_by("id")
    if _with_all_columns(old_rows, rows.schema).to_pylist() != rows.sort_by("id").to_pylist():
        raise RefusedError(f"{file}: it holds other rows under the same ids. Give each database a folder of its own.")


def _require_same_service(file: Path, rows: Any) -> None:
    """Require that the file has rows of no other service: a reader of the archive could not separate them."""
    services = service_ids(file) if file.exists() else set()
    if services and not set(rows["service_id"].to_pylist()) <= services:
        raise RefusedError(f"{file}: it holds rows of another service. Give each service a folder of its own.")


def _schema(requests: RequestTable) -> Any:
    pa = arrow()

    text = pa.string()
    columns = [("id", pa.int64()), ("timestamp", pa.timestamp("us", "UTC")), ("model_version", text)]
    if requests is RequestTable.REFUSALS:
        return pa.schema([*columns, ("violations", text), ("service_id", pa.int64()), ("source", text)])
    columns += [("system_state", text), ("input_summary", text), ("prediction", text)]
    columns += [("confidence_score", pa.float64()), ("fallback_used", pa.bool_()), ("prediction_id", text)]
    columns += [("decided_by", text), ("reason", text), ("model_error", text)]
    columns += [("synthetic", pa.bool_()), ("service_id", pa.int64()), ("source", text), ("request_id", text)]
    columns += [("trace_id", text)]
    return pa.schema(columns)


def _with_stamps(schema: Any, stamps: Iterable[str]) -> Any:
    return schema.with_metadata({_STAMPS: json.dumps(sorted(stamps))})


def _older_schema(schema: Any, names: Sequence[str]) -> Any:
    """The schema without the later columns that are not among the names."""
    for name in _LATER_COLUMNS.keys() - set(names):
        index = schema.get_field_index(name)
        schema = schema if index < 0 else schema.remove(index)
    return schema


def _with_all_columns(table: Any, schema: Any) -> Any:
    pa = arrow()

    for name, value in _LATER_COLUMNS.items():
        if name in schema.names and name not in table.schema.names:
            field = schema.field(name)
            table = table.append_column(field, pa.array([value] * len(table), field.type))
    return table.select(schema.names)


def _create_folder(folder: Path) -> None:
    """Create a folder and sync the names of all new folders to the disk."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync(path.parent)


@contextmanager
def _file_errors(file: Path) -> Iterator[None]:
    """Turn errors of a file into refusals: a full disk is an OSError, an unreadable Parquet file a ValueError."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise RefusedError(f"{file}: it cannot be read or written: {error}.") from error
