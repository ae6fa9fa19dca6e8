"""Run it with `python -m benchmarks.serving` from the root of the repository; `--help` tells the rest."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as every server here

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tests import postgres
from tests.ports import free_port
from tests.postgres import Postgres

from benchmarks import spread
from benchmarks.console import Steps, console, machine, markdown, steps
from benchmarks.environments import NotInstalled
from benchmarks.servers import NotStarted
from benchmarks.serving import growth, results, visit, workload
from benchmarks.serving.contenders import CONTENDERS, REFERENCE, Contender, Ours, Place
from benchmarks.serving.load import Load, LoadFailed
from benchmarks.serving.visit import Disagrees, Visit
from benchmarks.serving.workload import Workload

WIDTHS, WIDE_SAMPLE = (10, 50, 200), 3_000
CANNOT = (NotInstalled, NotStarted, Disagrees, LoadFailed)
STORES = {"Stillsafe, SQLite": Ours(), "Stillsafe, PostgreSQL": Ours(postgresql=True)}


@dataclass(frozen=True, slots=True)
class Bench:
    """What all parts need.

    Attributes:
        asked: the command line.
        folder: for everything that is made; gone at the end.
        server: PostgreSQL, commits reaching the disk.
        shown: where progress and tables go.
        tables: that were shown.
    """

    asked: argparse.Namespace
    folder: Path
    server: Postgres
    shown: Console
    tables: list[Table] = field(default_factory=list)

    def show(self, table: Table) -> None:
        """Print it, and keep it for `--markdown`."""
        self.shown.print(table)
        self.tables.append(table)

    def place(self, work: Workload) -> Place:
        """A place of its own for one start."""
        return Place(work, Path(tempfile.mkdtemp(dir=self.folder)), free_port(), self.server.empty)


def main() -> None:
    """What the command line says."""
    asked = _arguments()
    shown = console()
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed and missing; install it with: scripts/ensure-debian-packages wrk")
    shown.print(machine())
    told: dict[str, Any] = {"machine": machine()}
    with tempfile.TemporaryDirectory(prefix="stillsafe-serving-") as folder, postgres.served(fsync=True) as server:
        bench = Bench(asked, Path(folder), server, shown)
        for part in PARTS if asked.command == "all" else [asked.command]:
            try:
                told[part] = PARTS[part](bench)
            except CANNOT as error:  # what the other parts found is worth keeping
                told[part] = {"failed": f"{type(error).__name__}: {error}"}
                shown.print(f"[red]The part {part} could not be measured[/], {told[part]['failed']}", highlight=False)
    if asked.json:
        asked.json.write_text(json.dumps(told, indent=1), encoding="utf-8")
    if asked.markdown:
        asked.markdown.write_text("\n".join(markdown(table) for table in bench.tables), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    reader = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=visit.__doc__)
    reader.add_argument("command", nargs="?", choices=["all", *PARTS], default="all")
    reader.add_argument("--rounds", type=int, default=5, help="interleaved rounds (%(default)s)")
    reader.add_argument("--seconds", type=int, default=5, help="of each load (%(default)s)")
    reader.add_argument("--only", default="", help=f"contenders whose name holds this, and {REFERENCE}")
    reader.add_argument("--history", type=int, default=1_000_000, help="rows of the longest log (%(default)s)")
    reader.add_argument("--json", type=Path, help="write every figure here")
    reader.add_argument("--markdown", type=Path, help="write the tables here, as pages have them")
    return reader.parse_args()


def _servers(bench: Bench) -> dict[str, Any]:
    """Every contender, in turn, round by round; the tables."""
    work = workload.make(workload.flights(), bench.folder / "flights")
    chosen = [each for each in CONTENDERS if each.name == REFERENCE or bench.asked.only.lower() in each.name.lower()]
    visits: dict[str, list[Visit]] = {contender.name: [] for contender in chosen}
    failed: dict[str, str] = {}
    with steps(bench.shown, "Servers", bench.asked.rounds * len(chosen)) as bar:
        for number in range(bench.asked.rounds):
            for contender in chosen:
                if contender.name not in failed:
                    found = _visited(bench, contender, work, bar)
                    if isinstance(found, Visit):
                        visits[contender.name].append(found)
                    else:
                        failed[contender.name] = f"round {number + 1}: {found}"
                bar.done()
    _show(bench, chosen, {name: rounds for name, rounds in visits.items() if name not in failed}, failed)
    return {
        "versions": {contender.name: contender.about for contender in chosen},
        "visits": results.document(visits),
        "failed": failed,
    }


def _visited(bench: Bench, contender: Contender, work: Workload, bar: Steps) -> Visit | str:
    """What was found, or why nothing was."""
    place = bench.place(work)
    try:
        return visit.pay(contender, place, bench.asked.seconds, lambda what: bar.say(f"{contender.name}: {what}"))
    except CANNOT as error:
        return f"{type(error).__name__}: {error}"
    finally:
        shutil.rmtree(place.folder)


def _show(bench: Bench, chosen: Sequence[Contender], visits: results.Visits, failed: dict[str, str]) -> None:
    bench.show(results.absolute(visits))
    if REFERENCE in visits:
        bench.show(results.relative(visits))
    for contender in chosen:
        if contender.name in visits:
            difference = max(each.difference for each in visits[contender.name])
            agrees = f"same classes, probabilities within {spread.significant(difference, 2)}"
            bench.shown.print(f"  {contender.name}: {contender.about}; {agrees}", markup=False, highlight=False)
    for name, reason in failed.items():
        bench.shown.print(f"[red]{name} could not be measured[/], {reason}", highlight=False)


def _history(bench: Bench) -> dict[str, Any]:
    """Throughput on logs of growing length; the table."""
    work = workload.make(workload.flights(), bench.folder / "long")
    lengths = (0, bench.asked.history // 10, bench.asked.history)
    logs = {}
    with steps(bench.shown, "Filling logs", len(STORES) * len(lengths)) as bar:
        rows = growth.template(Ours(), bench.place(work))
        for name, ours in STORES.items():
            for count in lengths:
                logs[name, count] = growth.lengthened(ours, bench.place(work), rows, count, bar.say)
                bar.done()
    loads: dict[str, dict[str, list[Load]]] = {name: {f"{count:,}": [] for count in lengths} for name in STORES}
    with steps(bench.shown, "On long logs", bench.asked.rounds * len(logs)) as bar:
        for _ in range(bench.asked.rounds):
            for (name, count), log in logs.items():
                bar.say(f"{name}, {count:,} rows")
                loads[name][f"{count:,}"].append(growth.throughput(log, bench.asked.seconds))
                bar.done()
    bench.show(results.grown("With rows in the log already", "rows", loads, "0"))
    return _plain(loads)


def _features(bench: Bench) -> dict[str, Any]:
    """Throughput as rows get wider; the table."""
    flights = workload.flights()
    chosen = [each for each in CONTENDERS if each.name in (REFERENCE, *STORES)]
    works = {}
    with steps(bench.shown, "Making models", len(WIDTHS)) as bar:
        for width in WIDTHS:
            bar.say(f"{width} features")
            table = workload.widened(flights, width)
            works[width] = workload.make(table, bench.folder / f"wide-{width}", sampled=WIDE_SAMPLE)
            bar.done()
    loads: dict[str, dict[str, list[Load]]] = {
        contender.name: {str(width): [] for width in WIDTHS} for contender in chosen
    }
    with steps(bench.shown, "On wide rows", bench.asked.rounds * len(WIDTHS) * len(chosen)) as bar:
        for _ in range(bench.asked.rounds):
            for width, work in works.items():
                for contender in chosen:
                    bar.say(f"{contender.name}, {width} features")
                    loads[contender.name][str(width)].append(_load(bench, contender, work))
                    bar.done()
    bench.show(results.grown("With so many features", "features", loads, str(WIDTHS[0])))
    return _plain(loads)


def _load(bench: Bench, contender: Contender, work: Workload) -> Load:
    place = bench.place(work)
    server = replace(contender.prepare(place), many=None)  # a large batch of wide rows is too large a body
    with visit.up(server, place):
        visit.check(server, place.port, work)
        return visit.throughput(server, place, bench.asked.seconds)


def _plain(loads: dict[str, dict[str, list[Load]]]) -> dict[str, Any]:
    return {
        name: {size: [asdict(load) for load in rounds] for size, rounds in line.items()} for name, line in loads.items()
    }


PARTS = {"servers": _servers, "history": _history, "features": _features}

if __name__ == "__main__":
    main()
