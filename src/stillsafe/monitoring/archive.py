"""Requests that left the database: one Parquet file for each day and model version.

A file is written beside its place, synced, and renamed into it, so that under its own name it is always whole.
Rows are known by their ids: adding the same rows twice leaves one of each.
"""

import json
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from stillsafe.errors import RefusedError
from stillsafe.store.disk import sync
from stillsafe.store.read.requests import RequestTable, WindowRows

if TYPE_CHECKING:
    import pandas as pd

PREFIXES = {RequestTable.PREDICTIONS: "predictions", RequestTable.REFUSALS: "refusals"}
_UNFINISHED = ".partial"
_LOGGED = ("input_summary", "prediction", "confidence_score", "fallback_used", "model_error")


def file_of(folder: Path, requests: RequestTable, day: date, model_version: str) -> Path:
    """Where the rows of a day (UTC) and a model version belong."""
    return folder / f"{PREFIXES[requests]}-{day.isoformat()}-{quote(model_version, safe='')}.parquet"


def add(file: Path, requests: RequestTable, batches: Iterable[Sequence[dict[str, Any]]]) -> None:
    """Make a durable file of these rows and of those that are in it already, each id once.

    Args:
        file: its folder is made where there is none.
        requests: which table the rows are from.
        batches: whole rows as `reader.request_rows` gives them.

    Raises:
        RefusedError: the file cannot be read or written, or is another database's.
    """
    import pyarrow as pa
    from pyarrow import parquet

    schema = _schema(requests)
    unfinished = file.with_name(file.name + _UNFINISHED)
    with _told(file):
        _make_folder(file.parent)
        with parquet.ParquetWriter(unfinished, schema, compression="zstd") as writer:
            known = _keep(writer, file, schema) if file.exists() else np.empty(0, np.int64)
            for rows in batches:
                fresh = pa.Table.from_pylist(list(rows), schema=schema)
                again = np.isin(fresh["id"].to_numpy(), known)
                if again.any():
                    _require_same(file, fresh.filter(pa.array(again)))
                writer.write_table(fresh.filter(pa.array(~again)))
        sync(unfinished)
        unfinished.replace(file)
        sync(file.parent)


def ids_in(folder: Path, requests: RequestTable) -> list[int]:
    """Row ids in all the files of a folder, as often as they are there.

    Raises:
        RefusedError: a file cannot be read.
    """
    from pyarrow import parquet

    found: list[int] = []
    for file in sorted(folder.glob(f"{PREFIXES[requests]}-*.parquet")):
        with _told(file):
            found += parquet.read_table(file, columns=["id"], partitioning=None)["id"].to_pylist()
    return found


class Archive:
    """A folder of such files, to be read beside the log.

    Raises:
        RefusedError: there is no such folder, or no file in it.
    """

    def __init__(self, folder: Path) -> None:
        self._files = {requests: sorted(folder.glob(f"{prefix}-*.parquet")) for requests, prefix in PREFIXES.items()}
        if not any(self._files.values()):
            raise RefusedError(f"{folder}: it holds no archive. Name the folder that was given to `prune --archive`.")

    def window_rows(
        self, start: datetime, end: datetime, fresh_since: datetime, version: str, up_to_row: int, known: Container[int]
    ) -> WindowRows:
        """As `reader.window_batches`, but those that are in the log no more: their ids are not known there."""
        found = [
            row
            for row in self._rows(RequestTable.PREDICTIONS, start, end, version)
            if row["id"] <= up_to_row and row["id"] not in known
        ]
        return WindowRows(
            [row["id"] for row in found],
            [row["timestamp"] >= fresh_since for row in found],
            *([row[name] for row in found] for name in _LOGGED),
        )

    def refusal_ids(self, start: datetime, end: datetime, model_version: str) -> list[int]:
        """Row ids of the requests refused in `[start, end)`."""
        return [row["id"] for row in self._rows(RequestTable.REFUSALS, start, end, model_version)]

    def last_request_at(
        self, known: datetime | None, before: datetime, up_to_prediction: int, up_to_refusal: int
    ) -> datetime | None:
        """When the last request before a time came, in the archive or, if that is later, as known from the log."""
        latest = known
        for requests, up_to in ((RequestTable.PREDICTIONS, up_to_prediction), (RequestTable.REFUSALS, up_to_refusal)):
            # The newest day first: all of the days before it come earlier.
            for file in sorted(self._files[requests], key=_day_of, reverse=True):
                if _day_of(file) > before.date() or (latest is not None and _day_of(file) < latest.date()):
                    continue
                filters = [("timestamp", "<", before), ("id", "<=", up_to)]
                times = [row["timestamp"] for row in _read(file, ["timestamp"], filters)]
                latest = max([*times, *([] if latest is None else [latest])], default=None)
        return latest

    def frame(self) -> "pd.DataFrame":
        """Every prediction's features and timestamp, as a history to be judged."""
        import pandas as pd

        rows = [
            json.loads(row["input_summary"]) | {"timestamp": row["timestamp"]}
            for file in self._files[RequestTable.PREDICTIONS]
            for row in _read(file, ["timestamp", "input_summary"], None)
        ]
        return pd.DataFrame(rows)

    def _rows(self, requests: RequestTable, start: datetime, end: datetime, version: str) -> list[dict[str, Any]]:
        filters = [("timestamp", ">=", start), ("timestamp", "<", end), ("model_version", "=", version)]
        files = [file for file in self._files[requests] if start.date() <= _day_of(file) <= end.date()]
        return [row for file in files for row in _read(file, None, filters)]


