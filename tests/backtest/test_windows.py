"""A window has the rows of its interval, its fresh rows, and shadow scores for the rows that the fallback answered."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stillsafe.backtest.history import datetime_of, read_history
from stillsafe.backtest.run_schedule import MICROS
from stillsafe.backtest.scoring import BacktestContext, score_history
from stillsafe.backtest.windows import WindowCounter
from stillsafe.core.signals import Evidence
from stillsafe.progress import no_progress
from stillsafe.settings import parse
from tests.backtest.histories import backtest_context, past
from tests.monitoring.conftest import DOCUMENT

ROWS = 100
FEW_ROWS = {"min_predictions": 15, "min_fresh_predictions": 15}


@pytest.fixture
def context(tmp_path: Path) -> BacktestContext:
    return backtest_context(tmp_path, policy=FEW_ROWS)


def counter(context: BacktestContext, *, judged_to: int = 0, refuse_last: bool = False) -> WindowCounter:
    """Windows of 40 seconds over 100 rows, one per second from second 0, with those up to a second judged already."""
    table = past(ROWS)
    if refuse_last:
        table["floor"] = table["floor"].astype(object)
        table.loc[ROWS - 1, "floor"] = "cellar"
    history = read_history(table, context.settings.schema_of_features)
    times = np.arange(ROWS, dtype=np.int64) * MICROS
    scored_history = score_history(history, context, times, np.zeros(ROWS, np.bool_), no_progress)
    windows = WindowCounter(context, scored_history, 40 * MICROS)
    if judged_to:
        windows.settle(windows.window(judged_to * MICROS), Evidence.OK)
    return windows


def test_a_window_is_half_open(context: BacktestContext) -> None:
    """The row at its start belongs to it, the row at its end does not."""
    window = counter(context, judged_to=20).window(60 * MICROS)
    assert (window.start, window.end) == (datetime_of(20 * MICROS), datetime_of(60 * MICROS))
    assert window.total.prediction_count == 40
    assert window.fresh == window.total
    assert window.silent_seconds == 1.0


def test_rows_that_no_run_has_judged_are_fresh(context: BacktestContext) -> None:
    """A conclusive run judges its rows; those of an inconclusive one are carried, and the window reaches back to them.

    Rows that are judged already count in the window as long as they are in it.
    """
    windows = counter(context)
    windows.settle(windows.window(30 * MICROS), Evidence.INSUFFICIENT)
    later_window = windows.window(60 * MICROS)
    assert (later_window.start, later_window.end) == (datetime_of(0), datetime_of(60 * MICROS))
    assert later_window.oldest_unjudged_at == datetime_of(0)
    assert later_window.fresh == later_window.total
    assert later_window.total.prediction_count == 60
    windows.settle(later_window, Evidence.OK)
    window = windows.window(80 * MICROS)
    assert (window.total.prediction_count, window.fresh.prediction_count) == (40, 20)
    assert (window.start, window.oldest_unjudged_at) == (datetime_of(40 * MICROS), datetime_of(60 * MICROS))


def test_refusals_alone_judge_no_predictions(context: BacktestContext) -> None:
    """A run that is bad by its refusals judges these, and carries the few predictions beside them."""
    windows = counter(context, refuse_last=True)
    windows.settle(windows.window(10 * MICROS), Evidence.BAD)
    assert windows.window(40 * MICROS).fresh.prediction_count == 40
    windows.settle(windows.window(ROWS * MICROS), Evidence.BAD)
    later = windows.window((ROWS + 1) * MICROS)
    assert (later.fresh.prediction_count, later.fresh.refusal_count, later.total.refusal_count) == (0, 0, 1)


def test_rows_are_carried_as_long_and_as_many_as_the_policy_says(tmp_path: Path) -> None:
    """Older ones and more of them are never judged, which the window counts, but for those before the first run."""
    monitor = {"window": 40, "every": 40, "max_carry": 50}
    windows = counter(backtest_context(tmp_path, monitor=monitor, policy={"max_carry_predictions": 45}))
    first = windows.window(40 * MICROS)
    windows.settle(first, Evidence.INSUFFICIENT)
    window = windows.window(80 * MICROS)
    assert (first.expired_count, window.expired_count) == (0, 35)
    assert (window.fresh.prediction_count, window.start) == (45, datetime_of(35 * MICROS))
    assert window.oldest_unjudged_at == datetime_of(30 * MICROS)


def test_refusals_count_and_end_a_silence(context: BacktestContext) -> None:
    """A refused request is a request; before the first request the silence is unknown."""
    windows = counter(context, judged_to=60, refuse_last=True)
    window = windows.window(ROWS * MICROS)
    assert (window.total.refusal_count, window.total.prediction_count) == (1, 39)
    assert window.silent_seconds == 1.0
    assert windows.window(0).silent_seconds is None


def test_bypassed_rows_get_shadow_scores(context: BacktestContext) -> None:
    """They count as answers of the fallback and keep the model's confidence."""
    windows = counter(context, judged_to=20)
    healthy = windows.window(60 * MICROS)
    windows.mark_bypassed(slice(30, 60))
    window = windows.window(60 * MICROS)
    assert (healthy.shadow, window.shadow) == (False, True)
    assert (healthy.total.fallback_count, window.total.fallback_count) == (0, 30)
    assert window.total.confidence_count == healthy.total.confidence_count == 40
    assert window.total.avg_confidence == pytest.approx(healthy.total.avg_confidence)


def test_without_shadow_scores_bypassed_rows_have_no_prediction(context: BacktestContext, tmp_path: Path) -> None:
    """If a feature is hashed, the log does not suffice for the model."""
    features = [{"name": "town", "type": "category", "required": False, "log": "hash"}, *DOCUMENT["features"][:-1]]
    names = [feature["name"] for feature in features]
    assert sorted(names) == sorted(feature["name"] for feature in DOCUMENT["features"])
    settings = parse({**DOCUMENT, "features": features, "policy": FEW_ROWS}, folder=tmp_path)
    windows = counter(replace(context, settings=settings), judged_to=20)
    windows.mark_bypassed(slice(30, 60))
    window = windows.window(60 * MICROS)
    assert not window.shadow
    assert (window.total.prediction_count, window.total.confidence_count) == (40, 10)
    assert sum(window.total.prediction_counts.values()) == 10
