"""The ratios that tell in two minutes whether a change made the product slower, and a file that keeps them by commit.

    python -m benchmarks.quick [--rounds N] [--record]

Each is taken round by round beside something that the change cannot touch. It has moved where no round of now lies
within the rounds of the last record.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as every process here

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table
from tests.ports import free_port

from benchmarks import spread
from benchmarks.console import Steps, console, machine, steps
from benchmarks.log_rows import LogRow
from benchmarks.monitoring import costs, logs
from benchmarks.monitoring.logs import NOW, Log
from benchmarks.serving import growth, visit, workload
from benchmarks.serving.contenders import CONTENDERS, REFERENCE, Contender, Ours, Place
from benchmarks.serving.workload import Workload
from benchmarks.spread import Spread

RECORDS = Path(__file__).with_name("records.jsonl")
"""A line per record, the newest last."""
OURS = "Stillsafe, SQLite"
SECONDS, WINDOW_ROWS = 2.0, 50_000
CONCURRENT, SINGLE, BATCH = "requests/s, 64 connections", "requests/s, 1 connection", "rows/s, batches of 1,000"
WINDOW, HELP = "a run over 50,000 rows", "`stillsafe --help`, CPU"
YARDSTICKS: Mapping[str, str] = {
    CONCURRENT: f"{REFERENCE}, which logs nothing",
    SINGLE: f"{REFERENCE}, which logs nothing",
    BATCH: f"{REFERENCE}, which logs nothing",
    WINDOW: "reading its rows",
    HELP: "importing typer and rich",
}
"""What each ratio is taken to."""
HIGHER_IS_BETTER = frozenset({CONCURRENT, SINGLE, BATCH})

Ratios = dict[str, Spread]


@dataclass(frozen=True, slots=True)
class Record:
    """The ratios of one commit.

    Attributes:
        commit: its abbreviated hash, with a plus sign where files were changed since.
        at: when they were measured, ISO 8601.
        machine: what they were measured on.
        ratios: name -> median, lowest and highest of the rounds.
    """

    commit: str
    at: str
    machine: str
    ratios: Ratios

    def line(self) -> str:
        """The record as a line of the file."""
        return json.dumps(asdict(self)) + "\n"


def read(text: str) -> list[Record]:
    """The records of a file's text, oldest first."""
    documents = [json.loads(line) for line in text.splitlines() if line]
    return [
        Record(**{**each, "ratios": {name: Spread(**spread) for name, spread in each["ratios"].items()}})
        for each in documents
    ]


def verdict(name: str, now: Spread, last: Spread | None) -> str:
    """What became of a ratio: `better`, `worse`, or nothing where the rounds overlap or there were none."""
    if last is None or (now.low <= last.high and last.low <= now.high):
        return ""
    return "better" if (now.median > last.median) is (name in HIGHER_IS_BETTER) else "worse"


def comparison(ratios: Ratios, last: Record | None) -> Table:
    """A line per ratio: what it is taken to, now, in the last record, and whether it moved."""
    table = Table(title="Now" if last is None else f"Now, and at {last.commit} ({last.at[:10]})")
    for heading in ("", "as so many times", "now", "last", ""):
        table.add_column(heading)
    for name, now in ratios.items():
        earlier = None if last is None else last.ratios.get(name)
        table.add_row(name, YARDSTICKS[name], spread.text(now), spread.text(earlier), verdict(name, now, earlier))
    return table


def main() -> None:
    """Measure, compare with the last record, and keep the figures where asked to; end with 1 where one got worse."""
    reader = argparse.ArgumentParser(prog="python -m benchmarks.quick")
    reader.add_argument("--rounds", type=int, default=3, help="interleaved rounds (%(default)s)")
    reader.add_argument("--record", action="store_true", help=f"add the figures to {RECORDS.name}")
    options = reader.parse_args()
    output, about = console(), machine()
    output.print(about)
    with tempfile.TemporaryDirectory(prefix="stillsafe-quick-") as name:
        folder = Path(name)
        with steps(output, "Making ready", 2) as bar:
            work = workload.make(workload.flights(), folder / "flights")
            bar.advance()
            log = _window(work, folder)
            bar.advance()
        with steps(output, "Rounds", options.rounds) as bar:
            ratios = measure(work, log, options.rounds, bar)
    records = read(RECORDS.read_text(encoding="utf-8")) if RECORDS.exists() else []
    last = records[-1] if records else None
    output.print(comparison(ratios, last))
    if options.record:
        record = Record(_commit(), datetime.now(UTC).isoformat(timespec="seconds"), about, ratios)
        with RECORDS.open("a", encoding="utf-8") as file:
            file.write(record.line())
    worse = [name for name, now in ratios.items() if last and verdict(name, now, last.ratios.get(name)) == "worse"]
    sys.exit(1 if worse else 0)


def measure(work: Workload, log: Log, rounds: int, bar: Steps) -> Ratios:
    """Every ratio over some rounds. Who is first changes with each round."""
    contenders = [each for each in CONTENDERS if each.name in (OURS, REFERENCE)]
    values: defaultdict[str, list[float]] = defaultdict(list)
    for number in range(rounds):
        speeds = {each.name: _speeds(each, work) for each in contenders[:: 1 if number % 2 else -1]}
        for name, speed in speeds[OURS].items():
            values[name].append(speed / speeds[REFERENCE][name])
        log.forget_runs()
        values[WINDOW].append(_work("run", log) / _work("scan", log))
        values[HELP].append(_cpu("-m", "stillsafe", "--help") / _cpu("-c", "import typer, rich.console"))
        bar.advance()
    return {name: Spread.of(each) for name, each in values.items()}


def _speeds(contender: Contender, work: Workload) -> dict[str, float]:
    """What a server answers a second."""
    with tempfile.TemporaryDirectory(dir=work.folder) as folder:
        place = Place(work, Path(folder), free_port(), lambda: "")
        figures = visit.measure(contender, place, SECONDS, lambda _step: None)
    if figures.rows_per_second is None:
        raise ValueError(f"{contender.name} has no endpoint for batches")
    return {
        CONCURRENT: figures.concurrent_load.per_second,
        SINGLE: figures.single_load.per_second,
        BATCH: figures.rows_per_second,
    }


def _window(work: Workload, folder: Path) -> Log:
    """A log whose rows are one window."""
    place = Place(work, folder / "template", free_port(), lambda: "")
    place.folder.mkdir()
    template: Sequence[LogRow] = growth.template(Ours(), place)
    return logs.make(work, folder / "log", None, template, WINDOW_ROWS, 0, lambda _rows: None)


def _work(part: str, log: Log) -> float:
    command = [sys.executable, "-m", "benchmarks.monitoring.work", part, str(log.config), NOW.isoformat()]
    return costs.of(command, log.environment).seconds


def _cpu(*words: str) -> float:
    """Seconds of CPU of a process of this Python."""
    begin = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], check=True, capture_output=True)  # noqa: S603 - this Python, our words
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    return end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime


def _commit() -> str:
    commands: tuple[list[Any], ...] = (["git", "rev-parse", "--short", "HEAD"], ["git", "status", "--porcelain"])
    head, changes = (
        subprocess.run(words, cwd=RECORDS.parent, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603 - git
        for words in commands
    )
    return head + ("+" if changes else "")


if __name__ == "__main__":
    main()
