"""Run it with `python -m benchmarks.detection` from the root of the repository; `--help` lists the options."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processes share the cores between them
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import multiprocessing
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.detection import data, peers, streams, trial
from benchmarks.detection.data import Half
from benchmarks.detection.life import command as life
from benchmarks.detection.measures import Figures, ScoredStream, figures
from benchmarks.detection.trial import QUICK_EVERY, STILLSAFE, WITHOUT_LABELS, CaseResult, Job


def main() -> None:
    """Run the parts that the command line names."""
    if sys.argv[1:2] == ["life"]:
        life.main(sys.argv[2:])
        return
    options = _arguments()
    console = Console(width=None if Console().is_terminal else 170)
    if options.command == "streams":
        _build(console)
        _count(console)
        return
    halves = [Half.DESIGN, Half.HOLDOUT] if options.half == "both" else [Half(options.half)]
    labels = options.command != "without-labels"
    if options.outside and labels:
        peers.install()
    began = time.perf_counter()
    if options.command == "peers":
        for half in halves:
            _ask_peers(half, options, console)
        return
    results = {half: _run_cases(half, options, labels, console) for half in halves}
    monitor_figures = {}
    for half, case_results in results.items():
        monitor_figures[half] = _lines(case_results)
        _show(console, half, monitor_figures[half], case_results)
    console.print(f"{time.perf_counter() - began:.0f} s.")
    if options.json:
        document = {half: _document(lines, results[half]) for half, lines in monitor_figures.items()}
        options.json.write_text(json.dumps(document, indent=1), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    life_options = (
        "`life` is the bench like life: --family, --half, --only, --quick, --peers, --verbose, --jobs, --json."
    )
    reader = argparse.ArgumentParser(
        prog="python -m benchmarks.detection", description=streams.__doc__, epilog=life_options
    )
    commands = ["all", "streams", "peers", "without-labels", "life"]
    reader.add_argument("command", nargs="?", choices=commands, default="all")
    reader.add_argument("--half", choices=["seen", "aside", "both"], default="both")
    reader.add_argument("--json", type=Path, help="write every figure here")
    reader.add_argument("--quick", action="store_true", help=f"every {QUICK_EVERY}th stream only")
    reader.add_argument("--only", default="", help="cases whose name holds this")
    reader.add_argument("--no-peers", dest="peers", action="store_false", help="Stillsafe alone")
    reader.add_argument("--no-outside", dest="outside", action="store_false", help="without ADWIN and NannyML")
    return reader.parse_args()


def _pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn"))


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    )


def _build(console: Console) -> None:
    """Make the streams that are not in the cache yet."""
    lacking = [plan for plan in streams.plans() if not (streams.folder(*plan) / "streams.json").exists()]
    if not lacking:
        return
    for dataset in {plan[0] for plan in lacking}:
        data.load(dataset)
    with _progress(console) as progress, _pool() as pool:
        bar = progress.add_task("Building streams", total=len(lacking))
        for future in as_completed([pool.submit(streams.build, *plan) for plan in lacking]):
            future.result()
            progress.advance(bar)


def _count(console: Console) -> None:
    """How many streams there are: by data set and family, and of the injected ones by kind."""
    by_set: dict[str, Counter[str]] = defaultdict(Counter)
    by_kind: dict[str, Counter[str]] = defaultdict(Counter)
    for case in streams.load(None):
        for one in case.streams:
            sort = f"{one.family}{', harmful' if one.harmful and one.family == 'injected' else ''}"
            by_set[f"{case.dataset} ({case.half})"][sort] += 1
            if one.family == "injected":
                by_kind[f"{one.kind}"][f"{one.half}, {'harmful' if one.harmful else 'harmless'}"] += 1
    for title, counts in (("data set", by_set), ("kind of failure", by_kind)):
        columns = sorted({column for count in counts.values() for column in count})
        table = Table(title, *columns)
        for name, count in counts.items():
            table.add_row(name, *(str(count[column] or "") for column in columns))
        table.add_row("all", *(str(sum(count[column] for count in counts.values())) for column in columns))
        console.print(table)


def _run_cases(half: Half, options: argparse.Namespace, labels: bool, console: Console) -> list[CaseResult]:
    """Every case of a half, on all cores."""
    _build(console)
    places = _places(options)
    case_results = []
    with _progress(console) as progress, _pool() as pool:
        bar = progress.add_task(f"The {half} half", total=len(places))
        waiting = [
            pool.submit(trial.run, Job(i, half, labels, options.peers and labels, options.outside, options.quick))
            for i in places
        ]
        for future in as_completed(waiting):
            case_results.append(future.result())
            progress.advance(bar)
    return sorted((result for result in case_results if result.scored_streams), key=lambda result: result.case)


def _ask_peers(half: Half, options: argparse.Namespace, console: Console) -> None:
    """Compute the peers' verdicts on every case, into the cache."""
    _build(console)
    places = _places(options)
    with _progress(console) as progress, _pool() as pool:
        bar = progress.add_task(f"The peers on the {half} half", total=len(places))
        for future in as_completed([pool.submit(trial.ask_peers, i, half, outside=options.outside) for i in places]):
            future.result()
            progress.advance(bar)


def _places(options: argparse.Namespace) -> list[int]:
    """The plans wanted, by their place."""
    names = [f"{dataset.name}-{family}-{split}" for dataset, family, split in streams.plans()]
    return [i for i, name in enumerate(names) if options.only in name]


