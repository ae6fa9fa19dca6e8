"""If the system clock jumps, no row is lost and no run decides on a window of the past."""

import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.faults.api import Api
from tests.faults.conftest import running

START_TIME = "2026-03-01 00:00:00"


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """A file with the offset of the simulated clock."""
    file = tmp_path / "clock"
    file.write_text("+0")
    return file


@pytest.fixture
def on_shaky_clock(made_service: Path, clock: Path) -> Iterator[Api]:
    """A running service whose processes use the simulated clock."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    surroundings = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    yield from running(Api(made_service, f"sqlite:///{made_service / 'stillsafe.db'}", extra_environment=surroundings))


def run_monitor(api: Api) -> tuple[int, str]:
    """Run the monitor; return the exit code and the output."""
    process = api.command("monitor")
    return process.returncode, process.stdout + process.stderr


def test_jumps_lose_nothing_and_decide_nothing(on_shaky_clock: Api, clock: Path) -> None:
    """After a jump back, rows are recorded, runs wait for the time of the last run, and the monitor is stale."""
    api = on_shaky_clock
    ids = [api.predict()["prediction_id"]]
    assert run_monitor(api)[0] == 0
    clock.write_text("+1d")
    ids.append(api.predict()["prediction_id"])
    assert run_monitor(api)[0] == 0
    assert api.get("/health/ready")["monitor"] == "fresh"
    clock.write_text("-2h")
    ids.append(api.predict()["prediction_id"])
    code, output = run_monitor(api)
    assert (code, "runs go forward in time" in output) == (1, True)
    assert api.get("/health/ready")["monitor"] == "stale"
    assert json.loads(api.command("status", "--json").stdout)["stale"] is True
    clock.write_text("+25h")
    ids.append(api.predict()["prediction_id"])
    assert run_monitor(api)[0] == 0
    assert api.get("/health/ready")["monitor"] == "fresh"
    rows = api.prediction_log()
    assert [row.prediction_id for row in rows] == ids
    hours = [round((row.timestamp - rows[0].timestamp) / timedelta(hours=1)) for row in rows]
    assert hours == [0, 24, -2, 25]
    assert api.get("/v1/state")["state"] == "NORMAL"
    replay = api.command("replay", "--from-logs")
    assert replay.returncode == 0, replay.stdout
    assert os.environ.get("LD_PRELOAD") is None
