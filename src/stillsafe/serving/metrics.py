"""Prometheus metrics: counters of all workers, and gauges that are read from the database at scrape time.

Every worker answers a scrape with the same figures. Several workers keep their counts in a folder that `serve` names
in the environment; prometheus_client reads that variable at import.
"""

import os
from collections import Counter as Counts
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from stillsafe.core.schema import Violation
from stillsafe.core.state import State
from stillsafe.errors import StoreError
from stillsafe.judging import VersionCondition, version_conditions
from stillsafe.label_summary import LabelSummary, RecentSummaries, recent_summary
from stillsafe.serving.failover import Failover
from stillsafe.serving.predict import Context
from stillsafe.serving.prediction_request import IdConflict
from stillsafe.serving.run_metrics import build_gauges, run_gauges
from stillsafe.store.prediction_columns import PredictionColumns
from stillsafe.store.read.baselines import is_watched
from stillsafe.store.read.incidents import explanation_failure_count, recent_incidents, unexplained_steps
from stillsafe.store.read.request_id import duplicate_count
from stillsafe.store.read.state import StateRecord
from stillsafe.store.records import PredictionRecord

COUNTS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class Metrics:
    """The counters of one app.

    Attributes:
        registry: all metrics that a scrape returns.
        by_model, by_fallback: answers, by who gave them.
        refusals: refused requests, by kind of error.
        model_errors: rows on which the model failed, by kind of failure.
        store_errors: requests that the store could not serve.
        synthetic_requests: requests that their clients marked as synthetic, answered or refused.
        repeated_requests: retries, which got a stored answer.
        id_conflicts: requests with the id of another one.
        predict_seconds, batch_seconds, infer_seconds, record_seconds: time to answer or refuse a request.
        key_requests: requests by the name of their key and by what became of them, where clients need one.
    """

    registry: CollectorRegistry
    by_model: Counter
    by_fallback: Counter
    refusals: Counter
    model_errors: Counter
    store_errors: Counter
    synthetic_requests: Counter
    repeated_requests: Counter
    id_conflicts: Counter
    predict_seconds: Histogram
    batch_seconds: Histogram
    infer_seconds: Histogram
    record_seconds: Histogram
    key_requests: Counter

    def count_replies(self, replies: Sequence[PredictionRecord | IdConflict]) -> None:
        """Count new answers, stored ones, and ids that belong to other requests."""
        if isinstance(replies, PredictionColumns):
            self.by_model.inc(len(replies))
            self.synthetic_requests.inc(len(replies) if replies.common.synthetic else 0)
            return
        records = [reply for reply in replies if isinstance(reply, PredictionRecord) and not reply.is_repeat]
        if len(records) < len(replies):
            conflict_count = sum(isinstance(reply, IdConflict) for reply in replies)
            self.id_conflicts.inc(conflict_count)
            self.repeated_requests.inc(len(replies) - len(records) - conflict_count)
        if records:
            self.count_answers(records)

    def count_answers(self, records: Sequence[PredictionRecord]) -> None:
        """Count answers, and the model's failures among them."""
        by_fallback = sum(record.fallback_used for record in records)
        if by_fallback:
            self.by_fallback.inc(by_fallback)
        self.by_model.inc(len(records) - by_fallback)
        if synthetic_count := sum(record.synthetic for record in records):
            self.synthetic_requests.inc(synthetic_count)
        for record in records if by_fallback else ():
            if record.model_error is not None:
                self.model_errors.labels(record.model_error).inc()

    def count_refusals(self, refusals: Sequence[Sequence[Violation]]) -> None:
        """Count refused requests, each once for each kind of error in it."""
        counts = Counts(kind for violations in refusals for kind in {violation.kind for violation in violations})
        for kind in sorted(counts):
            self.refusals.labels(kind).inc(counts[kind])

    def text(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self.registry)


def build(context: Context) -> Metrics:
    """Counters from zero, and gauges of the context's store."""
    scrape_registry = registry = CollectorRegistry()
    if folder := os.environ.get(COUNTS_VARIABLE):
        scrape_registry = CollectorRegistry()
        MultiProcessCollector(scrape_registry, path=folder)  # type: ignore[no-untyped-call]
    answers = Counter("stillsafe_answers", "Answers recorded and sent.", ["decided_by"], registry=registry)
    seconds = Histogram(
        "stillsafe_request_seconds",
        "Time to answer or refuse a prediction request.",
        ["endpoint"],
        buckets=BUCKETS,
        registry=registry,
    )
    metrics = Metrics(
        scrape_registry,
        answers.labels("model"),
        answers.labels("fallback"),
        Counter("stillsafe_refusals", "Requests refused, per kind of error in them.", ["kind"], registry=registry),
        Counter("stillsafe_model_errors", "Rows on which the model failed.", ["error"], registry=registry),
        Counter("stillsafe_store_errors", "Requests that the store could not serve.", registry=registry),
        Counter("stillsafe_synthetic_requests", "Instances marked as synthetic by their clients.", registry=registry),
        Counter("stillsafe_repeated_requests", "Retries of an id that got the stored answer.", registry=registry),
        Counter("stillsafe_id_conflicts", "Requests whose id belongs to another request.", registry=registry),
        seconds.labels("predict"),
        seconds.labels("batch"),
        seconds.labels("infer"),
        seconds.labels("record"),
        Counter("stillsafe_key_requests", "Requests by key and result.", ["key", "result"], registry=registry),
    )
    scrape_registry.register(_StoreGauges(context))
    return metrics


