"""Ways of being asked, each beside what it is measured by, in turn: `python -m benchmarks.serving.ways`.

A file and `Guard.predict` beside the bare pipeline in the same process, a batch request beside FastAPI's, a request of
the Open Inference Protocol beside one of `/v1/predict`, and a server that makes spans beside one that does not.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as every server here

import argparse
import shutil
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd
from rich.table import Table
from skops import io
from tests.ports import free_port

from benchmarks import spread
from benchmarks.console import console, machine
from benchmarks.detection.data import LABEL
from benchmarks.serving import load, workload
from benchmarks.serving.contenders import CONNECTIONS, CONTENDERS, REFERENCE, Ours, Place, Server
from benchmarks.serving.visit import WARM_SECONDS, up
from benchmarks.serving.workload import BATCH, Row, Workload, write_bodies
from benchmarks.spread import Spread
from stillsafe.guard import Guard
from stillsafe.score_file import ScoreJob, score_file

CALLS = 300
"""Calls of `Guard.predict` in a round."""
FILE, FRAME = "score FILE.parquet, against predict_proba of the frame", "score FILE.csv, against the same"
CALL = "Guard.predict, against predict_proba of one row"
BATCHES = "batches of 1,000 rows, against FastAPI + scikit-learn"
PROTOCOL_BATCHES = "the same by the Open Inference Protocol, against /v1/predict/batch"
PROTOCOL = "one row by the Open Inference Protocol, 64 connections, against /v1/predict"
SPANS_OFF = "OpenTelemetry not set up, against not asked for"
SPANS_ON = "OpenTelemetry with the batched exporter, against not set up"
PARTS = ("file", "call", "batch", "protocol", "spans")
_LAUNCH = Path(__file__).with_name("peers") / "spans_app.py"
Ratios = defaultdict[str, list[float]]


def main() -> None:
    """Measure the parts that the command line names, and print the ratios."""
    reader = argparse.ArgumentParser(prog="python -m benchmarks.serving.ways")
    reader.add_argument("parts", nargs="*", default=[], metavar="PART", help=f"of {', '.join(PARTS)} (all)")
    reader.add_argument("--rounds", type=int, default=3)
    reader.add_argument("--rows", type=int, default=100_000, help="of the file (%(default)s)")
    reader.add_argument("--seconds", type=float, default=2.0, help="of each load (%(default)s)")
    options = reader.parse_args()
    output, ratios = console(), defaultdict[str, list[float]](list)
    output.print(machine())
    with tempfile.TemporaryDirectory(prefix="stillsafe-ways-") as name:
        work = workload.make(workload.flights(), Path(name) / "flights")
        ways = {"file": _file, "call": _call, "batch": _batch, "protocol": _protocol, "spans": _spans}
        parts = [*(options.parts or PARTS)]
        if "spans" in parts and not _has_sdk():
            output.print("spans: left out; it needs `pip install opentelemetry-sdk`")
            parts.remove("spans")
        for part in parts:
            for number in range(options.rounds):
                folder = Path(tempfile.mkdtemp(dir=name))
                ways[part](work, folder, options, number, ratios)
                shutil.rmtree(folder)
                output.print(f"{part}: load {os.getloadavg()[0]:.1f}")
    table = Table(title="As many times as fast")
    for heading in ("", "median (lowest to highest round)"):
        table.add_column(heading)
    for way, values in ratios.items():
        table.add_row(way, spread.text(Spread.of(values)))
    output.print(table)


def _file(work: Workload, folder: Path, options: Any, _number: int, ratios: Ratios) -> None:
    rows = workload.flights().drop(columns=LABEL)
    frame = pd.concat([rows] * (options.rows // len(rows) + 1), ignore_index=True)[: options.rows]
    sources = {FILE: folder / "in.parquet", FRAME: folder / "in.csv"}
    frame.to_parquet(sources[FILE])
    frame.to_csv(sources[FRAME], index=False)
    pipeline = _pipeline(work)
    bare = _seconds(lambda: pipeline.predict_proba(frame))
    with Guard(_service(work, folder)) as guard:
        for way, source in sources.items():
            job = ScoreJob(source, folder / f"{source.name}.out.csv")
            ratios[way].append(bare / _seconds(lambda job=job: score_file(guard, job)))  # type: ignore[misc] # the job of this turn


def _call(work: Workload, folder: Path, _options: Any, number: int, ratios: Ratios) -> None:
    pipeline, rows = _pipeline(work), work.rows[:CALLS]
    frames = [pd.DataFrame([row]) for row in rows]
    with Guard(_service(work, folder)) as guard:
        calls: list[Callable[[], object]] = [
            lambda: [pipeline.predict_proba(frame) for frame in frames],
            lambda: [guard.predict(row) for row in rows],
        ]
        guard.predict(rows[0])
        seconds = {place: _seconds(calls[place]) for place in ((0, 1) if number % 2 else (1, 0))}
    ratios[CALL].append(seconds[0] / seconds[1])


def _batch(work: Workload, folder: Path, options: Any, number: int, ratios: Ratios) -> None:
    names = {each.name: each for each in CONTENDERS}
    ours = "Stillsafe, SQLite"
    speeds: dict[str, float] = {}
    for name in (ours, REFERENCE)[:: 1 if number % 2 else -1]:
        place = _place(work, folder / str(len(speeds)))
        server = names[name].prepare(place)
        with up(server, place):
            if server.many is None:
                raise ValueError(f"{name} has no endpoint for batches")
            parts = [work.rows[at : at + BATCH] for at in range(0, len(work.rows) - BATCH + 1, BATCH)]
            speeds[name] = _speed(place, server.many.path, map(server.many.body, parts), 1, options.seconds)
            if name == ours:
                bodies = [_tensors(part) for part in parts]
                protocol = _speed(place, _infer_path(), bodies, 1, options.seconds)
                ratios[PROTOCOL_BATCHES].append(protocol / speeds[name])
    ratios[BATCHES].append(speeds[ours] / speeds[REFERENCE])


def _protocol(work: Workload, folder: Path, options: Any, number: int, ratios: Ratios) -> None:
    place = _place(work, folder / "place")
    server = Ours().prepare(place)
    ways: dict[str, list[object]] = {server.one.path: [{"features": row} for row in work.rows]}
    ways[_infer_path()] = [_tensors([row]) for row in work.rows]
    speeds = {}
    with up(server, place):
        for path in [*ways][:: 1 if number % 2 else -1]:
            speeds[path] = _speed(place, path, ways[path], CONNECTIONS, options.seconds)
    ratios[PROTOCOL].append(speeds[_infer_path()] / speeds[server.one.path])


def _spans(work: Workload, folder: Path, options: Any, number: int, ratios: Ratios) -> None:
    """Servers that run at the same time and are loaded in turn."""
    places = {mode: _place(work, folder / mode) for mode in ("absent", "off", "on")}
    servers = {mode: _with_spans(Ours().prepare(place), mode) for mode, place in places.items()}
    speeds = {}
    with ExitStack() as stack:
        for mode, server in servers.items():
            stack.enter_context(up(server, places[mode]))
        for mode in [*servers][number % 3 :] + [*servers][: number % 3]:
            bodies = [{"features": row} for row in work.rows]
            speeds[mode] = _speed(places[mode], servers[mode].one.path, bodies, CONNECTIONS, options.seconds)
    ratios[SPANS_OFF].append(speeds["off"] / speeds["absent"])
    ratios[SPANS_ON].append(speeds["on"] / speeds["off"])


def _has_sdk() -> bool:
    """Whether spans can be made; the tests do not need that."""
    try:
        return find_spec("opentelemetry.sdk") is not None
    except ModuleNotFoundError:
        return False


def _with_spans(server: Server, mode: str) -> Server:
    """The server in a program that does not ask for OpenTelemetry, asks in vain, or has set it up."""
    return replace(server, command=(sys.executable, str(_LAUNCH), mode, *server.command[1:]))


def _speed(place: Place, path: str, bodies: Iterable[object], connections: int, seconds: float) -> float:
    """Requests a second, after a second to warm up."""
    file = place.folder / "bodies.jsonl"
    write_bodies(file, [*bodies])
    load.run(place.port, path, file, connections=connections, seconds=WARM_SECONDS)
    return load.run(place.port, path, file, connections=connections, seconds=seconds).per_second


def _infer_path() -> str:
    return "/v2/models/benchmark/infer"


def _tensors(rows: Sequence[Row]) -> object:
    inputs = [
        {
            "name": name,
            "shape": [len(rows), 1],
            "datatype": "BYTES" if any(isinstance(row[name], str) for row in rows) else "FP64",
            "data": [row[name] for row in rows],
        }
        for name in rows[0]
    ]
    return {"inputs": inputs}


def _place(work: Workload, folder: Path) -> Place:
    folder.mkdir(parents=True)
    return Place(work, folder, free_port(), lambda: "")


def _pipeline(work: Workload) -> Any:
    file = work.folder / "model.skops"
    return io.load(file, trusted=io.get_untrusted_types(file=file))


def _service(work: Workload, folder: Path) -> Path:
    """The settings of a copy of the service with an empty log."""
    Ours().prepare(_place(work, folder / "guard"))
    return folder / "guard" / "service" / "stillsafe.toml"


def _seconds(act: Callable[[], object]) -> float:
    begin = perf_counter()
    act()
    return perf_counter() - begin


if __name__ == "__main__":
    main()
