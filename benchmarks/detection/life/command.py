"""`python -m benchmarks.detection life`: the bench like life, all of it or a family."""

import argparse
import json
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.table import Table

from benchmarks.detection.data import Half
from benchmarks.detection.life import (
    judge,
    measures,
    rivals,
    streams_faults,
    streams_states,
    streams_time,
    streams_traffic,
)
from benchmarks.detection.life.cases import LifeCase, LifeStream, Plan, counted_harm, from_cache
from benchmarks.detection.life.judge import LifeVerdict
from benchmarks.detection.life.measures import Outcome

FAMILIES: dict[str, Callable[..., Iterator[Plan]]] = {
    family.__name__: family
    for family in (
        streams_time.clock, streams_time.days, streams_time.tails, streams_faults.injected,
        streams_faults.without_labels, streams_faults.joins, streams_faults.wide, streams_traffic.small,
        streams_traffic.categories, streams_traffic.rare, streams_traffic.thin, streams_states.outage,
        streams_states.slow, streams_states.limits,
    )
}  # fmt: skip
WIDTH = 160


@dataclass(frozen=True, slots=True)
class Job:
    """A case to judge: its family, its name, whether in the short form, and whether by the peers too."""

    family: str
    name: str
    quick: bool
    peers: bool


@dataclass(frozen=True, slots=True)
class JobResult:
    """What came of it; `failure` where Stillsafe could not be tried."""

    job: Job
    outcomes: tuple[Outcome, ...]
    seconds: float
    failure: str | None = None


def run(job: Job) -> JobResult:
    """Judge one case, in any process."""
    began = time.perf_counter()
    make = next(plan.make for plan in FAMILIES[job.family](quick=job.quick) if plan.name == job.name)
    key = f"{job.family}-{job.name}{'-quick' if job.quick else ''}"
    case = from_cache(key, FAMILIES[job.family].__code__.co_filename, make)
    with tempfile.TemporaryDirectory() as folder:
        try:
            verdicts = {measures.STILLSAFE: judge.judge_all(case, Path(folder))}
        except Exception:  # noqa: BLE001 - whatever fails is a failure of this case, and the others go on
            return JobResult(job, (), time.perf_counter() - began, traceback.format_exc(limit=-4))
    if job.peers:
        verdicts |= rivals.verdicts(case)
    outcomes = tuple(
        _outcome(case, stream, by_stream[stream.name], monitor)
        for monitor, by_stream in verdicts.items()
        for stream in case.streams
        if stream.name in by_stream
    )
    return JobResult(job, outcomes, time.perf_counter() - began)


def _outcome(case: LifeCase, stream: LifeStream, verdict: LifeVerdict, monitor: str) -> Outcome:
    without_rows = replace(stream, rows=stream.rows.iloc[:0])
    return Outcome(
        case.name, case.family, case.dataset, case.task, case.labels, without_rows, verdict, monitor
    )  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    """Run what the command line names."""
    options = _options(arguments)
    console = Console(width=WIDTH)
    families = options.family or list(FAMILIES)
    jobs = [
        (Job(family, plan.name, options.quick, options.peers), plan.half)
        for family in families
        for plan in FAMILIES[family](quick=options.quick)
        if options.only in f"{family}-{plan.name}"
    ]
    halves = [Half.DESIGN, Half.HOLDOUT] if options.half == "both" else [Half(options.half)]
    # Kinds of failure that are aside are judged with the aside half, on the sets of both.
    selection = [job for job, half in jobs if half in halves or Half.HOLDOUT in halves]
    results = list(_run(selection, options.jobs, console))
    outcomes = [o for r in results for o in r.outcomes]
    for half in halves:
        part = [o for o in outcomes if o.stream.half is half]
        if part:
            _show(console, half, part, verbose=options.verbose)
    for result in results:
        if result.failure:
            console.print(f"{result.job.family}-{result.job.name} could not be judged:\n{result.failure}", markup=False)
    if options.json:
        options.json.write_text(json.dumps(_document(halves, outcomes), indent=1), encoding="utf-8")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    reader = argparse.ArgumentParser(prog="python -m benchmarks.detection life", description=__doc__)
    reader.add_argument(
        "--family", action="append", choices=list(FAMILIES), help="may be given more than once; default all"
    )
    reader.add_argument("--quick", action="store_true", help="a few cases and streams of each family")
    reader.add_argument("--half", choices=["seen", "aside", "both"], default="seen")
    reader.add_argument("--only", default="", help="cases whose name (family-set-model) holds this")
    reader.add_argument("--jobs", type=int, default=1, help="processes")
    reader.add_argument("--peers", action="store_true", help="beside thresholds, PSI, K-S and the labels")
    reader.add_argument("--verbose", action="store_true", help="every stream, not only those that went wrong")
    reader.add_argument("--json", type=Path, help="write every figure here")
    return reader.parse_args(arguments)


