"""Rows that come late, early, out of order, too late or marked as synthetic: what a run makes of them, and a replay."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from stillsafe.core.schema import Row
from stillsafe.core.state import State
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.replay import replay
from stillsafe.store import database
from stillsafe.store.read.runs import RunRecord, last_run
from stillsafe.store.records import PredictionRecord
from stillsafe.store.write.predictions import append_predictions
from tests.monitoring.conftest import STEP, Service, lose, settings

MINUTE = timedelta(minutes=1)
_ROW: Row = {"size": 50.0, "floor": 1, "lift": True, "town": "A"}


def after_run(service: Service) -> RunRecord:
    """One run, now, and what it stored."""
    service.run()
    with database.reading(service.engine) as connection:
        record = last_run(connection)
    assert record is not None
    return record


def counts(record: RunRecord) -> tuple[int, int | None, int | None]:
    """Fresh, late and expired rows of a run."""
    return record.window["fresh"]["prediction_count"], record.late_count, record.expired_count


def assert_replays(service: Service) -> None:
    """Every run recounts to what it stored, whatever has come since."""
    result = replay(
        service.engine,
        from_logs=True,
        log_format=LogFormat.of(service.settings),
        model_version="1",
        score=service.score,
    )
    assert (result.difference, result.not_recounted) == (None, {})


def test_late_rows_are_judged_by_the_next_run_and_counted(service: Service) -> None:
    """A host that is three minutes behind loses none of its rows, and the window starts at the oldest of them."""
    service.step()
    service.send(40, start=service.now - 3 * MINUTE, over=MINUTE)
    service.send(260)
    service.now += STEP
    record = after_run(service)
    assert counts(record) == (300, 40, 0)
    assert record.window_start == service.now - 15 * MINUTE
    service.send(30, start=service.now - 60 * MINUTE, over=MINUTE)
    service.send(270)
    service.now += STEP
    record = after_run(service)
    assert counts(record) == (300, 30, 0)
    assert record.window_start == service.now - STEP - 60 * MINUTE
    assert_replays(service)


def test_a_fault_in_late_rows_is_found(service: Service) -> None:
    """Rows that came after the run of their time are evidence as any other: three broken batches degrade."""
    for _ in range(2):
        service.step(change=lose("town", 1.0), start=service.now - 20 * MINUTE, over=5 * MINUTE)
    assert service.step(change=lose("town", 1.0), start=service.now - 20 * MINUTE, over=5 * MINUTE) is State.DEGRADED
    assert_replays(service)


def test_rows_with_a_future_time_wait(service: Service) -> None:
    """A host that is five minutes ahead: each row is judged once, by the run of its time."""
    fresh = []
    for _ in range(4):
        service.send(100)
        service.send(100, start=service.now + 5 * MINUTE)
        service.now += STEP
        fresh.append(counts(after_run(service)))
    assert fresh == [(150, 0, 0), (200, 0, 0), (200, 0, 0), (200, 0, 0)]
    assert_replays(service)


def test_rows_that_come_too_late_are_counted_as_never_judged(service: Service) -> None:
    """Once, by the first run after they came; no decision rests on them."""
    service.step()
    service.send(50, start=service.now - timedelta(hours=30), over=MINUTE, change=lose("town", 1.0))
    service.send(300)
    service.now += STEP
    assert counts(after_run(service)) == (300, 0, 50)
    service.send(300)
    service.now += STEP
    assert counts(after_run(service)) == (300, 0, 0)
    assert_replays(service)


def test_rows_that_were_carried_too_long_are_counted_as_never_judged(bare_service: Service) -> None:
    """Without a baseline no run is conclusive: rows are carried for a day, and then each is counted once."""
    bare_service.send(20)
    expired_counts = []
    for _ in range(30):
        bare_service.now += timedelta(hours=1)
        bare_service.send(1)
        fresh, _, expired_count = counts(after_run(bare_service))
        expired_counts.append(expired_count or 0)
    assert (sum(expired_counts), fresh) == (20 + 5, 24), (
        "the rows of hours 6 to 29 are carried, and that of hour 30 is new"
    )
    assert_replays(bare_service)


def test_a_monitor_that_was_away_judges_the_newest_rows(service: Service) -> None:
    """Its first run must not dilute the present: of more rows than the policy allows the newest are judged."""
    service.settings = settings(Path(service.settings.folder), policy={"max_carry_predictions": 200})
    service.step()
    service.send(300, over=timedelta(hours=3), change=lose("town", 1.0))
    service.now += timedelta(hours=3)
    service.send(200)
    service.now += STEP
    record = after_run(service)
    assert counts(record) == (200, 0, 300)
    assert record.evidence == "OK"
    assert_replays(service)


def synthetic(service: Service, count: int, start: datetime) -> None:
    """Log requests that the client marked as synthetic: always the same broken row."""
    record = PredictionRecord(
        "s", start, "1", State.NORMAL, {**_ROW, "town": None}, "1", 0.1, False, "r", synthetic=True
    )
    records = [
        replace(record, prediction_id=f"s{start:%H%M}-{i}", timestamp=start + i * timedelta(seconds=1))
        for i in range(count)
    ]
    with database.writing(service.engine) as connection:
        append_predictions(connection, records)


def test_synthetic_requests_are_counted_and_are_no_evidence(service: Service) -> None:
    """As many probes as real requests, all broken, change nothing; the window tells how many there were."""
    for _ in range(3):
        synthetic(service, 300, service.now)
        service.step()
    with database.reading(service.engine) as connection:
        record = last_run(connection)
    assert record is not None
    assert counts(record) == (300, 0, 0)
    assert (record.evidence, record.window["synthetic_count"]) == ("OK", 300)
    assert service.state() is State.NORMAL
    synthetic(service, 9, service.now - 5 * MINUTE)
    assert_replays(service)


def test_where_only_synthetic_requests_come_nothing_is_judged(service: Service) -> None:
    """Probes keep nobody judged: the version's oldest unjudged request grows old."""
    service.step()
    first = service.now
    for _ in range(4):
        synthetic(service, 50, service.now)
        service.now += STEP
        assert after_run(service).evidence == "INSUFFICIENT"
    with database.reading(service.engine) as connection:
        record = last_run(connection)
    assert record is not None
    assert record.memory["unjudged_since"] == first.isoformat()
    assert_replays(service)


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)  # SQLite has one writer at a time
def test_ids_that_become_visible_out_of_order_are_judged(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two writers on a server, the lower ids commit after the run: the next run judges them, and a replay agrees."""
    monkeypatch.setattr("stillsafe.store.database_server.await_writers", lambda _connection: None)
    service.step()
    records = [
        PredictionRecord(f"o{i}", service.now + i * MINUTE / 100, "1", State.NORMAL, _ROW, "1", 0.85, False, "r")
        for i in range(40)
    ]
    with service.engine.connect() as slow:
        append_predictions(slow, records)
        service.send(300)
        service.now += STEP
        assert counts(after_run(service)) == (300, 0, 0)
        slow.commit()
    service.send(300)
    service.now += STEP
    assert counts(after_run(service)) == (340, 40, 0)
    assert_replays(service)


def test_refusals_wait_with_the_rows_and_are_counted_once(service: Service) -> None:
    """Each refusal is fresh in one conclusive run."""
    fresh = []
    for _ in range(4):
        service.refuse(30)
        service.send(100)
        service.now += STEP
        fresh.append(after_run(service).window["fresh"]["refusal_count"])
    assert fresh == [30] * 4
    assert_replays(service)


def test_silence_judges_no_rows(service: Service) -> None:
    """A few rows and then none: the run says that the service is silent, and the rows are still carried."""
    service.step()
    service.send(10)
    service.now += timedelta(hours=3)
    record = after_run(service)
    assert (record.evidence, record.memory["unjudged_since"]) == ("BAD", (service.now - timedelta(hours=3)).isoformat())
    service.send(300)
    service.now += STEP
    assert counts(after_run(service)) == (310, 0, 0)
    assert_replays(service)
