"""Run it with `python -m benchmarks.monitoring` from the root of the repository; `--help` lists the options."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as every process here

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table
from tests import postgres
from tests.ports import free_port

import benchmarks.monitoring
from benchmarks import environments, spread
from benchmarks.console import Benchmark, Steps, console, machine, steps
from benchmarks.environments import NotInstalled
from benchmarks.log_rows import LogRow
from benchmarks.monitoring import costs, logs
from benchmarks.monitoring.costs import Cost, ProcessFailed
from benchmarks.monitoring.logs import NOW, Log
from benchmarks.serving import growth, workload
from benchmarks.serving.contenders import Ours, Place
from benchmarks.serving.workload import Workload
from benchmarks.spread import Spread

SMALL, LARGE, OLDER = 100_000, 1_000_000, 10_000_000
SCAN, PARSE = "reading the rows", "reading and parsing the rows"
FIRST, AGAIN = "Stillsafe, a first run", "Stillsafe, the run ten seconds later"
PEERS = {
    "Evidently, drift preset": ("evidently", "evidently_drift.py"),
    "NannyML, univariate drift": ("nannyml", "nannyml_drift.py"),
    "whylogs, profile": ("whylogs", "whylogs_profile.py"),
}
_SCRIPTS = Path(__file__).with_name("peers")
_STEP = timedelta(seconds=10)

Costs = dict[str, list[Cost]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitoringBenchmark(Benchmark):
    """A benchmark with a model and log rows.

    Attributes:
        work: the model, its service folder and its rows.
        template: log rows that the product wrote.
    """

    work: Workload
    template: Sequence[LogRow]

    def log(self, name: str, rows: int, older: int, bar: Steps, *, postgresql: bool = False) -> Log:
        """A log made for this run."""
        database = self.server.empty() if postgresql else None
        row_count = 0

        def report(more: int) -> None:
            nonlocal row_count
            row_count += more
            bar.describe(f"{name}, {row_count:,} of {rows + older:,} rows")

        log = logs.make(self.work, self.folder / name, database, self.template, rows, older, report)
        bar.advance()
        return log


def main() -> None:
    """Run the parts that the command line names."""
    options = _arguments()
    output = console()
    output.print(machine())
    results: dict[str, Any] = {"machine": machine()}
    with (
        tempfile.TemporaryDirectory(prefix="stillsafe-monitoring-") as name,
        postgres.running_postgres(fsync=True) as server,
    ):
        folder = Path(name)
        work = workload.make(workload.flights(), folder / "flights")
        place = Place(work, folder / "template", free_port(), server.empty)
        place.folder.mkdir()
        benchmark = MonitoringBenchmark(
            options=options,
            folder=folder,
            server=server,
            output=output,
            work=work,
            template=growth.template(Ours(), place),
        )
        for part in PARTS if options.command == "all" else [options.command]:
            try:
                results[part] = PARTS[part](benchmark)
            except ProcessFailed as error:  # what the other part found is worth keeping
                results[part] = {"failed": str(error)}
                output.print(f"[red]The part {part} could not be measured[/], {error}", highlight=False)
    benchmark.write(results)


def _arguments() -> argparse.Namespace:
    reader = argparse.ArgumentParser(prog="python -m benchmarks.monitoring", description=benchmarks.monitoring.__doc__)
    reader.add_argument("command", nargs="?", choices=["all", *PARTS], default="all")
    reader.add_argument("--rounds", type=int, default=5, help="interleaved rounds (%(default)s)")
    reader.add_argument("--rows", type=int, nargs="+", default=[SMALL, LARGE], help="of the windows (%(default)s)")
    reader.add_argument("--history", type=int, default=OLDER, help="older rows (%(default)s)")
    reader.add_argument("--only", default="", help="peers whose name holds this")
    reader.add_argument("--json", type=Path, help="write every figure here")
    reader.add_argument("--markdown", type=Path, help="write the tables here, as pages have them")
    return reader.parse_args()


def _windows(benchmark: MonitoringBenchmark) -> dict[str, Any]:
    """Windows of each size on SQLite, beside the peers; a table each."""
    results = {}
    for rows in benchmark.options.rows:
        with steps(benchmark.output, "Filling the log", 1) as bar:
            log = benchmark.log(f"window-{rows}", rows, 0, bar)
            bar.describe("the same rows for the peers")
            logs.in_memory(log, benchmark.work, benchmark.folder)
        costs_by_name, failures = _beside_peers(benchmark, log)
        benchmark.show(_table(f"A window of {rows:,} rows", costs_by_name, FIRST))
        for name, reason in failures.items():
            benchmark.output.print(f"[red]{name} could not be measured[/], {reason}", highlight=False)
        results[f"{rows}"] = {"costs": _plain(costs_by_name), "failed": failures}
    for name, (environment, _) in PEERS.items():
        benchmark.output.print(f"  {name}: {environments.versions(environment)}", markup=False, highlight=False)
    return results


def _beside_peers(benchmark: MonitoringBenchmark, log: Log) -> tuple[Costs, dict[str, str]]:
    """The costs of each monitor, one per round, and the reasons of failures."""
    peer_names = [name for name in PEERS if benchmark.options.only.lower() in name.lower()]
    works: dict[str, Callable[[], Cost]] = {
        SCAN: lambda: _ours("scan", log),
        PARSE: lambda: _ours("parse", log),
        FIRST: lambda: _first(log),
        AGAIN: lambda: _ours("run", log, 1),
        **{name: partial(_peer, benchmark, name, log.rows) for name in peer_names},
    }
    costs_by_name: Costs = {name: [] for name in works}
    failures: dict[str, str] = {}
    with steps(benchmark.output, f"{log.rows:,} rows", benchmark.options.rounds * len(works)) as bar:
        for _ in range(benchmark.options.rounds):
            for name, work in works.items():
                bar.describe(name)
                try:
                    if name not in failures:
                        costs_by_name[name].append(work())
                except (ProcessFailed, NotInstalled) as error:
                    failures[name] = f"{type(error).__name__}: {error}"
                bar.advance()
    return {name: rounds for name, rounds in costs_by_name.items() if name not in failures}, failures


def _first(log: Log) -> Cost:
    """A run that nothing has been done for before."""
    log.forget_runs()
    return _ours("run", log)


def _ours(work: str, log: Log, later: int = 0) -> Cost:
    """One of ours, so many steps after the window's last row."""
    at = NOW + _STEP * later
    command = [sys.executable, "-m", "benchmarks.monitoring.work", work, str(log.config), at.isoformat()]
    return costs.of(command, log.environment)


