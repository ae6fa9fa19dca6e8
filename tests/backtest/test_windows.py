"""A window has the rows of its interval, its fresh rows, and shadow scores for the rows that the fallback answered."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from stillsafe.backtest.history import datetime_of, read_history
from stillsafe.backtest.run_schedule import MICROS
from stillsafe.backtest.scoring import BacktestContext, score_history
from stillsafe.backtest.windows import WindowCounter
from stillsafe.core.state import Memory
from stillsafe.progress import no_progress
from stillsafe.settings import parse
from tests.backtest.histories import backtest_context, past
from tests.monitoring.conftest import DOCUMENT

ROWS = 100


@pytest.fixture
def context(tmp_path: Path) -> BacktestContext:
    return backtest_context(tmp_path)


def counter(context: BacktestContext, *, length_seconds: int = 40, refuse_last: bool = False) -> WindowCounter:
    """Windows over 100 rows, one per second from second 0."""
    table = past(ROWS)
    if refuse_last:
        table["floor"] = table["floor"].astype(object)
        table.loc[ROWS - 1, "floor"] = "cellar"
    history = read_history(table, context.settings.schema_of_features)
    times = np.arange(ROWS, dtype=np.int64) * MICROS
    scored_history = score_history(history, context, times, np.zeros(ROWS, np.bool_), no_progress)
    return WindowCounter(context, scored_history, length_seconds * MICROS)


def test_a_window_is_half_open(context: BacktestContext) -> None:
    """The row at its start belongs to it, the row at its end does not."""
    window = counter(context).window(60 * MICROS, Memory())
    assert (window.start, window.end) == (datetime_of(20 * MICROS), datetime_of(60 * MICROS))
    assert window.total.prediction_count == 40
    assert window.fresh == window.total
    assert window.silent_seconds == 1.0


def test_rows_since_the_last_conclusive_run_are_fresh(context: BacktestContext) -> None:
    """Only rows after the last conclusive run count as fresh, and all of them if that run is before the window."""
    windows = counter(context)
    memory = Memory(last_conclusive_at=datetime_of(50 * MICROS))
    window = windows.window(60 * MICROS, memory)
    assert (window.total.prediction_count, window.fresh.prediction_count) == (40, 10)
    old_memory = replace(memory, last_conclusive_at=datetime_of(0) - timedelta(days=1))
    assert windows.window(60 * MICROS, old_memory).fresh.prediction_count == 40


def test_refusals_count_and_end_a_silence(context: BacktestContext) -> None:
    """A refused request is a request; before the first request the silence is unknown."""
    windows = counter(context, refuse_last=True)
    window = windows.window(ROWS * MICROS, Memory())
    assert (window.total.refusal_count, window.total.prediction_count) == (1, 39)
    assert window.silent_seconds == 1.0
    assert windows.window(0, Memory()).silent_seconds is None


def test_bypassed_rows_get_shadow_scores(context: BacktestContext) -> None:
    """They count as answers of the fallback and keep the model's confidence."""
    windows = counter(context)
    healthy = windows.window(60 * MICROS, Memory())
    windows.mark_bypassed(slice(30, 60))
    window = windows.window(60 * MICROS, Memory())
    assert (healthy.shadow, window.shadow) == (False, True)
    assert (healthy.total.fallback_count, window.total.fallback_count) == (0, 30)
    assert window.total.confidence_count == healthy.total.confidence_count == 40
    assert window.total.avg_confidence == pytest.approx(healthy.total.avg_confidence)


def test_without_shadow_scores_bypassed_rows_have_no_prediction(context: BacktestContext, tmp_path: Path) -> None:
    """If a feature is hashed, the log does not suffice for the model."""
    features = [{"name": "town", "type": "category", "required": False, "log": "hash"}, *DOCUMENT["features"][:-1]]
    names = [feature["name"] for feature in features]
    assert sorted(names) == sorted(feature["name"] for feature in DOCUMENT["features"])
    settings = parse({**DOCUMENT, "features": features}, folder=tmp_path)
    windows = counter(replace(context, settings=settings))
    windows.mark_bypassed(slice(30, 60))
    window = windows.window(60 * MICROS, Memory())
    assert not window.shadow
    assert (window.total.prediction_count, window.total.confidence_count) == (40, 10)
    assert sum(window.total.prediction_counts.values()) == 10
