"""What other work beside them, and ids, cost the requests.

    python -m benchmarks.serving.beside labels [--rows N] [--labels N]
    python -m benchmarks.serving.beside runs [--rows N] [--rounds N]
    python -m benchmarks.serving.beside ids [--rounds N]

`labels` fills a log on SQLite, adds labels to it while wrk sends requests, and prints the seconds and the latency with
and without. `runs` does the same with runs of the monitor over so many rows. `ids` measures the throughput of requests
with and without an id, in turns.
"""

import argparse
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from tests.ports import free_port

from benchmarks.monitoring import logs
from benchmarks.scale import measurements
from benchmarks.serving import growth, load, visit, workload
from benchmarks.serving.contenders import Ours, Place
from benchmarks.serving.workload import Row, Workload, write_bodies
from stillsafe.settings import DATABASE_VARIABLE

CONNECTIONS, SLICE_SECONDS = 2, 5.0
IDS_A_ROUND = 60_000


def main() -> None:
    """Run the part that the command line names, and print its figures as JSON."""
    reader = argparse.ArgumentParser(prog="python -m benchmarks.serving.beside")
    reader.add_argument("command", choices=["labels", "runs", "ids"])
    reader.add_argument("--rows", type=int, help="of the log (5,000,000; of the window of a run 1,000,000)")
    reader.add_argument("--labels", type=int, default=1_000_000)
    reader.add_argument("--rounds", type=int, default=5)
    options = reader.parse_args()
    with tempfile.TemporaryDirectory(prefix="stillsafe-labels-") as folder:
        work = workload.make(workload.flights(), Path(folder))
        if options.command == "labels":
            figures = label_figures(work, Path(folder), options.rows or 5_000_000, options.labels)
        elif options.command == "runs":
            figures = run_figures(work, Path(folder), options.rows or 1_000_000, options.rounds)
        else:
            figures = id_figures(work, Path(folder), options.rounds)
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")


def label_figures(work: Workload, folder: Path, rows: int, labels: int) -> dict[str, Any]:
    """Seconds of `labels add`, and the latency of requests before and meanwhile."""
    template = growth.template(Ours(), _place(work, folder))
    log = growth.lengthen(Ours(), _place(work, folder), template, rows, lambda _text: None)
    file, bodies = folder / "labels.csv", folder / "bodies"
    _write_labels(Path(log.server.environment[DATABASE_VARIABLE].removeprefix("sqlite:///")), file, labels)
    write_bodies(bodies, [{"features": row} for row in work.rows])
    config = log.place.folder / "service" / "stillsafe.toml"
    command = [str(Path(sys.executable).with_name("stillsafe")), "labels", "add", str(file), "--config", str(config)]
    with visit.up(log.server, log.place):
        calm = [_slice(log.place.port, bodies) for _ in range(4)]
        began = time.perf_counter()
        with subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE) as process:  # noqa: S603 - our own
            busy = []
            while process.poll() is None:
                busy.append(_slice(log.place.port, bodies))
            seconds = time.perf_counter() - began
            output = json.loads(process.stdout.read() if process.stdout else "{}")
    return {
        "rows": rows,
        "labels": output.get("new_count"),
        "seconds": round(seconds, 1),
        "p99_ms_before": median(each.p99_ms for each in calm),
        "p99_ms_meanwhile": median(each.p99_ms for each in busy),
        "per_second_before": median(each.per_second for each in calm),
        "per_second_meanwhile": median(each.per_second for each in busy),
    }


