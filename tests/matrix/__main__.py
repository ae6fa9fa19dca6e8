"""Play every cell of the matrix and print the table.

python -m tests.matrix [--seeds N]
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from stillsafe.core.state import Severity, State
from tests.matrix.cells import DIMENSIONS, Cell, pairwise
from tests.matrix.simulation import Outcome, Phase, play
from tests.postgres import running_postgres


def main() -> int:
    """Print the table; 1 if any cell breaks the law."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="sets of cells, each with every pair of conditions")
    seeds = range(1, parser.parse_args().seeds + 1)
    logging.disable(logging.CRITICAL)
    cells = list(dict.fromkeys(cell for seed in seeds for cell in pairwise(seed)))
    with running_postgres() as server, tempfile.TemporaryDirectory(prefix="stillsafe-matrix-") as name:
        outcomes = []
        for number, cell in enumerate(track(cells, "Playing the cells", console=Console(stderr=True))):
            folder = Path(name) / str(number)
            folder.mkdir()
            url = f"sqlite:///{folder / 'log.db'}" if cell.store == "sqlite" else server.empty()
            outcomes.append(play(cell, url, folder))
    return _print(cells, outcomes)


def _print(cells: Sequence[Cell], outcomes: Sequence[Outcome]) -> int:
    table = Table(*DIMENSIONS, "healthy", "CRITICAL in run", "recovered in run", "broken law")
    for cell, outcome in zip(cells, outcomes, strict=True):
        table.add_row(
            *(str(getattr(cell, name)) for name in DIMENSIONS),
            _worst(outcome.healthy),
            _run(outcome.alarm_run, outcome.faulty),
            _run(outcome.recovery_run, outcome.mended),
            "; ".join(outcome.violations()),
        )
    Console(width=240).print(table)
    broken_count = sum(any(outcome.violations()) for outcome in outcomes)
    alarms = sum(outcome.alarm_run is not None for outcome in outcomes)
    false_alarms = sum(Severity.CRITICAL in outcome.healthy.severities for outcome in outcomes)
    warnings = sum(outcome.healthy.states.count(State.WARNING) for outcome in outcomes)
    runs = sum(len(outcome.healthy.states) for outcome in outcomes)
    sys.stdout.write(
        f"{len(cells)} cells: {alarms} faults CRITICAL, {len(cells) - alarms} not judged or missed; "
        f"{false_alarms} false CRITICAL, {warnings} of {runs} healthy runs WARNING; "
        f"{broken_count} cells break the law.\n"
    )
    return bool(broken_count)


def _worst(phase: Phase) -> str:
    states = [state.value for state in phase.states]
    worst = next(state for state in ("DEGRADED", "WARNING", "NORMAL") if state in states)
    return worst if phase.was_judged else f"{worst}, not judged"


def _run(run: int | None, phase: Phase) -> str:
    if run is not None:
        return str(run)
    return "never" if phase.was_judged else "not judged"


if __name__ == "__main__":
    sys.exit(main())
