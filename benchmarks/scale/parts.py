"""The parts: each grows one size and measures what it costs."""

import json
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import numpy as np
from sqlalchemy import insert, select
from tests.ports import free_port

from benchmarks.console import Benchmark, Steps
from benchmarks.detection import data
from benchmarks.log_rows import LogRow
from benchmarks.monitoring import logs
from benchmarks.monitoring.logs import NOW, Log
from benchmarks.scale.measurements import (
    ANSWER,
    ANSWERS,
    DECISION,
    MEGA,
    RUN,
    RUN_MEMORY,
    STEP,
    Figures,
    cpu_of,
    decision_milliseconds,
    first_run,
    load_cost,
    page_seconds,
    replace_window,
    run_at,
    server_of,
)
from benchmarks.servers import NotStarted, Running, family_cpu_seconds
from benchmarks.serving import growth, visit, workload
from benchmarks.serving.contenders import CONNECTIONS, Ours, Place
from benchmarks.serving.workload import Workload, write_bodies
from stillsafe.store import database
from stillsafe.store.tables import current_window_metrics, incidents, prediction_logs, system_state

WINDOW_ROWS = 20_000
WIDE_SAMPLE, WIDE_WINDOW = 3_000, 5_000
SPACE_OF_ROW = 800
"""Bytes of free disk that a row of a long log is supposed to need, with a reserve."""
STORES = ("SQLite", "PostgreSQL")
CATEGORY = "key"
HISTORY = timedelta(days=30)
DASHBOARD = "CPU of the dashboard (s)"
_DASHBOARD, _INCIDENTS = "/", "/v1/incidents"


Models = dict[str, tuple[Workload, Sequence[LogRow]]]
"""Name -> a model, and log rows that its server wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleBenchmark(Benchmark):
    """A benchmark of growth; its options are `rounds` and `seconds`.

    Attributes:
        bar: the progress; one step per size and store.
        models: what several parts use, made once.
    """

    bar: Steps
    models: Models = field(default_factory=dict)

    def log(self, work: Workload, template: Sequence[LogRow], rows: int, *, store: str = STORES[0]) -> Log:
        """A log whose window has so many rows, and whose runs read all of them."""
        address = None if store == STORES[0] else self.server.empty()
        folder = Path(tempfile.mkdtemp(dir=self.folder)) / "service"
        return logs.make(work, folder, address, template, rows, 0, lambda _rows: None)

    def flights(self) -> tuple[Workload, Sequence[LogRow]]:
        """The model of flights, and log rows that its server wrote."""
        if "flights" not in self.models:
            work = workload.make(workload.flights(), self.folder / "flights")
            self.models["flights"] = work, self.template(work)
        return self.models["flights"]

    def template(self, work: Workload) -> Sequence[LogRow]:
        """Log rows that a model's server wrote."""
        place = Place(work, Path(tempfile.mkdtemp(dir=self.folder)), free_port(), lambda: "")
        return growth.template(Ours(), place)

    @contextmanager
    def server_up(self, log: Log, work: Workload, *options: str) -> Iterator[tuple[Running, Path]]:
        """A warm server on a log, and the file with its requests."""
        place = Place(work, Path(tempfile.mkdtemp(dir=self.folder)), free_port(), lambda: "")
        bodies = place.folder / "one.jsonl"
        write_bodies(bodies, [{"features": row} for row in work.rows])
        log.forget_runs()
        with visit.up(server_of(log, place.port, *options), place) as running:
            load_cost(running, bodies, CONNECTIONS, 1)
            yield running, bodies

    def server_cpu_seconds(self) -> float:
        """CPU that the database server has used so far."""
        if self.server.process is None:
            raise NotStarted("the database server does not run")
        return family_cpu_seconds(self.server.process.pid)

    def note_run(self, figures: Figures, line: str, size: int, log: Log) -> None:
        """Measure runs over the window of a log, one per round."""
        for _ in range(self.options.rounds):
            cost = first_run(log)
            figures.add(RUN, line, size, cpu_of(cost))
            figures.add(RUN_MEMORY, line, size, cost.peak_bytes / MEGA)

    def note_answers(self, figures: Figures, line: str, size: int, log: Log, work: Workload) -> None:
        """Measure answers at 64 connections, one load per round."""
        with self.server_up(log, work) as (running, bodies):
            for _ in range(self.options.rounds):
                _, cpu = load_cost(running, bodies, CONNECTIONS, self.options.seconds)
                figures.add(ANSWER, line, size, cpu)