def run_figures(work: Workload, folder: Path, rows: int, rounds: int) -> dict[str, Any]:
    """The latency of requests before a run of the monitor and during it, by rounds, and the seconds that runs take."""
    template = growth.template(Ours(), _place(work, folder))
    log = logs.make(work, Path(tempfile.mkdtemp(dir=folder)) / "service", None, template, rows, 0, lambda _rows: None)
    place, bodies = _place(work, folder), folder / "bodies"
    write_bodies(bodies, [{"features": row} for row in work.rows])
    calm, busy, seconds = [], [], []
    with visit.up(measurements.server_of(log, place.port), place), ThreadPoolExecutor(1) as thread:
        _slice(place.port, bodies)
        for _ in range(rounds):
            calm.append(_slice(place.port, bodies))
            run = thread.submit(measurements.first_run, log)
            slices = []
            while not run.done():
                slices.append(load.run(place.port, "/v1/predict", bodies, connections=CONNECTIONS, seconds=1))
            loads = slices[:-1] or slices  # the last one outlasted the run
            busy.append(sorted(loads, key=lambda each: each.p99_ms)[len(loads) // 2])
            seconds.append(run.result().seconds)
    ratios = [each.p99_ms / calm_load.p99_ms for calm_load, each in zip(calm, busy, strict=True)]
    return {
        "rows": rows,
        "seconds_of_a_run": median(seconds),
        "p99_ms_before": median(each.p99_ms for each in calm),
        "p99_ms_meanwhile": median(each.p99_ms for each in busy),
        "ratio": median(ratios),
        "ratios": ratios,
        "per_second_before": median(each.per_second for each in calm),
        "per_second_meanwhile": median(each.per_second for each in busy),
    }


def id_figures(work: Workload, folder: Path, rounds: int) -> dict[str, Any]:
    """Requests per second with and without ids, one round of each in turns, on one server."""
    place = _place(work, folder)
    server, ratios, figures = Ours().prepare(place), [], []
    cpu: dict[bool, list[float]] = {True: [], False: []}
    with visit.up(server, place) as running:
        for number in range(rounds + 1):  # the first one warms up
            per_second = {}
            for has_ids in (False, True) if number % 2 else (True, False):
                bodies = folder / "bodies"
                write_bodies(bodies, [_body(work.rows, number, index, has_ids) for index in range(IDS_A_ROUND)])
                began = _cpu_seconds(running.process.pid)
                result = load.run(place.port, "/v1/predict", bodies, connections=64, seconds=5)
                per_second[has_ids] = result.per_second
                cpu[has_ids].append((_cpu_seconds(running.process.pid) - began) / (result.per_second * 5) * 1e6)
            if number:
                ratios.append(per_second[True] / per_second[False])
                figures.append({"without": per_second[False], "with": per_second[True]})
    microseconds = {"with" if has_ids else "without": median(each[1:]) for has_ids, each in cpu.items()}
    return {"ratio": median(ratios), "ratios": ratios, "rounds": figures, "cpu_microseconds_a_request": microseconds}


def _cpu_seconds(process_id: int) -> float:
    """What a process has used of the processors, which other load on the machine hardly changes."""
    fields = (Path("/proc") / str(process_id) / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _place(work: Workload, folder: Path) -> Place:
    return Place(work, Path(tempfile.mkdtemp(dir=folder)), free_port(), lambda: "")


def _body(rows: tuple[Row, ...], number: int, index: int, has_ids: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"features": rows[index % len(rows)]}
    return {"id": f"order-{number:03}-{index:06}", **body} if has_ids else body


def _slice(port: int, bodies: Path) -> load.Load:
    return load.run(port, "/v1/predict", bodies, connections=CONNECTIONS, seconds=SLICE_SECONDS)


def _write_labels(database: Path, file: Path, count: int) -> None:
    """Labels of predictions drawn at random, in no order, about a tenth of them wrong."""
    connection, draw = sqlite3.connect(database), random.Random(1)  # noqa: S311 - made-up labels
    try:
        pairs = connection.execute("SELECT prediction_id, prediction FROM prediction_logs").fetchall()
    finally:
        connection.close()
    classes = sorted({prediction for _, prediction in pairs})
    with file.open("w", encoding="utf-8") as handle:
        handle.write("prediction_id,label\n")
        for prediction_id, prediction in draw.sample(pairs, count):
            label = draw.choice(classes) if draw.random() < 0.1 else prediction
            handle.write(f"{prediction_id},{label}\n")


if __name__ == "__main__":
    main()
