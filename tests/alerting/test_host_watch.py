"""What a serving process says of an outage of the database and of a monitor that has stopped: once, and to its end."""

import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from stillsafe import service
from stillsafe.alerting import host_watch
from stillsafe.alerting.host_watch import OUTAGE_SECONDS, RETRY_SECONDS, HostWatch
from stillsafe.errors import StoreError
from stillsafe.monitoring import run
from stillsafe.serving.predict import Context, answer_requests
from stillsafe.serving.prediction_request import PredictionRequest
from stillsafe.settings_alerts import Alert
from stillsafe.store import database
from stillsafe.store.read.alerts import AlertRecord, pending_alerts, recent_alerts
from tests.alerting.receivers import Receiver, receiver
from tests.stores import accept_inserts, refuse_inserts, with_store


@dataclass
class Site:
    """A service, its time, and who receives its alerts."""

    arrivals: Receiver
    context: Context = field(init=False)
    now: datetime = field(default=datetime(2026, 3, 1, tzinfo=UTC))
    seconds: float = 0.0

    def watch(self, host: str = "web-1") -> HostWatch:
        """A new serving process."""
        return HostWatch(self.context, host, lambda: self.seconds)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)
        self.seconds += seconds

    def break_store(self, *, is_out: bool) -> None:
        """Take the table of states away, or give it back."""
        names = ("system_state", "away") if is_out else ("away", "system_state")
        with database.writing(self.context.engine) as connection:
            connection.exec_driver_sql(f"ALTER TABLE {names[0]} RENAME TO {names[1]}")

    def outbox(self) -> list[AlertRecord]:
        """All alerts, oldest first."""
        with database.reading(self.context.engine) as connection:
            return recent_alerts(connection, 100)[::-1]

    @property
    def events(self) -> list[str]:
        """What arrived."""
        return [document["event"] for document in self.arrivals.documents]


@pytest.fixture
def site(made_service: Path, named_store: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A service with one receiver, on either store."""
    assert named_store
    settings = service.settings_of(with_store(made_service) / "stillsafe.toml")
    settings = settings.model_copy(update={"alerts": (Alert(name="chat", url_variable="TEST_URL"),)})
    with receiver() as arrivals:
        monkeypatch.setenv("TEST_URL", arrivals.url)
        site = Site(arrivals)
        site.context = service.serving_context(settings, lambda: site.now)
        yield site
        site.context.engine.dispose()


def test_an_outage_is_said_once_per_host_with_its_end(site: Site) -> None:
    """By one of the host's processes, also after a restart; a short outage is none, and the next one has another id."""
    watch, other = site.watch(), site.watch()
    for _ in range(2):
        site.break_store(is_out=True)
        watch.check()
        site.wait(OUTAGE_SECONDS - 1)
        watch.check()
        other.check()
        assert len(site.events) % 2 == 0
        for _ in range(3):
            site.wait(RETRY_SECONDS + 1)
            for process in (watch, other, site.watch()):
                process.check()
        assert site.events[-1] == "store_out"
        site.break_store(is_out=False)
        for process in (other, watch):
            process.check()
        site.wait(RETRY_SECONDS)
    assert site.events == ["store_out", "store_back"] * 2
    documents = site.arrivals.documents
    assert {document["host"] for document in documents} == {"web-1"}
    assert len({document["subject"] for document in documents}) == 1
    assert len({document["alert_id"] for document in documents}) == 4
    assert "web-1" in documents[0]["title"]
    assert [each.alert_id for each in site.outbox()] == [document["alert_id"] for document in documents]
    with database.reading(site.context.engine) as connection:
        assert pending_alerts(connection) == []


def test_what_a_dead_receiver_missed_comes_later(site: Site) -> None:
    """The note keeps the alert through the outage, then the outbox does: nothing is lost or renamed."""
    site.arrivals.statuses = [500, 500, 500]
    watch = site.watch()
    site.break_store(is_out=True)
    watch.check()
    for _ in range(2):
        site.wait(RETRY_SECONDS + OUTAGE_SECONDS)
        watch.check()
    site.break_store(is_out=False)
    site.watch().check()
    (begin, end) = site.outbox()
    assert (begin.deliveries, end.deliveries) == ({}, {})
    assert begin.attempts >= 2
    service.monitor(site.context.settings, now=site.now)
    last_documents = site.arrivals.documents[3:]
    assert [document["event"] for document in last_documents] == ["store_out", "store_back"]
    assert {document["alert_id"] for document in site.arrivals.documents} == {begin.alert_id, end.alert_id}


def test_a_monitor_that_stops_is_said_once_by_all_hosts(site: Site) -> None:
    """One that has never run is no alert, and the next run ends it."""
    first, second = site.watch("web-1"), site.watch("web-2")
    first.check()
    service.monitor(site.context.settings, now=site.now)
    first.check()
    assert site.events == []
    site.wait(3600)
    for _ in range(2):
        first.check()
        second.check()
        site.wait(RETRY_SECONDS + 1)
    assert site.events == ["monitor_stale"]
    service.monitor(site.context.settings, now=site.now)
    assert site.events == ["monitor_stale", "monitor_back"]
    subjects = [document["subject"] for document in site.arrivals.documents]
    assert len(set(subjects)) == 1
    assert site.arrivals.documents[1]["is_resolution"]


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_the_thread_lives_as_long_as_the_service_and_survives_errors(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It starts with the application, ends with it, and is none where nobody receives alerts."""
    looks: list[int] = []
    is_over = threading.Event()

    def fail(_: HostWatch) -> None:
        looks.append(1)
        if len(looks) == 3:
            is_over.set()
        raise RuntimeError

    monkeypatch.setattr(host_watch, "CHECK_SECONDS", 0.01)
    monkeypatch.setattr(HostWatch, "check", fail)
    with TestClient(service.create_app(site.context.settings)):
        assert is_over.wait(60)
        assert "stillsafe-alerts" in [thread.name for thread in threading.enumerate()]
    assert "stillsafe-alerts" not in [thread.name for thread in threading.enumerate()]
    quiet = site.context.settings.model_copy(update={"alerts": ()})
    with TestClient(service.create_app(quiet)):
        assert "stillsafe-alerts" not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_the_watch_never_runs_the_monitor(site: Site) -> None:
    """A look at a healthy store writes nothing."""
    run.run(site.context.engine, site.context.settings, now=site.now, score=None)
    site.watch().check()
    assert site.outbox() == []
    assert not list(site.context.settings.folder.glob("*.outage*"))


def test_a_store_that_cannot_be_written_is_out(site: Site, healthy_rows: list[dict[str, float]]) -> None:
    """A full disk can be read: requests get an error, or a server's rows wait in the spool, until there is room."""
    context, watch = site.context, site.watch()
    requests = [PredictionRequest({**healthy_rows[0]})]
    refuse_inserts(context.engine, "prediction_logs")
    with nullcontext() if context.failover else pytest.raises(StoreError):
        answer_requests(context, requests)
    for _ in range(2):
        if context.failover is not None:
            context.failover.check()
        watch.check()
        site.wait(OUTAGE_SECONDS)
    assert site.events == ["store_out"]
    accept_inserts(context.engine, "prediction_logs")
    answer_requests(context, requests)
    if context.failover is not None:
        context.failover.check()
    HostWatch(context, "web-2", lambda: site.seconds).check()
    assert site.events == ["store_out", "store_back"]
    subjects = {document["subject"] for document in site.arrivals.documents}
    assert len(subjects) == 1  # whoever ends it, it is the same outage