def rows(benchmark: ScaleBenchmark, sizes: Sequence[int]) -> Figures:
    """Rows in the log before a window of fixed size: a run and an answer."""
    figures = Figures("rows in the log")
    work, template = benchmark.flights()
    for store in STORES:
        log, earlier = benchmark.log(work, template, WINDOW_ROWS, store=store), 0
        for size in sizes:
            benchmark.bar.describe(f"{store}, {size:,} rows in the log")
            free = shutil.disk_usage(benchmark.folder).free
            if (size - earlier) * SPACE_OF_ROW > free:
                benchmark.output.print(f"{size:,} rows were left out: the disk has {free / 1e9:.0f} GB left.")
                benchmark.bar.advance()
                continue
            start = NOW - timedelta(hours=1) - HISTORY
            span = (start + HISTORY * (earlier / sizes[-1]), start + HISTORY * (size / sizes[-1]))
            replace_window(log, template, size - earlier, span)
            earlier = size
            benchmark.note_run(figures, store, size, log)
            benchmark.note_answers(figures, store, size, log, work)
            benchmark.bar.advance()
        _remove(log)
    return figures


def window(benchmark: ScaleBenchmark, sizes: Sequence[int]) -> Figures:
    """Rows of a window, all of which one run reads."""
    figures = Figures("rows of a window")
    work, template = benchmark.flights()
    for store in STORES:
        for size in sizes:
            benchmark.bar.describe(f"{store}, a window of {size:,} rows")
            log = benchmark.log(work, template, size, store=store)
            benchmark.note_run(figures, store, size, log)
            _remove(log)
            benchmark.bar.advance()
    return figures


def features(benchmark: ScaleBenchmark, sizes: Sequence[int]) -> Figures:
    """Features of a row: those of the flights, and shuffled copies of them."""
    figures = Figures("features")
    for size in sizes:
        benchmark.bar.describe(f"{size:,} features")
        table = workload.widen(workload.flights(), size)
        work = workload.make(table, benchmark.folder / f"features-{size}", sample_rows=WIDE_SAMPLE)
        log = benchmark.log(work, benchmark.template(work), WIDE_WINDOW)
        line = f"{WIDE_WINDOW:,} rows"
        benchmark.note_run(figures, line, size, log)
        for _ in range(benchmark.options.rounds):
            figures.add(DECISION, line, size, decision_milliseconds(log))
        benchmark.note_answers(figures, "64 connections", size, log, work)
        _remove(log)
        benchmark.bar.advance()
    return figures


def categories(benchmark: ScaleBenchmark, sizes: Sequence[int]) -> Figures:
    """Categories of one feature beside those of the flights, each equally frequent."""
    figures = Figures("categories of a feature")
    for size in sizes:
        benchmark.bar.describe(f"{size:,} categories")
        table, draw = workload.flights(), np.random.default_rng(data.SEED)
        table.insert(0, CATEGORY, [f"k{code}" for code in draw.integers(0, size, len(table)).tolist()])
        work = workload.make(data.with_objects(table), benchmark.folder / f"categories-{size}")
        template = with_categories(benchmark.template(work), size, WINDOW_ROWS)
        log = benchmark.log(work, template, WINDOW_ROWS)
        benchmark.note_run(figures, f"{WINDOW_ROWS:,} rows", size, log)
        _remove(log)
        benchmark.bar.advance()
    return figures


def with_categories(template: Sequence[LogRow], count: int, rows: int) -> list[LogRow]:
    """Log rows with other values of the feature `key`, drawn from so many."""
    draw = random.Random(count)  # noqa: S311 - made-up traffic
    at = next(i for i, value in enumerate(template[0]) if isinstance(value, str) and value.startswith("{"))
    documents = [json.loads(row[at]) for row in template]
    drawn_rows = []
    for number in range(rows):
        row, document = template[number % len(template)], documents[number % len(template)]
        text = json.dumps({**document, CATEGORY: f"k{draw.randrange(count)}"}, sort_keys=True, separators=(",", ":"))
        drawn_rows.append((*row[:at], text, *row[at + 1 :]))
    return drawn_rows