def _lines(results: Sequence[CaseResult]) -> dict[str, Figures]:
    """Monitor -> figures, over all cases."""
    monitors = list(dict.fromkeys(name for one in results for name in one.scored_streams))
    order = [STILLSAFE, WITHOUT_LABELS, *(peer.value for peer in peers.Peer)]
    return {
        name: figures(scored_stream for one in results for scored_stream in one.scored_streams.get(name, []))
        for name in sorted(monitors, key=order.index)
    }


_ROWS = (
    ("harmful CRITICAL within 5 runs (mean over kinds)", "caught_rate", "%"),
    ("  all streams alike", "caught_pooled", "%"),
    ("  with those that the schema refused as missed", "caught_of_all", "%"),
    ("  caught, of", "caught_count", "n"),
    ("  harmful streams", "harmful_count", "n"),
    ("  of which permuted, stale, wrongly joined", "caught_relational", "%"),
    ("  of which genuine shifts", "caught_shift", "%"),
    ("harmful at WARNING or above", "warned_rate", "%"),
    ("harmful, but refused by the schema: left out", "refused_count", "n"),
    ("false CRITICAL per 1000 healthy runs", "false_critical", "n"),
    ("false WARNING per 1000 healthy runs", "false_warning", "n"),
    ("CRITICAL on harmless faults", "critical_harmless", "%"),
    ("CRITICAL on benign shifts", "critical_benign", "%"),
    ("CRITICAL on one-run bursts", "critical_burst", "%"),
    ("WARNING or above on harmless faults", "warned_harmless", "%"),
    ("WARNING or above on benign shifts", "warned_benign", "%"),
    ("natural: precision of CRITICAL", "precision", "%"),
    ("natural: recall of CRITICAL", "recall", "%"),
    ("natural without harm: runs CRITICAL", "tail_critical", "%"),
    ("natural without harm: runs at WARNING or above", "tail_warning", "%"),
    ("accuracy won in alarmed runs, injected (points)", "gain_injected", "±"),
    ("accuracy won in alarmed runs, natural (points)", "gain_natural", "±"),
    ("  per bypassed run, injected", "bypassed_injected", "±"),
    ("  per bypassed run, natural", "bypassed_natural", "±"),
    ("  bypassed runs, natural", "bypassed_count", "n"),
    ("error saved in alarmed runs, injected (% of usual)", "gain_injected_error", "±"),
    ("error saved in alarmed runs, natural (% of usual)", "gain_natural_error", "±"),
)


def _show(console: Console, half: Half, lines: dict[str, Figures], results: Sequence[CaseResult]) -> None:
    some = next(iter(lines.values()))
    table = Table(title=f"The {half} half", show_lines=False)
    table.add_column("")
    for name in lines:
        table.add_column(name, justify="right")
    for title, field, sort in _ROWS:
        table.add_row(title, *(_text(getattr(line, field), sort) for line in lines.values()))
    console.print(table)
    console.print(
        f"{some.healthy_runs} healthy runs; {some.natural_harmful} of {some.natural_runs} natural runs are harmful."
    )
    kinds = Table(title=f"Caught by kind of failure, the {half} half")
    kinds.add_column("")
    for name in lines:
        kinds.add_column(name, justify="right")
    for kind in sorted({kind for line in lines.values() for kind in line.by_kind}):
        kinds.add_row(kind, *(_text(line.by_kind.get(kind), "%") for line in lines.values()))
    console.print(kinds)
    for peer, description in peers.LEGEND.items():
        if peer.value in lines:
            console.print(f"  {peer.value}: {description}")
    for size, (bad, count) in _by_size(results).items():
        console.print(f"Runs of {size} rows: {bad} of {count} healthy runs have a bad reading ({bad / count:.1%}).")
    for failure in (one.failure for one in results if one.failure):
        console.print(f"[red]Stillsafe could not be tried:[/] {failure}")


def _text(value: float | None, sort: str) -> str:
    if value is None:
        return "–"
    return {"%": f"{value:.0%}", "n": f"{value:.1f}", "±": f"{value * 100:+.1f}"}[sort]


def _by_size(results: Sequence[CaseResult]) -> dict[int, tuple[int, int]]:
    sizes = sorted({size for one in results for size in one.by_size})
    return {size: _sum_pairs(one.by_size[size] for one in results if size in one.by_size) for size in sizes}


def _sum_pairs(pairs: Iterator[tuple[int, int]]) -> tuple[int, int]:
    counts = list(pairs)
    return sum(bad for bad, _ in counts), sum(count for _, count in counts)


def _document(lines: dict[str, Figures], results: Sequence[CaseResult]) -> dict[str, object]:
    """The result as JSON: the figures of each monitor, and each stream with its severities."""
    return {
        "figures": {name: asdict(line) for name, line in lines.items()},
        "bad_readings_by_rows": {str(size): pair for size, pair in _by_size(results).items()},
        "failures": [one.failure for one in results if one.failure],
        "streams": [
            {"case": one.case, "monitor": name, **_stream_document(scored_stream)}
            for one in results
            for name, scored_streams in one.scored_streams.items()
            for scored_stream in scored_streams
        ],
    }


def _stream_document(scored_stream: ScoredStream) -> dict[str, object]:
    stream = scored_stream.stream
    return {
        "family": stream.family,
        "kind": stream.kind,
        "name": stream.name,
        "harmful": stream.harmful,
        "harmless": stream.harmless,
        "first_bad": stream.first_bad,
        "losses": stream.losses,
        "gains": scored_stream.verdict.gains,
        "bypasses": scored_stream.verdict.bypasses,
        "severities": scored_stream.verdict.severities,
    }


if __name__ == "__main__":
    main()
