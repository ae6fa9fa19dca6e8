"""Run it with `python -m benchmarks.estimate` from the root of the repository; `--help` lists the options."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the measurement shares the machine
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import subprocess
import time
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import environments
from benchmarks.detection import streams
from benchmarks.estimate.losses import ENVIRONMENT, Row, RunLosses, losses, rows_of
from stillsafe.errors import StillsafeError


def main() -> None:
    """Estimate the losses of the cases that the command line names, and print how far off they were."""
    options = _arguments()
    console, began = Console(width=None if Console().is_terminal else 130), time.perf_counter()
    environments.python(ENVIRONMENT)
    runs: list[RunLosses] = []
    half = None if options.half == "both" else options.half
    for case in streams.load(half, only=lambda name: options.only in name):
        part = replace(case, streams=case.streams[:: options.every])
        try:
            runs += losses(part)
        except (StillsafeError, subprocess.CalledProcessError) as error:
            console.print(f"{case.name} is left out: {error}")
        console.print(f"{case.name}: {len(runs)} runs, {time.perf_counter() - began:.0f} s")
    rows = rows_of(runs)
    console.print(_table(rows))
    console.print(f"NannyML: {environments.versions(ENVIRONMENT)}")
    if options.json:
        document = {"rows": [asdict(row) | {"ratio": row.ratio} for row in rows], "runs": [asdict(run) for run in runs]}
        options.json.write_text(json.dumps(document, indent=1), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    reader = argparse.ArgumentParser(prog="python -m benchmarks.estimate", description=streams.__doc__)
    reader.add_argument("--half", choices=["seen", "aside", "both"], default="both")
    reader.add_argument("--only", default="", help="cases whose name holds this")
    reader.add_argument("--every", type=int, default=1, help="every so manieth stream of a case")
    reader.add_argument("--json", type=Path, help="write every figure here")
    return reader.parse_args()


def _table(rows: list[Row]) -> Table:
    columns = ("runs of 500 rows", "runs", "Stillsafe", "NannyML", "ratio", "bias Stillsafe", "bias NannyML")
    table = Table(*columns, title="Median distance of the estimated from the realised loss, in points or percent")
    for row in rows:
        medians = f"{100 * row.own_median:.2f}", f"{100 * row.peer_median:.2f}"
        ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
        biases = f"{100 * row.own_bias:+.2f}", f"{100 * row.peer_bias:+.2f}"
        table.add_row(row.name, str(row.run_count), *medians, ratio, *biases)
    return table


if __name__ == "__main__":
    main()
