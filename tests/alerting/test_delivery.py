"""The outbox is delivered at least once, in order, by one sender, within a budget."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from sqlalchemy import Engine

from stillsafe import service
from stillsafe.alerting import delivery
from stillsafe.alerting.delivery import BUDGET_SECONDS, LOCK_SECONDS, LONGEST_AGE, announce, deliver, send_heartbeat
from stillsafe.monitoring import run
from stillsafe.settings import Settings
from stillsafe.settings_alerts import Alert, AlertEvent
from stillsafe.store import database
from stillsafe.store.read.alerts import AlertRecord, pending_alerts, recent_alerts
from stillsafe.store.write.alerts import append_alert
from tests.alerting.receivers import Receiver, receiver
from tests.stores import with_store

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def settings(made_service: Path, named_store: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A service with two receivers, of which the second one wants recoveries alone."""
    assert named_store
    monkeypatch.setenv("TEST_URL", "http://127.0.0.1:1/")
    alerts = (
        Alert(name="chat", url_variable="TEST_URL"),
        Alert(name="pager", url_variable="TEST_URL", events=(AlertEvent.RECOVERY,)),
    )
    return service.settings_of(with_store(made_service) / "stillsafe.toml").model_copy(update={"alerts": alerts})


@pytest.fixture
def engine(settings: Settings) -> Any:
    """Its store."""
    engine = service.connect(settings)
    yield engine
    engine.dispose()


def _append(engine: Engine, *events: AlertEvent, at: datetime = NOW) -> None:
    with database.writing(engine) as connection:
        for event in events:
            words = {"state": "DEGRADED", "severity": None, "text": "because"}
            append_alert(connection, AlertRecord(f"id-{event}", event.value, "v1", None, at, words))


def _pending(engine: Engine) -> list[AlertRecord]:
    with database.reading(engine) as connection:
        return pending_alerts(connection)


def _listen(monkeypatch: pytest.MonkeyPatch, arrivals: Receiver) -> None:
    monkeypatch.setenv("TEST_URL", arrivals.url)


