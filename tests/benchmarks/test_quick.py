"""What the quick benchmark says of two records."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.quick import HELP, RECORDS, SINGLE, YARDSTICKS, Record, comparison, read, verdict
from benchmarks.spread import Spread

ROOT = Path(__file__).parents[2]
LAST = Spread(2.0, 1.9, 2.1)


@pytest.mark.parametrize(
    ("name", "now", "expected"),
    [
        (SINGLE, Spread(3.0, 2.9, 3.1), "better"),
        (SINGLE, Spread(1.0, 0.9, 1.1), "worse"),
        (HELP, Spread(3.0, 2.9, 3.1), "worse"),
        (HELP, Spread(1.0, 0.9, 1.1), "better"),
        (SINGLE, Spread(1.5, 1.0, 1.9), ""),
        (HELP, Spread(3.0, 2.1, 4.0), ""),
    ],
)
def test_what_moved_beyond_the_rounds_is_named(name: str, now: Spread, expected: str) -> None:
    """Rounds that touch are noise; of speeds more is better, of costs less; without a record nothing moved."""
    assert verdict(name, now, LAST) == expected
    assert verdict(name, now, None) == ""


def test_a_record_is_read_as_it_was_written() -> None:
    """And the table names its commit; a ratio that it lacks is a dash."""
    records = [Record("abc", "2026-01-01T00:00:00+00:00", "a machine", {SINGLE: LAST})] * 2
    assert read("".join(each.line() for each in records)) == records
    table = comparison({SINGLE: Spread(1.0, 1.0, 1.0), HELP: LAST}, records[-1])
    assert "abc" in str(table.title)
    assert [list(column.cells) for column in table.columns][3:] == [["2.00 (1.90 to 2.10)", "–"], ["worse", ""]]


def test_the_kept_records_can_be_read() -> None:
    """Each ratio of the last one is still measured, and none is missing; the command and its target exist."""
    assert {*read(RECORDS.read_text(encoding="utf-8"))[-1].ratios} == {*YARDSTICKS}
    for line in RECORDS.read_text(encoding="utf-8").splitlines():
        assert {*json.loads(line)} == {"commit", "at", "machine", "ratios"}
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks.quick", "--help"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert "--record" in process.stdout
    assert "\nbenchmark-quick:" in (ROOT / "Makefile").read_text(encoding="utf-8")