def _run(jobs: Sequence[Job], processes: int, console: Console) -> Iterator[JobResult]:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if processes == 1:
        for job in jobs:
            yield _progress(run(job), console)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(run, job) for job in jobs]):
            yield _progress(future.result(), console)


def _progress(result: JobResult, console: Console) -> JobResult:
    name = f"{result.job.family}-{result.job.name}"
    console.print(f"  {name}: {len(result.outcomes)} streams, {result.seconds:.0f} s", style="dim", highlight=False)
    return result


def _show(console: Console, half: Half, outcomes: Sequence[Outcome], *, verbose: bool) -> None:
    monitors = list(dict.fromkeys(outcome.monitor for outcome in outcomes))
    by_monitor = {name: [outcome for outcome in outcomes if outcome.monitor == name] for name in monitors}
    tables = {name: {row.title: row for row in measures.rows(part)} for name, part in by_monitor.items()}
    table = Table(title=f"The bench like life, the {half} half")
    table.add_column("")
    for header in (*monitors, "of", "bar", "stretch"):
        table.add_column(header, justify="right")
    outcomes = by_monitor[measures.STILLSAFE]
    for title, row in tables[measures.STILLSAFE].items():
        cells = (tables[name][title].text if title in tables[name] else "–" for name in monitors)
        table.add_row(title, *cells, str(row.count), row.bar, row.stretch)
    console.print(table)
    by_kind = ", ".join(f"{kind} {a}/{b}" for kind, (a, b) in measures.kinds(outcomes).items())
    console.print(f"Caught by kind: {by_kind}", highlight=False)
    wrong = {id(outcome): word for word, outcome in measures.misses(outcomes)}
    for outcome in outcomes:
        if verbose or id(outcome) in wrong:
            line = f"{wrong.get(id(outcome), ''):>12} {_line(outcome)}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(
        "Harm in units of 5 points or 20% of the error. A letter a run: . calm, w WARNING, C CRITICAL, D bypassed."
    )
    console.print(measures.DEFINITIONS, style="dim")


def _line(outcome: Outcome) -> str:
    """One stream: the truth, the mean estimate, a letter a run, and the signals of the first alarm."""
    stream, verdict = outcome.stream, outcome.verdict
    bad = slice(stream.first_bad, stream.last_bad)
    estimates = [estimate for estimate in verdict.estimates[bad] if estimate is not None]
    mean = f"{fmean(estimates):.3f}" if estimates else "-"
    harm = counted_harm(stream.harms, (stream.first_bad, stream.last_bad))
    return (
        f"{outcome.case} | {stream.name[:70]} | harm {harm:.2f}, estimate {mean} | from {stream.first_bad}: "
        f"{verdict.letters} | {', '.join(verdict.alarms[:3])}"
    )


def _document(halves: Sequence[Half], outcomes: Sequence[Outcome]) -> dict[str, object]:
    """Half -> monitor -> the rows of its table, and each stream with its verdict."""
    document: dict[str, object] = {}
    for half in halves:
        monitors: dict[str, list[Outcome]] = {}
        for outcome in outcomes:
            if outcome.stream.half is half:
                monitors.setdefault(outcome.monitor, []).append(outcome)
        document[half] = {
            name: {"rows": [asdict(row) for row in measures.rows(part)], "streams": [_stream(one) for one in part]}
            for name, part in monitors.items()
        }
    return document


def _stream(outcome: Outcome) -> dict[str, object]:
    stream = outcome.stream
    return {
        "case": outcome.case,
        "name": stream.name,
        "sort": stream.sort,
        "kind": stream.kind,
        "harmful": stream.harmful,
        "first_bad": stream.first_bad,
        "harms": stream.harms,
        "letters": outcome.verdict.letters,
        **asdict(outcome.verdict),
    }
