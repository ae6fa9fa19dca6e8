"""What Prometheus scrapes: counters of every worker, and gauges read from the database at scrape time.

Whichever worker answers the scrape, it tells the same. Where there are several, their counts lie in a folder that
`serve` names in the environment: prometheus_client looks there when it is imported.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from stillsafe.core.state import State
from stillsafe.errors import StoreError
from stillsafe.serving.failover import Outage
from stillsafe.serving.predict import Answered, Context
from stillsafe.serving.problems import Wrong
from stillsafe.store.read.baselines import is_watched
from stillsafe.store.read.incidents import explanation_failure_count, recent_incidents, unexplained_steps
from stillsafe.store.read.state import StateRecord, current_state

COUNTS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Metrics:
    """The counters of one app.

    Attributes:
        scraped: everything that a scrape is told.
    """

    scraped: CollectorRegistry
    by_model: Counter
    by_fallback: Counter
    refusals: Counter
    model_errors: Counter
    store_errors: Counter
    one_seconds: Histogram
    batch_seconds: Histogram

    def answered(self, answered: Sequence[Answered]) -> None:
        """Count answers, and the model's failures among them."""
        by_fallback = sum(each.fallback_used for each in answered)
        if by_fallback:
            self.by_fallback.inc(by_fallback)
        self.by_model.inc(len(answered) - by_fallback)
        for each in answered if by_fallback else ():
            if each.model_error is not None:
                self.model_errors.labels(each.model_error).inc()

    def refused(self, wrong: Sequence[Wrong]) -> None:
        """Count one refused request under each kind of error it held."""
        for kind in sorted({each.kind for each in wrong}):
            self.refusals.labels(kind).inc()

    def text(self) -> bytes:
        """Everything, in Prometheus's text format."""
        return generate_latest(self.scraped)


def build(context: Context) -> Metrics:
    """Counters from zero, and gauges of the context's store."""
    scraped = registry = CollectorRegistry()
    if folder := os.environ.get(COUNTS_VARIABLE):
        scraped = CollectorRegistry()
        MultiProcessCollector(scraped, path=folder)  # type: ignore[no-untyped-call]
    answers = Counter("stillsafe_answers", "Answers recorded and sent.", ["decided_by"], registry=registry)
    seconds = Histogram(
        "stillsafe_request_seconds",
        "Time to answer or refuse a prediction request.",
        ["endpoint"],
        buckets=BUCKETS,
        registry=registry,
    )
    made = Metrics(
        scraped,
        answers.labels("model"),
        answers.labels("fallback"),
        Counter("stillsafe_refusals", "Requests refused, per kind of error they held.", ["kind"], registry=registry),
        Counter("stillsafe_model_errors", "Rows on which the model failed.", ["error"], registry=registry),
        Counter("stillsafe_store_errors", "Requests that the store could not serve.", registry=registry),
        seconds.labels("predict"),
        seconds.labels("batch"),
    )
    scraped.register(_StoredState(context))
    return made


class _StoredState(Collector):
    """Gauges that say what the database says now."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def describe(self) -> Iterable[Metric]:
        """Nothing in advance: registering must not need the database."""
        return []

    def collect(self) -> Iterable[Metric]:
        """The gauges; of those of the database only `stillsafe_store_up`, at 0, where it cannot be read."""
        if self._context.outage is not None:
            told = "Entries on this host's disk that the database does not have yet; -1 where the spool is unreadable."
            yield _gauge("stillsafe_spooled_rows", told, _spooled(self._context.outage))
        try:
            record, watched, unresolved, explained = self._stored()
        except StoreError:
            yield _gauge("stillsafe_store_up", "Whether the database can be read.", 0)
            return
        yield _gauge("stillsafe_store_up", "Whether the database can be read.", 1)
        yield _state_gauge(record.state if record else State.NORMAL)
        stale = record is None or record.stale(self._context.clock())
        yield _gauge("stillsafe_monitor_stale", "Whether the monitor is dead or has never run.", stale)
        yield _gauge("stillsafe_held", "Whether an operator holds the state.", record is not None and record.held)
        yield _gauge("stillsafe_watched", "Whether the served version has an active baseline.", watched)
        yield _gauge("stillsafe_incidents_unresolved", "Incidents not resolved.", unresolved)
        told = "Attempts to have an incident explained by the language model that failed."
        yield _gauge("stillsafe_explanation_failures", told, explained.failures)
        told = "Steps of incidents that the language model has yet to explain."
        yield _gauge("stillsafe_explanations_pending", told, explained.pending)
        if record is not None and record.checked_at is not None:
            told = "End of the last run's window, in Unix time."
            yield _gauge("stillsafe_last_monitor_run_timestamp_seconds", told, record.checked_at.timestamp())

    def _stored(self) -> tuple[StateRecord | None, bool, int, "_Explained"]:
        with self._context.reading() as connection:
            record = current_state(connection)
            watched = is_watched(connection, self._context.model.version)
            unresolved = len(recent_incidents(connection, 1000, unresolved_only=True))
            asked = self._context.settings.observer.use == "llm"
            pending = len(unexplained_steps(connection)) if asked else 0
            return record, watched, unresolved, _Explained(pending, explanation_failure_count(connection))


@dataclass(frozen=True, slots=True)
class _Explained:
    """How the language model fares."""

    pending: int
    failures: int


def _spooled(outage: Outage) -> int:
    try:
        return outage.spool.count()
    except StoreError:
        return -1


def _gauge(name: str, told: str, value: float) -> Metric:
    return GaugeMetricFamily(name, told, value=float(value))


def _state_gauge(state: State) -> Metric:
    gauge = GaugeMetricFamily("stillsafe_state", "1 for the state that is obeyed, 0 for the others.", labels=["state"])
    for each in State:
        gauge.add_metric([each.value], float(each is state))
    return gauge
