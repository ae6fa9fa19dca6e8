"""kill -9 of the monitor while it has alerts to write and to send, to a receiver that is dead half of the time."""

import subprocess
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import func, select

from stillsafe import service
from stillsafe.alerting.delivery import deliver
from stillsafe.settings import DATABASE_VARIABLE, Settings
from stillsafe.store import database
from stillsafe.store.read.alerts import pending_alerts, recent_alerts
from stillsafe.store.tables import current_window_metrics
from tests.alerting.receivers import receiver
from tests.cli.command_server import Process, start
from tests.faults import service_log
from tests.faults.conftest import LONG, repetitions
from tests.faults.figures import Figure
from tests.postgres import STORES

STEPS, MISSING_STEPS = (12, range(3, 7)) if LONG else (5, range(4))
RECEIVER = '\n[[alerts]]\nname = "chat"\nurl_variable = "TEST_ALERT_URL"\ntimeout = "2s"\n'
Rows = list[dict[str, float]]


def _start(folder: Path, now: datetime) -> Process | subprocess.Popen[bytes]:
    with (folder / "monitor.log").open("ab") as log:
        return start("monitor", "--now", now.isoformat(), folder=folder, log=log)


def _outbox(settings: Settings) -> tuple[list[str], int, int]:
    """The ids of the alerts in order, how many wait, and how many runs there are."""
    engine = service.connect(settings)
    with database.reading(engine) as connection:
        ids = [alert.alert_id for alert in recent_alerts(connection, 1000)[::-1]]
        runs = connection.execute(select(func.count()).select_from(current_window_metrics)).scalar_one()
        waiting = len(pending_alerts(connection))
    engine.dispose()
    return ids, waiting, runs


@pytest.fixture
def undisturbed_ids(
    made_service: Path, healthy_rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """The alerts of undisturbed runs."""
    file = made_service / "stillsafe.toml"
    file.write_text(file.read_text() + RECEIVER)
    monkeypatch.delenv(DATABASE_VARIABLE, raising=False)
    monkeypatch.setenv("TEST_ALERT_URL", "http://127.0.0.1:1/")
    url = f"sqlite:///{tmp_path / 'undisturbed.db'}"
    settings = service_log.fill_store(made_service, url, healthy_rows, steps=STEPS, missing_steps=MISSING_STEPS)
    for now in service_log.run_times(STEPS):
        service.monitor(settings, now=now)
    return _outbox(settings)[0]


@pytest.mark.parametrize("store_url", [*STORES][: None if LONG else 1], indirect=True)
def test_no_alert_is_lost_or_doubled(
    undisturbed_ids: list[str],
    made_service: Path,
    healthy_rows: Rows,
    store_url: str,
    monkeypatch: pytest.MonkeyPatch,
    figure: Figure,
) -> None:
    """Neither in the outbox nor at the receiver; a second delivery has the id of the first one."""
    monkeypatch.setenv(DATABASE_VARIABLE, store_url)
    settings = service_log.fill_store(made_service, store_url, healthy_rows, steps=STEPS, missing_steps=MISSING_STEPS)
    kills, random, times = repetitions(2, 50), Random(3), service_log.run_times(STEPS)
    with receiver() as arrivals:
        monkeypatch.setenv("TEST_ALERT_URL", arrivals.url)
        began = time.monotonic()
        _start(made_service, times[0]).wait()
        whole_seconds = time.monotonic() - began
        receipts: Counter[str] = Counter()
        for kill in range(kills):
            is_dead = bool(random.getrandbits(1))
            arrivals.statuses = [500] * 9 if is_dead else []
            count = len(arrivals.bodies)
            with _start(made_service, times[min(_outbox(settings)[2], STEPS - 1)]) as process:
                # Every other kill comes late, when a run is over and its alerts are sent.
                time.sleep(random.uniform(0.9 if kill % 2 else 0.3, 1.2) * whole_seconds)
                process.kill()
            receipts.update(each["alert_id"] for each in arrivals.documents[count:] if not is_dead)
        arrivals.statuses = []
        count = len(arrivals.bodies)
        for now in times[min(_outbox(settings)[2], STEPS - 1) :]:
            service.monitor(settings, now=now)
        engine = service.connect(settings)
        deliver(engine, settings, times[-1])
        engine.dispose()
        receipts.update(each["alert_id"] for each in arrivals.documents[count:])
    ids, waiting, _ = _outbox(settings)
    store = "PostgreSQL" if store_url.startswith("postgresql") else "SQLite"
    name = f"monitor killed {kills} times with alerts, {store}"
    figure(f"{name}: alerts in the outbox", len(ids))
    figure(f"{name}: lost or doubled in the outbox", len(set(undisturbed_ids) ^ set(ids)) + len(ids) - len(set(ids)))
    figure(f"{name}: lost at a receiver that is dead half of the time", len(set(ids) - set(receipts)))
    figure(f"{name}: second deliveries, with the same id", receipts.total() - len(receipts))
    assert ids == undisturbed_ids
    assert set(receipts) == set(ids)
    assert waiting == 0
