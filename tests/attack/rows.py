"""What a service's SQLite file holds, read beside the service."""

import re
import sqlite3
from contextlib import closing
from typing import Any

from tests.serving.server_process import ServerProcess, request, status

_ID = re.compile(rb'"prediction_id":\s?"([^"]+)"')


def stored_ids(target: ServerProcess) -> set[str]:
    """The identifiers of every row of the prediction log."""
    return {str(value) for (value,) in _rows(target, "SELECT prediction_id FROM prediction_logs")}


def stored_sources(target: ServerProcess) -> dict[str | None, int]:
    """How many rows of the prediction log each source has."""
    return dict(_rows(target, "SELECT source, count(*) FROM prediction_logs GROUP BY source"))


def refusal_count(target: ServerProcess) -> int:
    """The number of recorded refusals."""
    return int(_rows(target, "SELECT count(*) FROM refusals")[0][0])


def answered_ids(answer: bytes) -> set[str]:
    """The identifiers of the predictions in an answer's bytes."""
    return {match.decode() for match in _ID.findall(answer)}


def is_served(target: ServerProcess) -> bool:
    """Whether a new client is answered, and the log has no traceback."""
    with target.connect() as connection:
        connection.sendall(request("/health/ready"))
        return status(connection) == 200 and "Traceback" not in target.log_file.read_text()


def _rows(target: ServerProcess, query: str) -> list[tuple[Any, ...]]:
    file = target.log_file.with_name("stillsafe.db")
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()
