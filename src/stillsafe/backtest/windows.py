"""The windows of a backtest's runs, counted as the live monitor counts the prediction log."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stillsafe.backtest.history import Micros, datetime_of, micros_of
from stillsafe.backtest.run_schedule import MICROS
from stillsafe.backtest.scoring import BacktestContext, ScoredHistory
from stillsafe.core.evidence.measures import leaves_predictions
from stillsafe.core.evidence.slots import composed_baseline
from stillsafe.core.policy import Policy
from stillsafe.core.signals import Evidence
from stillsafe.core.window import Window
from stillsafe.monitoring.columns import SHADOW_DIGITS, Columns
from stillsafe.monitoring.disclosure import window_tally
from stillsafe.monitoring.local_time import fresh_slots
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.tally import tally


@dataclass(frozen=True, slots=True)
class _Selection:
    """Requests of one kind that a run reads, as positions in time order.

    Attributes:
        judged_rows: those of the window that earlier runs have judged.
        fresh: those that no run has judged, carried ones included.
        oldest_unread: the first that no run has judged and that is not too old, or None.
        expired_count: those that grew too old, or were too many, before any run judged them.
    """

    judged_rows: slice
    fresh: slice
    oldest_unread: int | None
    expired_count: int

    @property
    def count(self) -> int:
        """All requests that the run reads."""
        return _length(self.judged_rows) + _length(self.fresh)

    def positions(self) -> slice | NDArray[np.intp]:
        """The positions of all of them."""
        if self.judged_rows.stop == self.fresh.start or not _length(self.judged_rows):
            return slice(self.judged_rows.start if _length(self.judged_rows) else self.fresh.start, self.fresh.stop)
        return np.concatenate([np.arange(each.start, each.stop) for each in (self.judged_rows, self.fresh)])


class _Queue:
    """Which requests of one kind earlier runs have judged: those that no conclusive run has judged are carried.

    Args:
        times: (n,) of the requests, in order, in microseconds.
        policy: how long and how many are carried.
    """

    def __init__(self, times: Micros, policy: Policy) -> None:
        self._times, self._policy = times, policy
        self._judged_end = self._read_end = 0

    def select(self, start: int, end: int) -> _Selection:
        """What the run over a window reads."""
        carry_start = end - round(self._policy.max_carry_seconds * MICROS)
        first, first_carried, stop = np.searchsorted(self._times, [start, carry_start, end]).tolist()
        oldest = max(self._judged_end, first_carried)
        first_fresh = max(oldest, stop - self._policy.max_carry_predictions)
        # A first run has not watched the requests before its span, so it does not count them as missed.
        expired_count = first_fresh - self._judged_end if self._read_end else 0
        judged_rows = slice(min(first, self._judged_end), self._judged_end)
        return _Selection(
            judged_rows, slice(first_fresh, stop), oldest if oldest < stop else None, max(0, expired_count)
        )

    def settle(self, selection: _Selection, *, is_judged: bool) -> None:
        """What a run leaves: one that judges none of its fresh requests carries them."""
        self._judged_end = selection.fresh.stop if is_judged else selection.fresh.start
        self._read_end = selection.fresh.stop


def _length(span: slice) -> int:
    return max(0, int(span.stop) - int(span.start))


class WindowCounter:
    """Counts windows over a scored history and records which rows were judged, and which the fallback answered.

    Args:
        context: the settings and the baseline.
        history: scored.
        length: of a window, in microseconds.
    """

    def __init__(self, context: BacktestContext, history: ScoredHistory, length: int) -> None:
        log_format = LogFormat.of(context.settings)
        columns = log_format.comparable_columns(history.columns, context.baseline)
        self._context, self._history, self._length = context, replace(history, columns=columns), length
        self._log_format = log_format
        self._min_count = log_format.min_count
        self._can_shadow_score = context.settings.schema_of_features.scorable_from_log
        self._shadow_confidences = np.round(history.columns.confidences, SHADOW_DIGITS)
        self._is_bypassed = np.zeros(len(history.rows), dtype=np.bool_)
        policy = context.settings.policy
        self._rows, self._refusals = _Queue(history.times, policy), _Queue(history.refusal_times, policy)

    def mark_bypassed(self, rows: slice) -> None:
        """Record that the fallback answered these rows."""
        self._is_bypassed[rows] = True

    def settle(self, window: Window, evidence: Evidence) -> None:
        """Record what the run over a window judged; what it did not is carried to the next one."""
        start, end = micros_of(window.end) - self._length, micros_of(window.end)
        is_conclusive = evidence is not Evidence.INSUFFICIENT
        is_judged = is_conclusive and not leaves_predictions(self._context.settings.policy, window)
        self._rows.settle(self._rows.select(start, end), is_judged=is_judged)
        self._refusals.settle(self._refusals.select(start, end), is_judged=is_conclusive)

    def window(self, end: int) -> Window:
        """Count the window that ends at `end`, in microseconds since 1970."""
        start = end - self._length
        rows, refusals = self._rows.select(start, end), self._refusals.select(start, end)
        positions = rows.positions()
        columns = self._columns(positions)
        is_fresh = np.arange(len(columns)) >= _length(rows.judged_rows)
        slots = fresh_slots(replace(columns, fresh=is_fresh), self._context.baseline)
        baseline = self._log_format.comparable_baseline(composed_baseline(self._context.baseline, slots))
        total = window_tally(tally(columns, baseline, refusals.count), self._min_count)
        fresh_refusals = _length(refusals.fresh)
        fresh = (
            replace(total, refusal_count=fresh_refusals)
            if is_fresh.all()
            else window_tally(tally(columns, baseline, fresh_refusals, is_fresh), self._min_count)
        )
        times, refusal_times = self._history.times, self._history.refusal_times
        oldest_fresh = [int(times[rows.fresh.start])] if _length(rows.fresh) else []
        oldest_unread = [
            int(each[selection.oldest_unread])
            for each, selection in ((times, rows), (refusal_times, refusals))
            if selection.oldest_unread is not None
        ]
        return Window(
            datetime_of(min(start, *oldest_fresh)) if oldest_fresh else datetime_of(start),
            datetime_of(end),
            self._context.settings.model.version,
            total=total,
            fresh=fresh,
            shadow=self._can_shadow_score and bool(self._is_bypassed[positions].any()),
            silent_seconds=self._silent_seconds(end, int(rows.fresh.stop), int(refusals.fresh.stop)),
            oldest_unjudged_at=datetime_of(min(oldest_unread)) if oldest_unread else None,
            expired_count=rows.expired_count,
            slot_counts=slots,
            min_count=self._min_count,
        )

    def _columns(self, positions: slice | NDArray[np.intp]) -> Columns:
        """The rows of a window. Bypassed rows get shadow scores if the logged features allow it, else no prediction."""
        columns, is_bypassed = self._history.columns[positions], self._is_bypassed[positions]
        if not is_bypassed.any():
            return columns
        fallback_used = columns.fallback_used | is_bypassed
        if self._can_shadow_score:
            confidences = np.where(is_bypassed, self._shadow_confidences[positions], columns.confidences)
            return replace(columns, confidences=confidences, fallback_used=fallback_used)
        return replace(
            columns,
            confidences=np.where(is_bypassed, math.nan, columns.confidences),
            predictions=columns.predictions.without(is_bypassed),
            model_errors=columns.model_errors & ~is_bypassed,
            fallback_used=fallback_used,
        )

    def _silent_seconds(self, end: int, row_stop: int, refusal_stop: int) -> float | None:
        """Seconds between the last request before `end` and `end`; None if there was no request."""
        last_times = [int(self._history.times[row_stop - 1])] if row_stop else []
        last_times += [int(self._history.refusal_times[refusal_stop - 1])] if refusal_stop else []
        return (end - max(last_times)) / MICROS if last_times else None