def _peer(benchmark: MonitoringBenchmark, name: str, rows: int) -> Cost:
    environment, script = PEERS[name]
    python = str(environments.python(environment))
    return costs.of([python, "-W", "ignore", str(_SCRIPTS / script), str(benchmark.folder), str(rows)], {})


def _history(benchmark: MonitoringBenchmark) -> dict[str, Any]:
    """The smallest window with older rows before it and without, on both stores; the table."""
    rows, older = min(benchmark.options.rows), benchmark.options.history
    service_logs: dict[tuple[str, int], Log] = {}
    with steps(benchmark.output, "Filling logs", 4) as bar:
        for store in ("SQLite", "PostgreSQL"):
            for older_rows in (0, older):
                name = f"{store}-{older_rows}"
                service_logs[store, older_rows] = benchmark.log(
                    name, rows, older_rows, bar, postgresql=store == "PostgreSQL"
                )
    costs_by_name: Costs = {_line(*key): [] for key in service_logs}
    with steps(benchmark.output, "Runs", benchmark.options.rounds * len(service_logs)) as bar:
        for _ in range(benchmark.options.rounds):
            for key, log in service_logs.items():
                bar.describe(_line(*key))
                costs_by_name[_line(*key)].append(_first(log))
                bar.advance()
    for store in ("SQLite", "PostgreSQL"):
        lines = {_line(store, older_rows): costs_by_name[_line(store, older_rows)] for older_rows in (0, older)}
        benchmark.show(_table(f"A window of {rows:,} rows on {store}", lines, _line(store, 0)))
    return _plain(costs_by_name)


def _line(store: str, older: int) -> str:
    return f"{store}, {older:,} older rows"


def _table(title: str, costs_by_name: Mapping[str, Sequence[Cost]], reference: str) -> Table:
    """Seconds, peak memory, and so many times the reference's seconds of the same round."""
    table = Table(title=title)
    table.add_column("")
    for heading in ("seconds", f"against {reference}", "with its process (s)", "peak memory (MB)"):
        table.add_column(heading, justify="right")
    for name, rounds in costs_by_name.items():
        seconds = [cost.seconds for cost in rounds]
        ratios = (
            spread.ratio(seconds, [cost.seconds for cost in costs_by_name[reference]])
            if reference in costs_by_name
            else None
        )
        rest = ([cost.process_seconds for cost in rounds], [cost.peak_bytes / 1e6 for cost in rounds])
        spreads = (Spread.of(seconds), ratios, *(Spread.of(values) for values in rest))
        table.add_row(name, *(spread.text(each) for each in spreads))
    return table


def _plain(costs_by_name: Costs) -> dict[str, Any]:
    return {name: [asdict(cost) for cost in rounds] for name, rounds in costs_by_name.items()}


PARTS = {"windows": _windows, "history": _history}

if __name__ == "__main__":
    main()
