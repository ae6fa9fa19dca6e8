"""Run it with `python -m benchmarks.monitoring` from the root of the repository; `--help` tells the rest."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as every process here

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tests import postgres
from tests.ports import free_port
from tests.postgres import Postgres

import benchmarks.monitoring
from benchmarks import environments, spread
from benchmarks.console import Steps, console, machine, markdown, steps
from benchmarks.environments import NotInstalled
from benchmarks.logged import Stored
from benchmarks.monitoring import costs, logs
from benchmarks.monitoring.costs import Cost, Failed
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


@dataclass(frozen=True, slots=True)
class Bench:
    """What both parts need.

    Attributes:
        asked: the command line.
        folder: for everything that is made; gone at the end.
        server: PostgreSQL, commits reaching the disk.
        work: the model, its service folder and its rows.
        template: log rows that the product wrote.
        shown: where progress and tables go.
        tables: that were shown.
    """

    asked: argparse.Namespace
    folder: Path
    server: Postgres
    work: Workload
    template: Sequence[Stored]
    shown: Console
    tables: list[Table] = field(default_factory=list)

    def show(self, table: Table) -> None:
        """Print it, and keep it for `--markdown`."""
        self.shown.print(table)
        self.tables.append(table)

    def log(self, name: str, rows: int, older: int, bar: Steps, *, postgresql: bool = False) -> Log:
        """A log made for this run."""
        database = self.server.empty() if postgresql else None
        done = 0

        def tell(more: int) -> None:
            nonlocal done
            done += more
            bar.say(f"{name}, {done:,} of {rows + older:,} rows")

        made = logs.make(self.work, self.folder / name, database, self.template, rows, older, tell)
        bar.done()
        return made


def main() -> None:
    """What the command line says."""
    asked = _arguments()
    shown = console()
    shown.print(machine())
    told: dict[str, Any] = {"machine": machine()}
    with tempfile.TemporaryDirectory(prefix="stillsafe-monitoring-") as name, postgres.served(fsync=True) as server:
        folder = Path(name)
        work = workload.make(workload.flights(), folder / "flights")
        place = Place(work, folder / "template", free_port(), server.empty)
        place.folder.mkdir()
        bench = Bench(asked, folder, server, work, growth.template(Ours(), place), shown)
        for part in PARTS if asked.command == "all" else [asked.command]:
            try:
                told[part] = PARTS[part](bench)
            except Failed as error:  # what the other part found is worth keeping
                told[part] = {"failed": str(error)}
                shown.print(f"[red]The part {part} could not be measured[/], {error}", highlight=False)
    if asked.json:
        asked.json.write_text(json.dumps(told, indent=1), encoding="utf-8")
    if asked.markdown:
        asked.markdown.write_text("\n".join(markdown(table) for table in bench.tables), encoding="utf-8")


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


def _windows(bench: Bench) -> dict[str, Any]:
    """Windows of each size on SQLite, beside the peers; a table each."""
    told = {}
    for rows in bench.asked.rows:
        with steps(bench.shown, "Filling the log", 1) as bar:
            log = bench.log(f"window-{rows}", rows, 0, bar)
            bar.say("the same rows for the peers")
            logs.in_memory(log, bench.work, bench.folder)
        found, failed = _beside_peers(bench, log)
        bench.show(_table(f"A window of {rows:,} rows", found, FIRST))
        for name, reason in failed.items():
            bench.shown.print(f"[red]{name} could not be measured[/], {reason}", highlight=False)
        told[f"{rows}"] = {"costs": _plain(found), "failed": failed}
    for name, (environment, _) in PEERS.items():
        bench.shown.print(f"  {name}: {environments.versions(environment)}", markup=False, highlight=False)
    return told


def _beside_peers(bench: Bench, log: Log) -> tuple[Costs, dict[str, str]]:
    """Everybody's costs, one a round, and why some have none."""
    chosen = [name for name in PEERS if bench.asked.only.lower() in name.lower()]
    works: dict[str, Callable[[], Cost]] = {
        SCAN: lambda: _ours("scan", log),
        PARSE: lambda: _ours("parse", log),
        FIRST: lambda: _first(log),
        AGAIN: lambda: _ours("run", log, 1),
        **{name: partial(_peer, bench, name, log.rows) for name in chosen},
    }
    found: Costs = {name: [] for name in works}
    failed: dict[str, str] = {}
    with steps(bench.shown, f"{log.rows:,} rows", bench.asked.rounds * len(works)) as bar:
        for _ in range(bench.asked.rounds):
            for name, work in works.items():
                bar.say(name)
                try:
                    if name not in failed:
                        found[name].append(work())
                except (Failed, NotInstalled) as error:
                    failed[name] = f"{type(error).__name__}: {error}"
                bar.done()
    return {name: rounds for name, rounds in found.items() if name not in failed}, failed


