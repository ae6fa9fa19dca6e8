"""What becomes of the throughput as the log, or the rows, grow."""

import http.client
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

from benchmarks import log_rows
from benchmarks.serving import visit
from benchmarks.serving.contenders import Ours, Place, Server
from benchmarks.serving.load import Load
from benchmarks.serving.workload import BATCH
from stillsafe.settings import DATABASE_VARIABLE

LONGEST_BODY = 900_000
"""Bytes of a batch of wide rows: the service takes a million."""


@dataclass(frozen=True, slots=True)
class Long:
    """A service whose log has a past.

    Attributes:
        rows: in the log when it was made.
        server: how it is started, on that log.
        place: where.
    """

    rows: int
    server: Server
    place: Place


def template(ours: Ours, place: Place) -> list[log_rows.LogRow]:
    """Log rows that the product wrote, two batches of them.

    Args:
        ours: on SQLite.
        place: where it is started.
    """
    server = ours.prepare(place)
    with visit.up(server, place), closing(http.client.HTTPConnection("127.0.0.1", place.port)) as connection:
        endpoint, rows = server.many or server.one, place.workload.rows
        longest = max(len(json.dumps(row)) for row in rows)
        count = max(1, min(BATCH, LONGEST_BODY // longest))
        for start in range(0, len(rows), count):
            visit.post(connection, endpoint.path, endpoint.body(rows[start : start + count]))
    return log_rows.read_rows(place.folder / "service" / "stillsafe.db")


def lengthen(ours: Ours, place: Place, rows: Sequence[log_rows.LogRow], count: int, report: visit.Report) -> Long:
    """A service with so many rows in the last thirty days of its log.

    Args:
        ours: on either store.
        place: of its own.
        rows: to draw from.
        count: how many.
        report: called with the progress.
    """
    server = ours.prepare(place)
    with visit.up(server, place):
        pass  # it makes its tables
    database = server.environment[DATABASE_VARIABLE]
    row_count = 0

    def advance(more: int) -> None:
        nonlocal row_count
        row_count += more
        report(f"{row_count:,} of {count:,} rows")

    log_rows.fill(database, rows, count, *log_rows.past_span(datetime.now(UTC)), advance=advance)
    log_rows.settle(database)
    return Long(count, server, place)


def throughput(log: Long, seconds: float) -> Load:
    """With 64 connections, one row a request."""
    with visit.up(log.server, log.place):
        return visit.throughput(log.server, log.place, seconds)