class _StoreGauges(Collector):
    """Gauges that are read from the database at each scrape."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._summaries = RecentSummaries(self._read_summaries)

    def describe(self) -> Iterable[Metric]:
        """No names in advance, because registering must not need the database."""
        return []

    def collect(self) -> Iterable[Metric]:
        """The gauges. While the database cannot be read, only `stillsafe_store_up` at 0 and the spool's gauge."""
        if self._context.failover is not None:
            help_text = "Entries on this host's disk that the database lacks; -1 if the spool cannot be read."
            yield _gauge("stillsafe_spooled_rows", help_text, _spool_count(self._context.failover))
        try:
            gauges = self._read()
        except StoreError:
            yield _gauge("stillsafe_store_up", "Whether the database can be read.", 0)
            return
        yield _gauge("stillsafe_store_up", "Whether the database can be read.", 1)
        yield from gauges

    def _read(self) -> list[Metric]:
        with self._context.reading() as connection:
            context, now = self._context, self._context.clock()
            served_version = version_conditions(
                connection, context.settings.policy, context.model.version, now
            ).served_version
            watched = is_watched(connection, self._context.model.version)
            incident_count = len(recent_incidents(connection, 1000, unresolved_only=True))
            uses_llm = self._context.settings.observer.use == "llm"
            pending_count = len(unexplained_steps(connection)) if uses_llm else 0
            failure_count = explanation_failure_count(connection)
            duplicates = duplicate_count(connection)
        duplicates_help = "Answers in the log whose id another answer had already: an outage kept both."
        failures_help = "Failed attempts of the language model to explain an incident."
        pending_help = "Steps of incidents that the language model has yet to explain."
        return [
            *self._state_gauges(served_version.record.state),
            *_judging_gauges(served_version, now),
            *run_gauges(served_version.record.last_run),
            *build_gauges(self._context.model),
            _gauge("stillsafe_request_duplicates", duplicates_help, duplicates),
            _gauge("stillsafe_watched", "Whether the served version has an active baseline.", watched),
            _gauge("stillsafe_incidents_unresolved", "Incidents not resolved.", incident_count),
            _gauge("stillsafe_explanation_failures", failures_help, failure_count),
            _gauge("stillsafe_explanations_pending", pending_help, pending_count),
            *_label_gauges(self._summaries(now)),
        ]

    def _read_summaries(self, now: datetime) -> list[LabelSummary]:
        with self._context.reading() as connection:
            summary = recent_summary(connection, now, self._context.model.version)
        return [] if summary is None else [summary]

    def _state_gauges(self, record: StateRecord | None) -> Iterable[Metric]:
        current = record.state if record else State.NORMAL
        states = GaugeMetricFamily("stillsafe_state", "1 for the current state, 0 for the others.", labels=["state"])
        for state in State:
            states.add_metric([state.value], float(state is current))
        yield states
        stale = record is None or record.stale(self._context.clock())
        yield _gauge("stillsafe_monitor_stale", "Whether the monitor has stopped or has never run.", stale)
        yield _gauge("stillsafe_held", "Whether an operator holds the state.", record is not None and record.held)
        if record is not None and record.checked_at is not None:
            help_text = "End of the last run's window, in Unix time."
            yield _gauge("stillsafe_last_monitor_run_timestamp_seconds", help_text, record.checked_at.timestamp())


def _label_gauges(summaries: Sequence[LabelSummary]) -> Iterator[Metric]:
    """Labels of the served version's answers of the last seven days, and what they show."""
    for summary in summaries:
        yield _gauge("stillsafe_labelled_answers", "Answers of the last 7 days with a label.", summary.label_count)
        if summary.coverage is not None:
            yield _gauge("stillsafe_label_coverage", "Share of the answers of the last 7 days.", summary.coverage)
        if summary.delay_seconds is not None:
            help_text = "Mean time from request to label, of the answers of the last 7 days."
            yield _gauge("stillsafe_label_delay_seconds", help_text, summary.delay_seconds)
        if summary.value is not None:
            help_text = "By the labels of the last 7 days: accuracy, or mean absolute error."
            gauge = GaugeMetricFamily("stillsafe_realised_performance", help_text, labels=["metric"])
            gauge.add_metric([summary.metric], summary.value)
            yield gauge


def _judging_gauges(served_version: VersionCondition, now: datetime) -> Iterator[Metric]:
    """Whether the served version is judged, and which rows its last run found late or could no longer judge."""
    yield _gauge(
        "stillsafe_judged", "Whether runs still reach conclusions about the served version.", served_version.judged
    )
    if served_version.judged_at is not None:
        help_text = "Time since the end of the last conclusive run's window."
        age_seconds = (now - served_version.judged_at).total_seconds()
        yield _gauge("stillsafe_last_conclusive_run_age_seconds", help_text, age_seconds)
    if (run := served_version.record.last_run) is not None:
        late_help = "Rows of the last run that came after an earlier run had covered their time."
        yield _gauge("stillsafe_last_run_late_rows", late_help, run.late_count or 0)
        never_judged_help = "Rows that grew too old before any run judged them, by the last run."
        yield _gauge("stillsafe_last_run_never_judged_rows", never_judged_help, run.expired_count or 0)


def _spool_count(failover: Failover) -> int:
    try:
        return failover.spool.count()
    except StoreError:
        return -1


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help_text, value=float(value))
