"""Run it with `python -m benchmarks.scale` from the root of the repository; `--help` lists the options."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # as every process here

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests import postgres

import benchmarks.scale
from benchmarks.console import console, machine, markdown, steps
from benchmarks.monitoring.costs import ProcessFailed
from benchmarks.scale import curves, pictures
from benchmarks.scale.curves import Part
from benchmarks.scale.parts import PARTS, STORES, Models, ScaleBenchmark
from benchmarks.servers import NotStarted
from benchmarks.serving.load import LoadFailed

RESULTS = Path(__file__).with_name("results.json")
"""The figures that the picture and the page show, by part."""
PICTURE = Path(__file__).parents[2] / "docs" / "growth.svg"
PAGE = PICTURE.with_name("speed.md")
MARK, END_MARK = "<!-- growth -->", "<!-- end of growth -->"
DRAW = "draw"


def main() -> None:
    """Measure the parts that the command line names, or draw what was recorded."""
    options = _arguments()
    if options.parts == [DRAW]:
        draw()
        return
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed and missing; install it with: scripts/ensure-debian-packages wrk")
    output, models = console(), Models()
    output.print(machine())
    with (
        tempfile.TemporaryDirectory(prefix="stillsafe-scale-") as folder,
        postgres.running_postgres(fsync=True) as server,
    ):
        for name in options.parts or PARTS:
            sizes = sizes_of(name, options)
            count = len(sizes) * (len(STORES) if PARTS[name].is_on_both_stores else 1)
            with steps(output, name, count) as bar:
                benchmark = ScaleBenchmark(
                    options=options, folder=Path(folder), server=server, output=output, bar=bar, models=models
                )
                try:
                    part = measure(benchmark, name, sizes)
                except (NotStarted, LoadFailed, ProcessFailed) as error:  # the other parts are worth measuring
                    output.print(f"[red]{name} could not be measured[/], {error}", highlight=False)
                    continue
            output.print(curves.table(part))
            if options.record:
                record(part)


def _arguments() -> argparse.Namespace:
    reader = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=benchmarks.scale.__doc__)
    reader.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}, by default all; or {DRAW}")
    reader.add_argument("--quick", action="store_true", help="smaller sizes and two rounds: some minutes")
    reader.add_argument("--sizes", type=int, nargs="+", help="of the one part, ascending")
    reader.add_argument("--rounds", type=int, help="of each size (2 in the quick form, else 3)")
    reader.add_argument("--seconds", type=int, help="of each load (1 in the quick form, else 3)")
    reader.add_argument("--record", action="store_true", help=f"keep the figures in {RESULTS.name}, and draw them")
    options = reader.parse_args()
    if unknown := {*options.parts} - {*PARTS, DRAW}:
        reader.error(f"there is no part {', '.join(sorted(unknown))}")
    if DRAW in options.parts and len(options.parts) > 1:
        reader.error(f"{DRAW} measures nothing, so it goes with no part")
    if options.sizes and (len(options.parts) != 1 or options.parts == [DRAW]):
        reader.error("--sizes belongs to one part")
    options.rounds = options.rounds or (2 if options.quick else 3)
    options.seconds = options.seconds or (1 if options.quick else 3)
    return options


def sizes_of(name: str, options: argparse.Namespace) -> Sequence[int]:
    """The sizes of a part, ascending."""
    sizes: Sequence[int] = options.sizes or (PARTS[name].quick if options.quick else PARTS[name].full)
    return sizes


def measure(benchmark: ScaleBenchmark, name: str, sizes: Sequence[int]) -> Part:
    """The curves of one part."""
    about, at = machine(), datetime.now(UTC)
    figures = PARTS[name].measure(benchmark, sizes)
    return Part(name, _command(name, benchmark.options), f"{at:%Y-%m-%d}", about, figures.curves())


def record(part: Part) -> None:
    """Keep the figures of a part, and draw the picture anew."""
    parts = curves.read(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    RESULTS.write_text(curves.document(curves.with_part(parts, part)), encoding="utf-8")
    draw()


def _command(name: str, options: argparse.Namespace) -> str:
    """What measures the same again."""
    words = ["python -m benchmarks.scale", name, *(["--quick"] if options.quick else [])]
    if options.sizes:
        words += ["--sizes", *map(str, options.sizes)]
    return " ".join([*words, "--rounds", str(options.rounds), "--seconds", str(options.seconds)])


def draw() -> None:
    """Draw the picture of the recorded figures, and write their tables into the page."""
    parts = recorded_parts()
    PICTURE.write_text(pictures.picture(parts), encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), parts), encoding="utf-8")


def recorded_parts() -> list[Part]:
    """The parts of the results file, in the order of the benchmark."""
    parts = curves.read(RESULTS.read_text(encoding="utf-8"))
    return sorted(parts, key=lambda part: [*PARTS].index(part.name))


def page(text: str, parts: Sequence[Part]) -> str:
    """The page with the tables of some parts between its two marks."""
    head, mark, rest = text.partition(MARK)
    _, end_mark, tail = rest.partition(END_MARK)
    return "\n".join([head + mark, "", *(section(part) for part in parts), end_mark + tail])


def section(part: Part) -> str:
    """The command and the table of a part, as the page has them."""
    return f"`{part.command}`, {part.at}, {part.machine}\n\n{markdown(curves.table(part))}"


if __name__ == "__main__":
    main()
