"""The tour shows what it says, with real traffic, real runs and a real clock."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from stillsafe import demo, tour
from stillsafe.cli.command_table import COMMANDS


def test_the_tour_shows_every_step(tmp_path: Path) -> None:
    """Broken, noticed, bypassed, explained, mended, held, released, replayed; and its folder is gone afterwards."""
    process = subprocess.run(
        [sys.executable, "-m", "stillsafe", "tour", "--yes"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert re.findall(r"The state is (\w+)", process.stdout) == [
        *("NORMAL", "WARNING", "DEGRADED", "NORMAL", "DEGRADED", "NORMAL")
    ]
    assert "decided_by: fallback" in process.stdout
    assert "recomputed, no difference" in process.stdout
    commands = re.findall(r"stillsafe (\w+)[^#\n]* --config ", process.stdout)
    assert set(commands) <= {entry.name for section in COMMANDS.values() for entry in section}
    assert len(commands) >= 7
    assert list(tmp_path.iterdir()) == []


def test_traffic_that_ends_fails_the_step(capsys: pytest.CaptureFixture[str]) -> None:
    """A step whose state cannot come any more ends with the cause; it does not wait for ever."""
    guide = tour._Guide(Console(), lambda: None, "stillsafe {}")
    traffic = tour.Traffic(settings=None, port=0, flights=None, failure=OSError("gone"))  # type: ignore[arg-type] # unused
    with pytest.raises(demo.DemoFailed, match="the traffic ended: gone"):
        guide.wait_for(traffic, "WARNING")
    guide.step("A title", "A text.", tour.Look("status", "what it shows"))
    assert "stillsafe status   # what it shows" in capsys.readouterr().out
