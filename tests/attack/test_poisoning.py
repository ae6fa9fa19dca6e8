"""What a client that only predicts can do to the state: a bound for each attack, and the figures in the long form."""

from pathlib import Path

import pytest

from tests.attack import poisoning
from tests.attack.conftest import LONG
from tests.faults.figures import Figure

HARMLESS_SHARE = 0.02
"""Rows of a hostile client for each honest one with which no attack succeeds, whatever the rows are."""


@pytest.mark.parametrize("name", poisoning.HOSTILE_ROWS)
def test_a_few_rows_force_nothing(tmp_path: Path, name: str) -> None:
    """One row in fifty, of any kind, makes nothing CRITICAL: a signal deviates by the share of rows that it is in."""
    assert not poisoning.forces(tmp_path, poisoning.HOSTILE_ROWS[name], HARMLESS_SHARE)


def test_copies_of_one_row_force_nothing(tmp_path: Path) -> None:
    """Not with sixteen copies for each honest row: copies are no evidence."""
    for name in ("one row again and again", "all features missing"):
        assert not poisoning.forces(tmp_path, poisoning.HOSTILE_ROWS[name], 16.0)


def test_a_few_rows_hold_nothing(tmp_path: Path) -> None:
    """A service recovers beside them."""
    for name in poisoning.HOLDING:
        assert not poisoning.holds(tmp_path, poisoning.HOSTILE_ROWS[name], HARMLESS_SHARE)


def test_as_many_ordinary_rows_hide_nothing(tmp_path: Path) -> None:
    """A client with as many ordinary rows as all others does not hide that theirs are broken."""
    assert not poisoning.hides(tmp_path, 1.0)


def test_the_least_shares(tmp_path: Path, figure: Figure) -> None:
    """Every attack that can succeed needs more than the harmless share; the long form measures how much."""
    if LONG:
        for name, share in poisoning.least_shares(tmp_path).items():
            assert share is None or share > HARMLESS_SHARE, name
            figure(f"rows for each honest one {name}", "never" if share is None else share)
    else:
        assert poisoning.SHARES[:3] == (0.0, 0.01, HARMLESS_SHARE)
