"""The matrix of clients: whose fault it is decides whether the model is taken from everybody."""

from pathlib import Path

import pytest

from stillsafe.core.state import Severity, State
from tests.matrix.cells import DIMENSIONS, Cell
from tests.matrix.simulation import Outcome, play
from tests.postgres import STORES

FAULTS = DIMENSIONS["fault"]


def _outcome(cell: Cell, request: pytest.FixtureRequest, tmp_path: Path) -> Outcome:
    return play(cell, STORES[cell.store](request), tmp_path)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("clients", ["one of six", "one of fifty", "two of twenty"])
def test_a_fault_of_few_clients_warns_and_names_them(
    clients: str, fault: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Never CRITICAL, never silent, no other client is named, and it is over once they are mended."""
    store = "postgresql" if (clients, fault) == ("one of six", "nulls") else "sqlite"
    outcome = _outcome(Cell(clients=clients, fault=fault, store=store), request, tmp_path)
    assert Severity.CRITICAL not in outcome.faulty.severities
    assert outcome.faulty.states[-1] is State.WARNING
    faulty_names = {f"{name:016x}" for name in range(2 if clients == "two of twenty" else 1)}
    assert outcome.faulty.outliers == faulty_names
    assert outcome.mended.states[-1] is State.NORMAL
    assert not outcome.healthy.outliers
    assert outcome.mended.outliers <= faulty_names


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("clients", ["one only", "one of two", "twenty of fifty", "all of fifty"])
def test_a_fault_of_the_service_is_critical(
    clients: str, fault: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """As soon as without known clients, and nobody is named."""
    store = "postgresql" if (clients, fault) == ("all of fifty", "nulls") else "sqlite"
    outcome = _outcome(Cell(clients=clients, fault=fault, store=store), request, tmp_path)
    assert list(outcome.violations()) == []
    assert outcome.alarm_run is not None
    assert outcome.alarm_run <= 4
    assert not outcome.faulty.outliers
