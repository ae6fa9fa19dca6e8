"""What a logged prediction takes on disk, and what for: SQLite, PostgreSQL and the archive, indexes included.

Run it with `python -m benchmarks.sizes [ROWS]` from the root of the repository. The rows are real flights.
"""

import sys
import tempfile
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import Engine, text
from tests.postgres import running_postgres

from benchmarks import log_rows
from stillsafe.core.state import State
from stillsafe.demo import shipped_flights
from stillsafe.monitoring import retention
from stillsafe.store import database
from stillsafe.store.codec import dumps
from stillsafe.store.records import PredictionRecord
from stillsafe.store.write.predictions import append_predictions

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ONE_COMMIT = 500


def main() -> None:
    """Print bytes a row."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    flights = _flights()
    document = sum(len(dumps(row)) for row in flights) / len(flights)
    names = len(dumps(dict.fromkeys(flights[0], ""))) - 2 * len(flights[0])
    print(
        f"{count:,} rows of {len(flights[0])} features; their JSON: {document:.0f} bytes a row, {names} without values"
    )
    with tempfile.TemporaryDirectory() as place, running_postgres() as server:
        folder = Path(place)
        for name, url in ("SQLite", f"sqlite:///{folder / 'log.db'}"), ("PostgreSQL", server.empty()):
            engine = database.connect(url)
            database.upgrade(engine)
            empty = _size(engine)
            _log(engine, flights, count)
            print(f"{name:<11}{(_size(engine) - empty) / count:5.0f} bytes a row")
            for part, size in _sizes_of_parts(engine).items():
                print(f"  {part:<55}{size / count:5.0f}")
            archive = folder / name
            retention.prune(engine, now=START + 90 * DAY, older_than=30 * DAY, window=DAY, folder=archive)
            size = sum(file.stat().st_size for file in archive.iterdir())
            print(f"  archived {size / count:5.0f} bytes a row")
            engine.dispose()


def _flights() -> list[dict[str, Any]]:
    frame = shipped_flights().drop(columns=["label", "timestamp"]).astype(object)
    rows = frame.where(frame.notna(), None).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def _log(engine: Engine, flights: list[dict[str, Any]], count: int) -> None:
    draw = Random(1)  # noqa: S311 - made-up identifiers
    rows = islice(cycle(flights), count)
    for first in range(0, count, ONE_COMMIT):
        records = [
            PredictionRecord(
                str(log_rows.identifier(START + (first + number) * DAY / count, draw)),
                START + (first + number) * DAY / count,
                "cd2cb273",
                State.NORMAL,
                row,
                "1",
                draw.random(),
                False,
                "healthy",
            )
            for number, row in enumerate(islice(rows, ONE_COMMIT))
        ]
        with database.writing(engine) as connection:
            append_predictions(connection, records)


def _sizes_of_parts(engine: Engine) -> dict[str, int]:
    """Bytes of the table, of its rows alone, and of each index."""
    with database.reading(engine) as connection:
        if engine.dialect.name == "postgresql":
            query = "SELECT indexrelid::regclass::text, pg_relation_size(indexrelid) FROM pg_index"
            indexes = connection.execute(text(f"{query} WHERE indrelid = 'prediction_logs'::regclass"))
            table, rows = (
                "pg_relation_size('prediction_logs')",
                "(SELECT sum(pg_column_size(log.*)) FROM prediction_logs AS log)",
            )
            sizes = connection.execute(text(f"SELECT {table}, {rows}")).one()
            return {
                "the table": int(sizes[0]),
                "its rows": int(sizes[1]),
                **{str(name): int(size) for name, size in indexes},
            }
        query = "SELECT name, sum(pgsize), sum(payload) FROM dbstat WHERE name LIKE '%prediction_logs%' GROUP BY name"
        sizes_by_name = {
            str(name): (int(size), int(payload)) for name, size, payload in connection.execute(text(query))
        }
        table_size, payload = sizes_by_name.pop("prediction_logs")
        return {
            "the table": table_size,
            "its rows": payload,
            **{name: size for name, (size, _) in sizes_by_name.items()},
        }


def _size(engine: Engine) -> int:
    with database.reading(engine) as connection:
        if engine.dialect.name == "postgresql":
            return int(connection.execute(text("SELECT pg_total_relation_size('prediction_logs')")).scalar_one())
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
        return int(pages * connection.execute(text("PRAGMA page_size")).scalar_one())


if __name__ == "__main__":
    main()