def _day_of(file: Path) -> date:
    """The day in a file's name."""
    try:
        return date.fromisoformat(file.name.split("-", 1)[1][:10])
    except ValueError:
        raise RefusedError(f"{file}: its name is not that of a file of an archive.") from None


def _read(file: Path, names: list[str] | None, filters: list[tuple[str, str, object]] | None) -> list[dict[str, Any]]:
    """Rows of one file, times aware UTC."""
    from pyarrow import parquet

    with _told(file):
        rows: list[dict[str, Any]] = parquet.read_table(
            file, columns=names, filters=filters, partitioning=None
        ).to_pylist()
    return [row | {"timestamp": row["timestamp"].astimezone(UTC)} for row in rows]


def _keep(writer: Any, file: Path, schema: Any) -> NDArray[np.int64]:
    """Copy what the file holds, a part at a time; its ids."""
    import pyarrow as pa
    from pyarrow import parquet

    known = []
    with parquet.ParquetFile(file) as kept:
        if not kept.schema_arrow.equals(schema):
            raise RefusedError(f"{file}: it is no archive of these rows. Name another folder.")
        for batch in kept.iter_batches():
            writer.write_table(pa.Table.from_batches([batch], schema))
            known.append(batch["id"].to_numpy())
    return np.concatenate([np.empty(0, np.int64), *known])


def _require_same(file: Path, again: Any) -> None:
    """Ids are numbers from 1 in every database: the same id in another one's archive is another row."""
    from pyarrow import parquet

    ids = again["id"].to_pylist()
    kept = parquet.read_table(file, filters=[("id", "in", ids)], partitioning=None).sort_by("id")
    if kept.to_pylist() != again.sort_by("id").to_pylist():
        raise RefusedError(f"{file}: it holds other rows under the same ids. Give each database a folder of its own.")


def _schema(requests: RequestTable) -> Any:
    import pyarrow as pa

    text = pa.string()
    row = [("id", pa.int64()), ("timestamp", pa.timestamp("us", "UTC")), ("model_version", text)]
    if requests is RequestTable.REFUSALS:
        return pa.schema([*row, ("violations", text)])
    row += [("system_state", text), ("input_summary", text), ("prediction", text)]
    row += [("confidence_score", pa.float64()), ("fallback_used", pa.bool_()), ("prediction_id", text)]
    return pa.schema([*row, ("decided_by", text), ("reason", text), ("model_error", text)])


def _make_folder(folder: Path) -> None:
    missing = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for place in missing:
        sync(place.parent)


@contextmanager
def _told(file: Path) -> Iterator[None]:
    """What goes wrong with a file, in our words: an unreadable Parquet file is a ValueError, a full disk an OSError."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise RefusedError(f"{file}: it cannot be read or written: {error}.") from error
