"""The clock jumps forth and back under the service and its monitor; nothing is lost, and nothing false is decided."""

import json
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.faults.api import Api
from tests.faults.conftest import running

STARTED = "2026-03-01 00:00:00"


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """A file that says what time it is for whoever looks there."""
    file = tmp_path / "clock"
    file.write_text("+0")
    return file


@pytest.fixture
def on_shaky_clock(made_service: Path, clock: Path) -> Iterator[Api]:
    """A running service whose every process looks there."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    surroundings = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    yield from running(Api(made_service, f"sqlite:///{made_service / 'stillsafe.db'}", surroundings=surroundings))


def monitored(api: Api) -> tuple[int, str]:
    """A run's exit code and what it says."""
    ran = api.command("monitor")
    return ran.returncode, ran.stdout + ran.stderr


def test_jumps_lose_nothing_and_decide_nothing(on_shaky_clock: Api, clock: Path) -> None:
    """A day ahead, then back: rows keep coming in, runs wait until time has passed the last one, and it shows."""
    api = on_shaky_clock
    ids = [api.predict()["prediction_id"]]
    assert monitored(api)[0] == 0
    clock.write_text("+1d")
    ids.append(api.predict()["prediction_id"])
    assert monitored(api)[0] == 0
    assert api.get("/health/ready")["monitor"] == "fresh"
    clock.write_text("-2h")
    ids.append(api.predict()["prediction_id"])
    code, told = monitored(api)
    assert (code, "runs go forward in time" in told) == (1, True)
    assert api.get("/health/ready")["monitor"] == "stale"
    assert json.loads(api.command("status", "--json").stdout)["stale"] is True
    clock.write_text("+25h")
    ids.append(api.predict()["prediction_id"])
    assert monitored(api)[0] == 0
    assert api.get("/health/ready")["monitor"] == "fresh"
    rows = api.logged()
    assert [row.prediction_id for row in rows] == ids
    hours = [round((row.timestamp - rows[0].timestamp) / timedelta(hours=1)) for row in rows]
    assert hours == [0, 24, -2, 25]
    assert api.get("/v1/state")["state"] == "NORMAL"
    replayed = api.command("replay", "--from-logs")
    assert replayed.returncode == 0, replayed.stdout
    assert os.environ.get("LD_PRELOAD") is None
