"""What a log in partitions by day would buy on PostgreSQL: one day pruned by rows, and by dropping its partition.

    python -m benchmarks.scale.partitions [--rows N] [--days N]

Both logs have the same rows and indexes. The product's own log is one table: a unique index of a partitioned table
contains the column that divides it, and prediction ids have to be unique whatever their time is.
"""

import argparse
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import psycopg
from psycopg import sql
from rich.table import Table
from tests import postgres
from tests.ports import free_port

from benchmarks import log_rows
from benchmarks.console import console, machine
from benchmarks.monitoring.logs import NOW
from benchmarks.serving import growth, workload
from benchmarks.serving.contenders import Ours, Place
from stillsafe.monitoring import retention
from stillsafe.store import database

DAY = timedelta(days=1)
MEGA = 1e6
_LOG, _PARTITIONED = "prediction_logs", "partitioned_logs"


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
        place = Place(work, Path(tempfile.mkdtemp(dir=name)), free_port(), lambda: "")
        template, address = growth.template(Ours(), place), server.empty()
        engine = database.connect(address)
        database.upgrade(engine)
        start = NOW - options.days * DAY
        log_rows.fill(address, template, options.rows, start, NOW)
        with psycopg.connect(address, autocommit=True) as connection:
            make_partitions(connection, options.days)
            log_rows.settle(address)
            result = Table(title=f"The oldest of {options.days} days of {options.rows:,} rows")
            for heading in ("", "seconds", "write-ahead log (MB)", "rows left"):
                result.add_column(heading)
            age = NOW - start - DAY
            ways = {
                "by rows, as `stillsafe prune` does": lambda: retention.prune(
                    engine, now=NOW, older_than=age, window=timedelta(minutes=15)
                ),
                "by dropping its partition": lambda: connection.execute(
                    sql.SQL("DROP TABLE {}").format(sql.Identifier(partition(0)))
                ),
            }
            for (way, prune), table in zip(ways.items(), (_LOG, _PARTITIONED), strict=True):
                written, began = _written(connection), time.perf_counter()
                prune()
                seconds = time.perf_counter() - began
                count = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
                rows = connection.execute(count).fetchone()
                written = _written(connection) - written
                result.add_row(way, f"{seconds:.3g}", f"{written / MEGA:,.3g}", f"{(rows or (0,))[0]:,}")
        engine.dispose()
    output.print(result)


def partition(day: int) -> str:
    """The name of a day's partition."""
    return f"{_PARTITIONED}_{day}"


def make_partitions(connection: "psycopg.Connection[tuple[object, ...]]", days: int) -> None:
    """Copy the log into a table with a partition for each of the days that end at NOW, with its indexes."""
    statement = f"CREATE TABLE {_PARTITIONED} (LIKE {_LOG} INCLUDING DEFAULTS) PARTITION BY RANGE (timestamp)"
    connection.execute(sql.SQL(statement))
    for day in range(days):
        first = NOW - (days - day) * DAY
        connection.execute(
            sql.SQL("CREATE TABLE {} PARTITION OF {} FOR VALUES FROM ({}) TO ({})").format(
                sql.Identifier(partition(day)),
                sql.Identifier(_PARTITIONED),
                first.isoformat(),
                (first + DAY).isoformat(),
            )
        )
    for columns in ("(id)", "(prediction_id)", "(service_id, model_version, timestamp)"):
        connection.execute(sql.SQL(f"CREATE INDEX ON {_PARTITIONED} {columns}"))
    connection.execute(sql.SQL(f"INSERT INTO {_PARTITIONED} SELECT * FROM {_LOG}"))  # noqa: S608 - our own names
    connection.execute(sql.SQL(f"VACUUM ANALYZE {_PARTITIONED}"))


def _written(connection: "psycopg.Connection[tuple[object, ...]]") -> int:
    """Bytes of the write-ahead log so far."""
    row = connection.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").fetchone()
    return int(str((row or (0,))[0]))


if __name__ == "__main__":
    main()
