"""What a log in partitions by day would buy on PostgreSQL: one day pruned by rows, and by dropping its partition.

    python -m benchmarks.scale.partitions [--rows N] [--days N]

Both logs have the same rows and indexes. The product's own log is one table: a unique index of a partitioned table
contains the column that divides it, and prediction ids have to be unique whatever their time is.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import psycopg
from psycopg import sql
from rich.table import Table
from tests import postgres
from tests.ports import free_port

from benchmarks import log_rows
from benchmarks.console import console, machine
from benchmarks.log_rows import LogRow
from benchmarks.monitoring.logs import NOW
from benchmarks.serving import growth, workload
from benchmarks.serving.contenders import Ours, Place
from stillsafe.monitoring import retention
from stillsafe.store import database

DAY = timedelta(days=1)
MEGA = 1e6
Connection = psycopg.Connection[tuple[object, ...]]
_LOG, _DAILY_LOG = "prediction_logs", "partitioned_logs"


def main() -> None:
    """Fill both logs, take the oldest day out of each, and print what it took."""
    reader = argparse.ArgumentParser(prog="python -m benchmarks.scale.partitions")
    reader.add_argument("--rows", type=int, default=1_000_000, help="of the log (%(default)s)")
    reader.add_argument("--days", type=int, default=10, help="that the rows are spread over (%(default)s)")
    options = reader.parse_args()
    output = console()
    output.print(machine())
    with (
        tempfile.TemporaryDirectory(prefix="stillsafe-partitions-") as name,
        postgres.running_postgres(fsync=True) as server,
    ):
        work = workload.make(workload.flights(), Path(name) / "flights")
        template = growth.template(Ours(), Place(work, Path(tempfile.mkdtemp(dir=name)), free_port(), lambda: ""))
        output.print(measure(server.empty(), template, options.rows, options.days))


def measure(address: str, template: Sequence[LogRow], rows: int, days: int) -> Table:
    """A line for each way of pruning.

    Args:
        address: of an empty database on PostgreSQL.
        template: rows to draw from.
        rows: of the log, spread evenly over the days before NOW.
        days: at least 2.
    """
    result = Table(title=f"The oldest of {days} days of {rows:,} rows")
    for heading in ("", "seconds", "write-ahead log (MB)", "rows left"):
        result.add_column(heading)
    engine = database.connect(address)
    database.upgrade(engine)
    log_rows.fill(address, template, rows, NOW - days * DAY, NOW)

    def prune() -> object:
        return retention.prune(engine, now=NOW, older_than=(days - 1) * DAY, window=timedelta(minutes=15))

    with psycopg.connect(address, autocommit=True) as connection:
        make_partitions(connection, days)
        log_rows.settle(address)

        def drop() -> object:
            return connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(partition(0))))

        result.add_row("by rows, as `stillsafe prune` does", *_cells(connection, prune, _LOG))
        result.add_row("by dropping its partition", *_cells(connection, drop, _DAILY_LOG))
    engine.dispose()
    return result


def _cells(connection: Connection, prune: Callable[[], object], table: str) -> tuple[str, str, str]:
    """Seconds of pruning, megabytes that it wrote to the write-ahead log, and the rows that are left."""
    bytes_before, began = _written_bytes(connection), time.perf_counter()
    prune()
    seconds, size = time.perf_counter() - began, _written_bytes(connection) - bytes_before
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
    return f"{seconds:.3g}", f"{size / MEGA:,.3g}", f"{(row or (0,))[0]:,}"


def partition(day: int) -> str:
    """The name of a day's partition."""
    return f"{_DAILY_LOG}_{day}"


def make_partitions(connection: Connection, days: int) -> None:
    """Copy the log into a table with a partition for each of the days that end at NOW, with its indexes."""
    statement = f"CREATE TABLE {_DAILY_LOG} (LIKE {_LOG} INCLUDING DEFAULTS) PARTITION BY RANGE (timestamp)"
    connection.execute(sql.SQL(statement))
    for day in range(days):
        first = NOW - (days - day) * DAY
        connection.execute(
            sql.SQL("CREATE TABLE {} PARTITION OF {} FOR VALUES FROM ({}) TO ({})").format(
                sql.Identifier(partition(day)),
                sql.Identifier(_DAILY_LOG),
                first.isoformat(),
                (first + DAY).isoformat(),
            )
        )
    for columns in ("(id)", "(prediction_id)", "(service_id, model_version, timestamp)"):
        connection.execute(sql.SQL(f"CREATE INDEX ON {_DAILY_LOG} {columns}"))
    connection.execute(sql.SQL(f"INSERT INTO {_DAILY_LOG} SELECT * FROM {_LOG}"))  # noqa: S608 - our own names
    connection.execute(sql.SQL(f"VACUUM ANALYZE {_DAILY_LOG}"))


def _written_bytes(connection: Connection) -> int:
    """Bytes of the write-ahead log so far."""
    row = connection.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").fetchone()
    return int(str((row or (0,))[0]))


if __name__ == "__main__":
    main()
