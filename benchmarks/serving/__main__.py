"""Run it with `python -m benchmarks.serving` from the root of the repository; `--help` lists the options."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as every server here

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tests import postgres
from tests.ports import free_port

from benchmarks import spread
from benchmarks.console import Benchmark, Steps, console, machine, steps
from benchmarks.detection.data import SEED
from benchmarks.environments import NotInstalled
from benchmarks.servers import NotStarted
from benchmarks.serving import growth, keys, results, visit, workload
from benchmarks.serving.contenders import CONTENDERS, REFERENCE, Contender, Ours, Place
from benchmarks.serving.load import Load, LoadFailed
from benchmarks.serving.visit import Disagrees, Visit
from benchmarks.serving.workload import Workload

WIDTHS, WIDE_SAMPLE = (10, 50, 200), 3_000
CANNOT = (NotInstalled, NotStarted, Disagrees, LoadFailed)
OWN_BOOSTER = "scikit-learn"
STORES = {"Stillsafe, SQLite": Ours(), "Stillsafe, PostgreSQL": Ours(postgresql=True)}


class ServingBenchmark(Benchmark):
    """A benchmark that starts servers."""

    __slots__ = ()

    def place(self, work: Workload) -> Place:
        """A place of its own for one start."""
        return Place(work, Path(tempfile.mkdtemp(dir=self.folder)), free_port(), self.server.empty)


def main() -> None:
    """Run the parts that the command line names."""
    options = _arguments()
    output = console()
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed and missing; install it with: scripts/ensure-debian-packages wrk")
    output.print(machine())
    results_by_part: dict[str, Any] = {"machine": machine()}
    with (
        tempfile.TemporaryDirectory(prefix="stillsafe-serving-") as folder,
        postgres.running_postgres(fsync=True) as server,
    ):
        benchmark = ServingBenchmark(options=options, folder=Path(folder), server=server, output=output)
        for part in PARTS if options.command == "all" else [options.command]:
            try:
                results_by_part[part] = PARTS[part](benchmark)
            except CANNOT as error:  # what the other parts found is worth keeping
                results_by_part[part] = {"failed": f"{type(error).__name__}: {error}"}
                output.print(
                    f"[red]The part {part} could not be measured[/], {results_by_part[part]['failed']}", highlight=False
                )
    benchmark.write(results_by_part)


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


def _servers(benchmark: ServingBenchmark) -> dict[str, Any]:
    """Every contender, in turn, round by round; the tables."""
    work = workload.make(workload.flights(), benchmark.folder / "flights")
    contenders = [
        each for each in CONTENDERS if each.name == REFERENCE or benchmark.options.only.lower() in each.name.lower()
    ]
    visits: dict[str, list[Visit]] = {contender.name: [] for contender in contenders}
    failures: dict[str, str] = {}
    with steps(benchmark.output, "Servers", benchmark.options.rounds * len(contenders)) as bar:
        for number in range(benchmark.options.rounds):
            for contender in contenders:
                if contender.name not in failures:
                    visit_or_reason = _visit(benchmark, contender, work, bar)
                    if isinstance(visit_or_reason, Visit):
                        visits[contender.name].append(visit_or_reason)
                    else:
                        failures[contender.name] = f"round {number + 1}: {visit_or_reason}"
                bar.advance()
    _show(benchmark, contenders, {name: rounds for name, rounds in visits.items() if name not in failures}, failures)
    return {
        "versions": {contender.name: contender.about for contender in contenders},
        "visits": results.document(visits),
        "failed": failures,
    }


def _visit(benchmark: ServingBenchmark, contender: Contender, work: Workload, bar: Steps) -> Visit | str:
    """What was found, or why nothing was."""
    place = benchmark.place(work)
    try:
        return visit.measure(
            contender, place, benchmark.options.seconds, lambda what: bar.describe(f"{contender.name}: {what}")
        )
    except CANNOT as error:
        return f"{type(error).__name__}: {error}"
    finally:
        shutil.rmtree(place.folder)


def _show(
    benchmark: ServingBenchmark, contenders: Sequence[Contender], visits: results.Visits, failures: dict[str, str]
) -> None:
    benchmark.show(results.absolute(visits))
    if REFERENCE in visits:
        benchmark.show(results.relative(visits))
    for contender in contenders:
        if contender.name in visits:
            difference = max(each.difference for each in visits[contender.name])
            agrees = f"same classes, probabilities within {spread.significant(difference, 2)}"
            benchmark.output.print(f"  {contender.name}: {contender.about}; {agrees}", markup=False, highlight=False)
    for name, reason in failures.items():
        benchmark.output.print(f"[red]{name} could not be measured[/], {reason}", highlight=False)


def _history(benchmark: ServingBenchmark) -> dict[str, Any]:
    """Throughput on logs of growing length; the table."""
    work = workload.make(workload.flights(), benchmark.folder / "long")
    lengths = (0, benchmark.options.history // 10, benchmark.options.history)
    logs = {}
    with steps(benchmark.output, "Filling logs", len(STORES) * len(lengths)) as bar:
        rows = growth.template(Ours(), benchmark.place(work))
        for name, ours in STORES.items():
            for count in lengths:
                logs[name, count] = growth.lengthen(ours, benchmark.place(work), rows, count, bar.describe)
                bar.advance()
    loads: dict[str, dict[str, list[Load]]] = {name: {f"{count:,}": [] for count in lengths} for name in STORES}
    with steps(benchmark.output, "On long logs", benchmark.options.rounds * len(logs)) as bar:
        for _ in range(benchmark.options.rounds):
            for (name, count), log in logs.items():
                bar.describe(f"{name}, {count:,} rows")
                loads[name][f"{count:,}"].append(growth.throughput(log, benchmark.options.seconds))
                bar.advance()
    benchmark.show(results.growth_table("With rows in the log already", "rows", loads, "0"))
    return _plain(loads)


def _features(benchmark: ServingBenchmark) -> dict[str, Any]:
    """Throughput as rows get wider; the table."""
    flights = workload.flights()
    contenders = [each for each in CONTENDERS if each.name in (REFERENCE, *STORES)]
    works = {}
    with steps(benchmark.output, "Making models", len(WIDTHS)) as bar:
        for width in WIDTHS:
            bar.describe(f"{width} features")
            table = workload.widen(flights, width)
            works[width] = workload.make(table, benchmark.folder / f"wide-{width}", sample_rows=WIDE_SAMPLE)
            bar.advance()
    loads: dict[str, dict[str, list[Load]]] = {
        contender.name: {str(width): [] for width in WIDTHS} for contender in contenders
    }
    with steps(benchmark.output, "On wide rows", benchmark.options.rounds * len(WIDTHS) * len(contenders)) as bar:
        for _ in range(benchmark.options.rounds):
            for width, work in works.items():
                for contender in contenders:
                    bar.describe(f"{contender.name}, {width} features")
                    loads[contender.name][str(width)].append(_load(benchmark, contender, work))
                    bar.advance()
    benchmark.show(results.growth_table("With so many features", "features", loads, str(WIDTHS[0])))
    return _plain(loads)


def _keys(benchmark: ServingBenchmark) -> dict[str, Any]:
    """Throughput with keys against without; the table."""
    work = workload.make(workload.flights(), benchmark.folder / "keyed")
    rounds, loads = benchmark.options.rounds, {}
    with steps(benchmark.output, "With keys", len(STORES)) as bar:
        for name, ours in STORES.items():
            loads[name] = keys.measure(
                ours,
                lambda: benchmark.place(work),
                rounds=rounds,
                seconds=benchmark.options.seconds,
                report=bar.describe,
            )
            bar.advance()
    benchmark.show(results.growth_table("With keys", "64 connections", loads, keys.OFF))
    return _plain(loads)


def _boosters(benchmark: ServingBenchmark) -> dict[str, Any]:
    """Throughput with LightGBM's booster behind the same columns, against scikit-learn's; the table."""
    from lightgbm import LGBMClassifier  # here, as the other parts do not need it

    booster = LGBMClassifier(n_estimators=80, random_state=SEED, n_jobs=1, verbose=-1)
    works = {
        name: workload.make(workload.flights(), benchmark.folder / f"booster-{name}", booster=each)
        for name, each in ((OWN_BOOSTER, None), ("LightGBM", booster))
    }
    contenders = [Contender(name, "one store", ours.prepare) for name, ours in STORES.items()]
    loads: dict[str, dict[str, list[Load]]] = {each.name: {name: [] for name in works} for each in contenders}
    with steps(benchmark.output, "Boosters", benchmark.options.rounds * len(works) * len(contenders)) as bar:
        for _ in range(benchmark.options.rounds):
            for name, work in works.items():
                for contender in contenders:
                    bar.describe(f"{contender.name}, {name}")
                    loads[contender.name][name].append(_load(benchmark, contender, work))
                    bar.advance()
    benchmark.show(results.growth_table("With the booster of", "64 connections", loads, OWN_BOOSTER))
    return _plain(loads)


def _load(benchmark: ServingBenchmark, contender: Contender, work: Workload) -> Load:
    place = benchmark.place(work)
    server = replace(contender.prepare(place), many=None)  # a large batch of wide rows is too large a body
    with visit.up(server, place):
        visit.check(server, place.port, work)
        return visit.throughput(server, place, benchmark.options.seconds)


def _plain(loads: dict[str, dict[str, list[Load]]]) -> dict[str, Any]:
    return {
        name: {size: [asdict(load) for load in rounds] for size, rounds in line.items()} for name, line in loads.items()
    }


PARTS = {"servers": _servers, "history": _history, "features": _features, "keys": _keys, "boosters": _boosters}

if __name__ == "__main__":
    main()