def _first(log: Log) -> Cost:
    """A run that nothing has been done for before."""
    log.forget_runs()
    return _ours("run", log)


def _ours(work: str, log: Log, later: int = 0) -> Cost:
    """One of ours, so many steps after the window's last row."""
    at = NOW + _STEP * later
    command = [sys.executable, "-m", "benchmarks.monitoring.work", work, str(log.config), at.isoformat()]
    return costs.of(command, log.environment)


def _peer(bench: Bench, name: str, rows: int) -> Cost:
    environment, script = PEERS[name]
    python = str(environments.python(environment))
    return costs.of([python, "-W", "ignore", str(_SCRIPTS / script), str(bench.folder), str(rows)], {})


def _history(bench: Bench) -> dict[str, Any]:
    """The smallest window with older rows before it and without, on both stores; the table."""
    rows, older = min(bench.asked.rows), bench.asked.history
    made: dict[tuple[str, int], Log] = {}
    with steps(bench.shown, "Filling logs", 4) as bar:
        for store in ("SQLite", "PostgreSQL"):
            for before in (0, older):
                name = f"{store}-{before}"
                made[store, before] = bench.log(name, rows, before, bar, postgresql=store == "PostgreSQL")
    found: Costs = {_line(*key): [] for key in made}
    with steps(bench.shown, "Runs", bench.asked.rounds * len(made)) as bar:
        for _ in range(bench.asked.rounds):
            for key, log in made.items():
                bar.say(_line(*key))
                found[_line(*key)].append(_first(log))
                bar.done()
    for store in ("SQLite", "PostgreSQL"):
        lines = {_line(store, before): found[_line(store, before)] for before in (0, older)}
        bench.show(_table(f"A window of {rows:,} rows on {store}", lines, _line(store, 0)))
    return _plain(found)


def _line(store: str, older: int) -> str:
    return f"{store}, {older:,} older rows"


def _table(title: str, found: Mapping[str, Sequence[Cost]], reference: str) -> Table:
    """Seconds, peak memory, and so many times the reference's seconds of the same round."""
    table = Table(title=title)
    table.add_column("")
    for heading in ("seconds", f"against {reference}", "with its process (s)", "peak memory (MB)"):
        table.add_column(heading, justify="right")
    for name, rounds in found.items():
        seconds = [cost.seconds for cost in rounds]
        ratios = spread.ratio(seconds, [cost.seconds for cost in found[reference]]) if reference in found else None
        rest = ([cost.process_seconds for cost in rounds], [cost.peak_bytes / 1e6 for cost in rounds])
        spreads = (Spread.of(seconds), ratios, *(Spread.of(values) for values in rest))
        table.add_row(name, *(spread.text(each) for each in spreads))
    return table


def _plain(found: Costs) -> dict[str, Any]:
    return {name: [asdict(cost) for cost in rounds] for name, rounds in found.items()}


PARTS = {"windows": _windows, "history": _history}

if __name__ == "__main__":
    main()
