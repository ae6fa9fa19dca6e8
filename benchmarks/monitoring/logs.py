"""The logs that are judged: real rows drawn again, a real baseline, as many rows before the window as wanted."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd

from benchmarks import log_rows
from benchmarks.serving.workload import Workload
from stillsafe import service
from stillsafe.core.policy import Policy
from stillsafe.settings import DATABASE_VARIABLE, Settings
from stillsafe.store import database
from stillsafe.store.tables import metadata

NOW = datetime(2026, 1, 31, tzinfo=UTC)
SPAN = timedelta(minutes=9)  # all of a window's rows are fresh: no run judged them before
_KEPT_TABLES = ("prediction_logs", "refusals", "baseline_metrics", "services")
_ANSWERS = ("prediction", "confidence_score")


@dataclass(frozen=True, slots=True)
class Log:
    """A service with a log.

    Attributes:
        config: its settings file.
        database: the URL.
        rows: in the window that ends at NOW.
        older: before it.
    """

    config: Path
    database: str
    rows: int
    older: int

    @property
    def environment(self) -> dict[str, str]:
        """What its processes find the database by."""
        return {DATABASE_VARIABLE: self.database}

    def settings(self) -> Settings:
        """Its settings."""
        read = service.settings_of(self.config)
        return read.model_copy(update={"service": read.service.model_copy(update={"database": self.database})})

    def forget_runs(self) -> None:
        """As if no run had ever been: the log and the baseline stay, and nothing else."""
        engine = database.connect(self.database)
        with database.writing(engine) as connection:
            for table in reversed(metadata.sorted_tables):
                if table.name not in _KEPT_TABLES:
                    connection.execute(table.delete())
        engine.dispose()


def make(
    work: Workload,
    folder: Path,
    database_url: str | None,
    template: Sequence[log_rows.LogRow],
    rows: int,
    older: int,
    report: Callable[[int], object],
) -> Log:
    """A service folder whose log is full.

    Args:
        work: with the folder that `init` made.
        folder: to be made.
        database_url: of an empty database; None for SQLite in the folder.
        template: rows to draw from.
        rows: in the window.
        older: in the thirty days before it.
        report: called with the progress.
    """
    shutil.copytree(work.service, folder)
    settings_file = folder / "stillsafe.toml"
    # Rows before the window are a history that earlier runs have judged, so the run must not carry them.
    settings_file.write_text(whole_window(settings_file.read_text(), rows))
    log = Log(settings_file, database_url or f"sqlite:///{folder / 'stillsafe.db'}", rows, older)
    service.open_store(log.settings(), create=True).dispose()
    log_rows.fill(log.database, template, older, *log_rows.past_span(NOW), advance=report)
    log_rows.fill(log.database, template, rows, NOW - SPAN, NOW, advance=report)
    log_rows.settle(log.database)
    return log


def whole_window(settings: str, rows: int) -> str:
    """The settings of a service whose runs read a window of so many rows, all of it and nothing before it."""
    settings = settings.replace("[monitor]\n", '[monitor]\nmax_carry = "15m"\n')
    limit = max(rows, Policy().max_carry_predictions)
    return settings.replace("[policy]\n", f"[policy]\nmax_carry_predictions = {limit}\n")


def in_memory(log: Log, work: Workload, folder: Path) -> None:
    """The same rows for the peers, with the model's answers: `reference.parquet` and one file named by their number.

    Args:
        log: on SQLite.
        work: with the sample that the baseline was made of.
        folder: where the files go.
    """
    features = list(work.rows[0])
    reference = folder / "reference.parquet"
    if not reference.exists():
        sample = pd.read_parquet(work.folder / "sample.parquet")[features]
        answers = pd.DataFrame(work.sample_answers, columns=list(_ANSWERS))
        sample.reset_index(drop=True).join(answers).to_parquet(reference)
    connection = sqlite3.connect(log.database.removeprefix("sqlite:///"))
    since = f"{NOW - SPAN:%Y-%m-%d %H:%M:%S.%f}"
    query = f"SELECT input_summary, {', '.join(_ANSWERS)} FROM prediction_logs WHERE timestamp >= ?"  # noqa: S608
    rows_found = connection.execute(query, (since,)).fetchall()
    connection.close()
    table = pd.DataFrame([json.loads(row[0]) for row in rows_found], columns=features)
    table["prediction"] = [int(row[1]) for row in rows_found]
    table["confidence_score"] = [row[2] for row in rows_found]
    table.to_parquet(folder / f"{log.rows}.parquet")
