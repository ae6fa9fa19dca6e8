"""The windows of a backtest's runs, counted as the live monitor counts the prediction log."""

import math
from dataclasses import replace

import numpy as np

from stillsafe.backtest.history import datetime_of, micros_of
from stillsafe.backtest.run_schedule import MICROS
from stillsafe.backtest.scoring import BacktestContext, ScoredHistory
from stillsafe.core.evidence.slots import composed_baseline
from stillsafe.core.state import Memory
from stillsafe.core.window import Window
from stillsafe.monitoring.columns import SHADOW_DIGITS, Columns
from stillsafe.monitoring.disclosure import window_tally
from stillsafe.monitoring.local_time import fresh_slots
from stillsafe.monitoring.log_format import LogFormat
from stillsafe.monitoring.tally import tally


class WindowCounter:
    """Counts windows over a scored history and records which rows the fallback answered.

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

    def mark_bypassed(self, rows: slice) -> None:
        """Record that the fallback answered these rows."""
        self._is_bypassed[rows] = True

    def window(self, end: int, memory: Memory) -> Window:
        """Count the window that ends at `end`, in microseconds since 1970."""
        history, start = self._history, end - self._length
        fresh_start = start if memory.last_conclusive_at is None else max(start, micros_of(memory.last_conclusive_at))
        bounds = [start, fresh_start, end]
        first, first_fresh, stop = np.searchsorted(history.times, bounds).tolist()
        first_refusal, first_fresh_refusal, refusal_stop = np.searchsorted(history.refusal_times, bounds).tolist()
        columns = self._columns(first, stop)
        is_fresh = np.arange(first, stop) >= first_fresh
        slots = fresh_slots(replace(columns, fresh=is_fresh), self._context.baseline)
        baseline = self._log_format.comparable_baseline(composed_baseline(self._context.baseline, slots))
        all_fresh = first_fresh == first and first_fresh_refusal == first_refusal
        total = window_tally(tally(columns, baseline, refusal_stop - first_refusal), self._min_count)
        fresh_refusals = refusal_stop - first_fresh_refusal
        return Window(
            datetime_of(start),
            datetime_of(end),
            self._context.settings.model.version,
            total=total,
            fresh=total
            if all_fresh
            else window_tally(tally(columns, baseline, fresh_refusals, is_fresh), self._min_count),
            shadow=self._can_shadow_score and bool(self._is_bypassed[first:stop].any()),
            silent_seconds=self._silent_seconds(end, stop, refusal_stop),
            slot_counts=slots,
            min_count=self._min_count,
        )

    def _columns(self, first: int, stop: int) -> Columns:
        """The rows of a window. Bypassed rows get shadow scores if the logged features allow it, else no prediction."""
        columns, is_bypassed = self._history.columns[first:stop], self._is_bypassed[first:stop]
        if not is_bypassed.any():
            return columns
        fallback_used = columns.fallback_used | is_bypassed
        if self._can_shadow_score:
            confidences = np.where(is_bypassed, self._shadow_confidences[first:stop], columns.confidences)
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