def connections(benchmark: ScaleBenchmark, sizes: Sequence[int]) -> Figures:
    """Connections that are kept open, each with one request at a time."""
    figures = Figures("connections")
    work, template = benchmark.flights()
    for store in STORES:
        log = benchmark.log(work, template, 1, store=store)
        with benchmark.server_up(log, work) as (running, bodies):
            for size in sizes:
                benchmark.bar.describe(f"{store}, {size:,} connections")
                for _ in range(benchmark.options.rounds):
                    cpu_start = benchmark.server_cpu_seconds()
                    load, cpu = load_cost(running, bodies, size, benchmark.options.seconds)
                    figures.add(ANSWERS, store, size, load.per_second)
                    figures.add(ANSWER, store, size, cpu)
                    if store != STORES[0]:
                        server_cpu = benchmark.server_cpu_seconds() - cpu_start
                        count = load.per_second * benchmark.options.seconds
                        figures.add(ANSWER, "PostgreSQL's own", size, server_cpu * MEGA / count)
                    figures.add("99th percentile (ms)", store, size, load.p99_ms)
                benchmark.bar.advance()
        _remove(log)
    return figures


def workers(benchmark: ScaleBenchmark, sizes: Sequence[int]) -> Figures:
    """Worker processes of one `serve`."""
    figures = Figures("workers")
    work, template = benchmark.flights()
    for store in STORES:
        for size in sizes:
            benchmark.bar.describe(f"{store}, {size:,} workers")
            log = benchmark.log(work, template, 1, store=store)
            with benchmark.server_up(log, work, "--workers", f"{size}") as (running, bodies):
                for _ in range(benchmark.options.rounds):
                    load, cpu = load_cost(running, bodies, CONNECTIONS, benchmark.options.seconds)
                    figures.add(ANSWERS, store, size, load.per_second)
                    figures.add(ANSWER, store, size, cpu)
                    figures.add("memory (MB)", store, size, running.memory_bytes() / MEGA)
            _remove(log)
            benchmark.bar.advance()
    return figures


def versions(benchmark: ScaleBenchmark, sizes: Sequence[int]) -> Figures:
    """Model versions with a state and a row in the log, beside the one that is judged."""
    return _history(benchmark, sizes, "model versions", 1, add_versions, {DASHBOARD: _DASHBOARD})


def _history(
    benchmark: ScaleBenchmark,
    sizes: Sequence[int],
    what: str,
    first: int,
    add: Callable[[Log, int, int], None],
    pages: Mapping[str, str],
) -> Figures:
    """A run and some pages while a history of one judged version grows.

    Args:
        benchmark: the options and the progress.
        sizes: of the history, ascending.
        what: grows, for a person.
        first: size of the history that there is before.
        add: adds to a log from one size to another.
        pages: name of a figure -> the page whose CPU it is.
    """
    figures = Figures(what)
    work, template = benchmark.flights()
    for store in STORES:
        log = benchmark.log(work, template, WINDOW_ROWS, store=store)
        first_run(log)
        at, earlier = NOW, first
        for size in sizes:
            benchmark.bar.describe(f"{store}, {size:,} {what}")
            add(log, earlier, size)
            earlier = size
            for _ in range(benchmark.options.rounds):
                at += STEP
                figures.add(RUN, store, size, cpu_of(run_at(log, at)))
                for name, seconds in zip(pages, page_seconds(log, tuple(pages.values()), at), strict=True):
                    figures.add(name, store, size, seconds)
            benchmark.bar.advance()
        _remove(log)
    return figures


