"""A history is validated and scored once, as the service would log it in state NORMAL."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stillsafe.backtest.history import read_history
from stillsafe.backtest.scoring import SCORING_CHUNK, score_history, score_rows
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.schema import Row
from stillsafe.core.score import Score
from stillsafe.errors import ConfigurationError
from stillsafe.progress import no_progress
from tests.backtest.histories import backtest_context, classify, past


def test_refused_rows_are_separated_from_valid_ones(tmp_path: Path) -> None:
    """Every row is either valid, with its label and time, or a refusal with its time."""
    context, table = backtest_context(tmp_path), past(100)
    table["floor"] = table["floor"].astype(object)
    table.loc[10:19, "floor"] = "cellar"
    history = read_history(table, context.settings.schema_of_features)
    times = np.arange(100, dtype=np.int64)
    scored_history = score_history(history, context, times, times >= 50, no_progress)
    assert scored_history.refusal_times.tolist() == list(range(10, 20))
    assert scored_history.times.tolist() == [*range(10), *range(20, 100)]
    assert len(scored_history.rows) == len(scored_history.labels) == len(scored_history.columns) == 90
    assert scored_history.labels == [label for i, label in enumerate(table["label"].tolist()) if not 10 <= i < 20]
    assert (scored_history.request_times, scored_history.injection_start) == (None, 50)


def test_rows_without_labels_have_no_scores(tmp_path: Path) -> None:
    """Labels are None and scores NaN; without injected faults there is no start of an injection."""
    context = backtest_context(tmp_path)
    history = read_history(past(50).drop(columns="label"), context.settings.schema_of_features)
    times = np.arange(50, dtype=np.int64)
    scored_history = score_history(history, context, times, np.zeros(50, np.bool_), no_progress)
    assert set(scored_history.labels) == {None}
    assert np.isnan(scored_history.row_scores).all()
    assert scored_history.injection_start is None


def test_rows_are_scored_in_chunks(tmp_path: Path) -> None:
    """No call of the model has more rows than the chunk, and the results are in the order of the rows."""
    sizes: list[int] = []

    def score(rows: Sequence[Row]) -> list[Score]:
        sizes.append(len(rows))
        return classify(rows)

    context = replace(backtest_context(tmp_path), score=score)
    count = SCORING_CHUNK + 7
    history = read_history(past(count), context.settings.schema_of_features)
    times = np.arange(count, dtype=np.int64)
    scored_history = score_history(history, context, times, np.zeros(count, np.bool_), no_progress)
    assert sizes == [SCORING_CHUNK, 7]
    assert set(scored_history.row_scores.tolist()) == {1.0}


def test_a_model_failure_is_logged_as_an_answer_of_the_fallback(tmp_path: Path) -> None:
    """The row has a model error, no confidence and no score."""
    context = replace(backtest_context(tmp_path), score=lambda rows: [Score(None, None, None, "raised")] * len(rows))
    history = read_history(past(20), context.settings.schema_of_features)
    times = np.arange(20, dtype=np.int64)
    scored_history = score_history(history, context, times, np.zeros(20, np.bool_), no_progress)
    assert scored_history.columns.model_errors.all()
    assert scored_history.columns.fallback_used.all()
    assert np.isnan(scored_history.columns.confidences).all()
    assert np.isnan(scored_history.row_scores).all()


def test_a_history_without_a_valid_row_is_rejected(tmp_path: Path) -> None:
    """The message names the most frequent violation."""
    context = backtest_context(tmp_path)
    history = read_history(past(5).assign(floor="cellar"), context.settings.schema_of_features)
    with pytest.raises(ConfigurationError, match=r"refuses all 5 rows, most often because of floor"):
        score_history(history, context, np.arange(5, dtype=np.int64), np.zeros(5, np.bool_), no_progress)


def test_predictions_are_scored_by_the_metric() -> None:
    """Accuracy is 1 or 0, the error is absolute, and a missing prediction or label is NaN."""
    accuracy = score_rows(["a", "b", None, "a"], ["a", "a", "a", None], Metric.ACCURACY)
    assert accuracy[:2].tolist() == [1.0, 0.0]
    assert all(map(math.isnan, accuracy[2:]))
    errors = score_rows([1.0, 3, None, 2.0], [2.5, 1, 1.0, None], Metric.MEAN_ABSOLUTE_ERROR)
    assert errors[:2].tolist() == [1.5, 2.0]
    assert all(map(math.isnan, errors[2:]))


def test_the_metric_follows_from_the_classes(tmp_path: Path) -> None:
    """A model with classes is measured by accuracy, one without by its error."""
    assert backtest_context(tmp_path).metric is Metric.ACCURACY
    assert backtest_context(tmp_path, classes=(), fallback={"default": 0.0}).metric is Metric.MEAN_ABSOLUTE_ERROR
