"""The result of a backtest: frozen values. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from stillsafe.core.evidence.metric import Metric
from stillsafe.core.signals import Evidence, Reading
from stillsafe.core.state import Severity, State

FALLBACK, MODEL = "fallback", "model"


class Basis(StrEnum):
    """What defines the window of a run."""

    TIME = "time"
    """An interval of time, as in the live monitor."""
    ROWS = "rows"
    """A fixed number of rows."""


@dataclass(frozen=True, slots=True)
class BacktestRun:
    """One run: what the live monitor would have decided, and the scores of the rows since the previous run.

    Attributes:
        number: from 1.
        window_start, window_end: aware UTC; artificial consecutive intervals where runs are by rows.
        data_from, data_until: times of the first and the last request since the previous run, or None if unknown.
        prediction_count, refusal_count: in the window.
        evidence, severity, reason, readings: of the decision.
        state, state_before: after and before the run.
        decided_by: who would have answered the requests since the previous run: `model` or `fallback`.
        shadow: whether this run used shadow scores of bypassed rows.
        injected: whether any request since the previous run has an injected fault.
        avg_confidence, low_confidence_rate: over the window, or None without any confidence.
        labelled_count: rows since the previous run with a known label; the scores are over these rows.
        model_score: if the model had answered; all three scores are None without labels.
        fallback_score: if the fallback had answered.
        served_score: of whichever would have answered.
    """

    number: int
    window_start: datetime
    window_end: datetime
    data_from: datetime | None
    data_until: datetime | None
    prediction_count: int
    refusal_count: int
    evidence: Evidence
    severity: Severity
    state: State
    state_before: State
    readings: tuple[Reading, ...]
    reason: str
    decided_by: str
    shadow: bool
    injected: bool
    avg_confidence: float | None
    low_confidence_rate: float | None
    labelled_count: int
    model_score: float | None
    fallback_score: float | None
    served_score: float | None

    @property
    def conclusive(self) -> bool:
        """Whether the evidence sufficed for a conclusion."""
        return self.evidence is not Evidence.INSUFFICIENT


@dataclass(frozen=True, slots=True)
class BacktestIncident:
    """One incident that the live monitor would have opened.

    Attributes:
        incident_id: the id that the live monitor would have assigned.
        start, end: window ends of the runs that opened and resolved it; `end` is None if the history ends first.
        first_run, last_run: numbers of these runs; the last run of the history if the incident is unresolved.
        severity: the highest.
        reason: at the highest severity.
        resolution: how it was resolved, or None.
        trigger_signals: keys of the readings that caused it, at the highest severity.
        fallback_run_count: runs that the fallback would have answered.
    """

    incident_id: str
    start: datetime
    end: datetime | None
    first_run: int
    last_run: int
    severity: Severity
    reason: str
    resolution: str | None
    trigger_signals: tuple[str, ...]
    fallback_run_count: int


@dataclass(frozen=True, slots=True)
class SignalSummary:
    """One signal over all runs.

    Attributes:
        key: the signal and its feature.
        bad_rate: fraction of the conclusive runs in which it deviated, in [0, 1].
        largest_ratio: largest deviation divided by the moderate limit; above 1 the signal deviates.
    """

    key: str
    bad_rate: float
    largest_ratio: float | None


@dataclass(frozen=True, slots=True)
class FallbackComparison:
    """Scores of fallback and model over the labelled rows of the runs that the fallback would have answered.

    Attributes:
        run_count, row_count: number of these runs and labelled rows; the scores are None if there are none.
        model_score, fallback_score: if the model, or the fallback, had answered.
        difference: `fallback_score - model_score`: above 0 the fallback is better for accuracy, worse for an error.
        healthy_score: the model's in calm NORMAL runs without injected faults, or None without any.
        lost: how much worse the model is in the bypassed runs than `healthy_score`, or None if unknown.
        total_model_score, total_served_score: over all labelled rows of the history.
    """

    run_count: int
    row_count: int
    model_score: float | None
    fallback_score: float | None
    difference: float | None
    healthy_score: float | None
    lost: float | None
    total_model_score: float | None
    total_served_score: float | None


@dataclass(frozen=True, slots=True)
class SuggestedLimit:
    """Limits of one signal under which at most 1% of the conclusive runs would deviate by it.

    Attributes:
        signal: its name in `[policy]`.
        moderate, severe: suggested; `severe` is None for a signal that has no severe limit.
        moderate_now, severe_now: in force.
        bad_rate: fraction of the conclusive runs in which the signal deviates now, in [0, 1].
    """

    signal: str
    moderate: float
    severe: float | None
    moderate_now: float
    severe_now: float | None
    bad_rate: float


@dataclass(frozen=True, slots=True)
class InjectionOutcome:
    """Which faults were injected, and how many runs it took to detect them.

    Attributes:
        faults: as requested.
        share: where in the history they start, as a fraction of its rows in [0, 1).
        first_run: number of the first run with injected faults.
        state_before: the state before that run.
        runs_to_warning, runs_to_degraded: runs from `first_run` (inclusive) until the state was WARNING or worse, and
            DEGRADED; None if it never was, 1 if it already was.
    """

    faults: tuple[str, ...]
    share: float
    first_run: int
    state_before: State
    runs_to_warning: int | None
    runs_to_degraded: int | None


@dataclass(frozen=True, slots=True)
class Backtest:
    """What the monitoring rules would have done on a history.

    Attributes:
        service, model_version, baseline_id: what was evaluated, and against which baseline.
        basis: what defines the window of a run.
        rows_per_run: if runs are by rows, else None.
        window_seconds, every_seconds: window length and interval if runs are by time, else None.
        row_count, refused_count: rows of the history, and those that the schema refuses.
        metric: of all scores, or None without labels.
        runs, incidents: in time order.
        conclusive_rate: fraction of the runs with sufficient evidence, in [0, 1].
        alarm_rate, critical_rate: fraction of the conclusive runs with severity WARNING or worse, and CRITICAL.
        degraded_rate: fraction of the runs in DEGRADED, in [0, 1].
        degraded_count, relapse_count: how often DEGRADED was entered, and how often soon after a recovery.
        signals: one summary per evaluated signal, the largest deviation rate first.
        price: the fallback comparison, or None without labels.
        suggested_limits, suggested_toml: as values, and as lines for `[policy]`.
        injection: None without injected faults.
        notices: caveats of this backtest, one sentence each.
    """

    service: str
    model_version: str
    baseline_id: str
    basis: Basis
    rows_per_run: int | None
    window_seconds: float | None
    every_seconds: float | None
    row_count: int
    refused_count: int
    metric: Metric | None
    runs: tuple[BacktestRun, ...]
    incidents: tuple[BacktestIncident, ...]
    conclusive_rate: float
    alarm_rate: float
    critical_rate: float
    degraded_rate: float
    degraded_count: int
    relapse_count: int
    signals: tuple[SignalSummary, ...]
    price: FallbackComparison | None
    suggested_limits: tuple[SuggestedLimit, ...]
    suggested_toml: tuple[str, ...]
    injection: InjectionOutcome | None
    notices: tuple[str, ...]