def add_versions(log: Log, first: int, end: int) -> None:
    """Versions of the numbers from `first` to before `end`: copies of the state and of one row of the log."""
    engine = database.connect(log.database)
    with database.writing(engine) as connection:
        for table in (system_state, prediction_logs):
            names = [column.name for column in table.columns if column.name != "id"]
            row = connection.execute(select(*(table.c[name] for name in names)).limit(1)).mappings().one()
            copies = [{**row, "model_version": f"v{number:06}"} for number in range(first, end)]
            if "prediction_id" in row:
                copies = [{**copy, "prediction_id": f"copy of {copy['model_version']}"} for copy in copies]
            if copies:
                connection.execute(insert(table), copies)
    engine.dispose()


def incident_count(benchmark: ScaleBenchmark, sizes: Sequence[int]) -> Figures:
    """Incidents, each with a run of its own, all ended."""
    pages = {DASHBOARD: _DASHBOARD, "CPU of /v1/incidents (s)": _INCIDENTS}
    return _history(benchmark, sizes, "incidents, and as many runs", 0, add_incidents, pages)


def add_incidents(log: Log, first: int, end: int) -> None:
    """Incidents of the numbers from `first` to before `end`, each an hour before the one before it, and a run each."""
    engine = database.connect(log.database)
    with database.writing(engine) as connection:
        names = [column.name for column in current_window_metrics.columns if column.name != "id"]
        query = select(*(current_window_metrics.c[name] for name in names)).limit(1)
        run = dict(connection.execute(query).mappings().one())
        runs, rows = [], []
        for number in range(first, end):
            age = timedelta(hours=number + 1)
            times = {name: run[name] - age for name in ("window_start", "window_end")}
            incident_id = f"incident-{number:08}"
            runs.append({**run, **times, "incident_id": incident_id})
            rows.append(
                {
                    "incident_id": incident_id,
                    "detected_at": times["window_end"],
                    "severity": "MODERATE",
                    "trigger_signals": ["missing_rate:dep_delay"],
                    "decision_reason": "Missing values of dep_delay rose from 0.9% to 8.4% (limit 5.9%).",
                    "fallback_activated": False,
                    "resolved": True,
                    "resolved_at": times["window_end"] + timedelta(minutes=30),
                    "resolution": "Three calm runs in a row.",
                    "model_version": run["model_version"],
                    "baseline_id": run["baseline_id"],
                }
            )
        if rows:
            connection.execute(insert(current_window_metrics), runs)
            connection.execute(insert(incidents), rows)
    engine.dispose()


def _remove(log: Log) -> None:
    """Delete a log's folder, and its tables where they are elsewhere."""
    if not log.database.startswith("sqlite"):
        engine = database.connect(log.database)
        with database.writing(engine) as connection:
            connection.exec_driver_sql("TRUNCATE prediction_logs")
        engine.dispose()
    shutil.rmtree(log.config.parent)


@dataclass(frozen=True, slots=True)
class PartOfScale:
    """A part of the benchmark.

    Attributes:
        measure: measures some sizes.
        quick: the sizes of the quick form, ascending.
        full: those of the full form.
        is_on_both_stores: whether each size is measured on both.
    """

    measure: Callable[[ScaleBenchmark, Sequence[int]], Figures]
    quick: tuple[int, ...]
    full: tuple[int, ...]
    is_on_both_stores: bool = True


PARTS: Mapping[str, PartOfScale] = {
    "rows": PartOfScale(rows, (10_000, 100_000, 1_000_000), (10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)),
    "window": PartOfScale(window, (1_000, 10_000, 100_000), (1_000, 10_000, 100_000, 1_000_000, 10_000_000)),
    "features": PartOfScale(features, (10, 30, 100), (10, 30, 100, 300, 1_000), is_on_both_stores=False),
    "categories": PartOfScale(categories, (10, 100, 1_000), (10, 100, 1_000, 10_000, 100_000), is_on_both_stores=False),
    "connections": PartOfScale(connections, (1, 8, 64, 256), (1, 4, 16, 64, 256, 1_000)),
    "workers": PartOfScale(workers, (1, 2), (1, 2, 4)),
    "versions": PartOfScale(versions, (1, 10, 100), (1, 10, 100, 1_000)),
    "incidents": PartOfScale(incident_count, (10, 100, 1_000), (10, 100, 1_000, 10_000)),
}