def test_each_receiver_gets_what_it_wants_once(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order; a second delivery sends nothing."""
    _append(engine, AlertEvent.OPENED, AlertEvent.RECOVERY)
    with receiver() as arrivals:
        _listen(monkeypatch, arrivals)
        assert deliver(engine, settings, NOW) == 3
        assert deliver(engine, settings, NOW) == 0
    assert [document["event"] for document in arrivals.documents] == ["opened", "recovered", "recovered"]
    assert _pending(engine) == []


def test_a_receiver_that_fails_is_tried_by_later_runs(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once in each run, and the other receiver gets its alerts; after a day an alert is given up."""
    _append(engine, AlertEvent.OPENED, AlertEvent.RECOVERY)
    with receiver() as arrivals:
        _listen(monkeypatch, arrivals)
        arrivals.statuses = [500, 204, 500]
        assert deliver(engine, settings, NOW) == 1
        first, second = _pending(engine)
        assert (first.attempts, first.deliveries, [*second.deliveries]) == (1, {}, ["pager"])
        assert first.failure == "chat: the receiver answered 500"
        assert deliver(engine, settings, NOW) == 0
        assert deliver(engine, settings, NOW) == 2
    assert _pending(engine) == []
    _append(engine, AlertEvent.HOLD)
    assert deliver(engine, settings, NOW + LONGEST_AGE + timedelta(seconds=1)) == 0
    assert _pending(engine) == []


def test_a_kill_between_sending_and_marking_sends_twice_with_one_id(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost, and the receiver can tell."""
    _append(engine, AlertEvent.OPENED)
    save = delivery._save

    def kill(*_: Any) -> None:
        raise KeyboardInterrupt

    with receiver() as arrivals:
        _listen(monkeypatch, arrivals)
        monkeypatch.setattr(delivery, "_save", kill)
        with pytest.raises(KeyboardInterrupt):
            deliver(engine, settings, NOW)
        monkeypatch.setattr(delivery, "_save", save)
        assert deliver(engine, settings, NOW) == 1
    assert [document["alert_id"] for document in arrivals.documents] == ["id-opened"] * 2


def test_one_sender_at_a_time_within_a_budget(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second sender does nothing; when the time is over, later runs go on."""
    _append(engine, AlertEvent.OPENED, AlertEvent.ESCALATED)
    with receiver() as arrivals:
        _listen(monkeypatch, arrivals)
        with database.try_lock(engine, f"alerts-{settings.service.name}"):
            assert deliver(engine, settings, NOW) == 0
        times = iter([0.0, 1.0, BUDGET_SECONDS + 1])
        assert deliver(engine, settings, NOW, lambda: next(times)) == 1
        assert deliver(engine, settings, NOW) == 1
    assert [document["event"] for document in arrivals.documents] == ["opened", "escalated"]


def test_an_alert_that_comes_while_another_process_sends_waits_for_no_run(
    settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender finds what is appended while it sends; who finds a sender at its end tries again."""
    with receiver() as arrivals:
        _listen(monkeypatch, arrivals)
        _append(engine, AlertEvent.OPENED)
        readings = iter([0.0, *[1.0] * 9])

        def append_once() -> float:
            """The time; between the first two readings of the clock another process appends."""
            reading = next(readings)
            if reading and not arrivals.documents:
                _append(engine, AlertEvent.ESCALATED)
            return reading

        assert deliver(engine, settings, NOW, append_once) == 2
        _append(engine, AlertEvent.HOLD)
        pause, thread = Event(), Thread(target=lambda: deliver(engine, settings, NOW))
        with database.try_lock(engine, f"alerts-{settings.service.name}"):
            thread.start()
            pause.wait(LOCK_SECONDS / 4)
        thread.join()
    assert [document["event"] for document in arrivals.documents] == ["opened", "escalated", "hold"]


def test_without_receivers_nothing_is_read(settings: Settings, engine: Engine) -> None:
    """And a failing run writes no alert."""
    quiet = settings.model_copy(update={"alerts": ()})
    announce(engine, quiet, NOW, problem="It failed.")
    assert _pending(engine) == []


def test_a_failed_run_is_one_alert(settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it fails; nothing that alerts do raises, and a good run makes the heartbeat."""
    with receiver() as arrivals:
        _listen(monkeypatch, arrivals)
        monitor = settings.monitor.model_copy(update={"heartbeat_url": arrivals.url.replace("hook", "beat")})
        settings = settings.model_copy(update={"monitor": monitor})
        announce(engine, settings, NOW, problem="It failed.")
        announce(engine, settings, NOW + timedelta(minutes=10), problem="It failed.")
        announce(engine, settings, NOW + timedelta(minutes=15), is_good=False)  # another run is under way, or hangs
        assert arrivals.paths == ["/hook"]
        announce(engine, settings, NOW + timedelta(minutes=20))
    assert arrivals.paths == ["/hook", "/beat"]
    with database.reading(engine) as connection:
        assert [each.event for each in recent_alerts(connection, 10)] == ["monitor_failed"]
    with database.writing(engine) as connection:
        connection.exec_driver_sql("ALTER TABLE alerts RENAME TO gone")
    announce(engine, settings, NOW, problem="It failed.")
    send_heartbeat("http://127.0.0.1:1/")


def test_a_run_that_crashes_is_an_alert(settings: Settings, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure that nobody foresaw is told by its type alone, and raised."""

    def crash(*_arguments: Any, **_options: Any) -> None:
        raise TypeError("secret")

    monkeypatch.setattr(run, "run", crash)
    with receiver() as arrivals:
        _listen(monkeypatch, arrivals)
        with pytest.raises(TypeError):
            service.monitor(settings, now=NOW, ahead=True)
    assert [each["event"] for each in arrivals.documents] == ["monitor_failed"]
    assert "TypeError" in arrivals.documents[0]["text"]
    assert "secret" not in str(arrivals.documents)
