"""Estimated and realised loss of the monitor's windows whose labels have come."""

import math
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Connection, Engine

from stillsafe.core.baseline import Baseline
from stillsafe.core.decide import decide
from stillsafe.core.evidence.impact import PerformanceImpact
from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.core.evidence.score_table import ScoreOrigin, ScoreTable
from stillsafe.core.policy import Policy
from stillsafe.core.signals import Evidence, Level, Reading, Signal
from stillsafe.core.state import Memory
from stillsafe.core.window import Tally, Window
from stillsafe.model.estimate_report import estimate_account, estimate_unit, estimate_windows, window_account
from stillsafe.store import database
from stillsafe.store.read.row_selection import RowMarks
from stillsafe.store.read.runs import figures_before
from stillsafe.store.write.baselines import insert_baseline
from stillsafe.store.write.decisions import RunRows, record_run
from stillsafe.store.write.labels import append_labels
from stillsafe.store.write.predictions import append_predictions
from tests.dashboard.story import healthy
from tests.store.conftest import at, empty, engine, prediction

__all__ = ["empty", "engine"]
HARM = PerformanceImpact(Metric.ACCURACY, True, 0.1, 0.4, {}, row_count=4000)
BASELINE: Baseline = replace(healthy(), harm=HARM)


def record(
    connection: Connection,
    minute: int,
    loss: float | None,
    harm: PerformanceImpact = HARM,
    signal: Signal | None = None,
) -> None:
    """A run over ten minutes with an estimated loss."""
    window = Window(at(minute - 10), at(minute), "1", Tally(), Tally())
    decision = decide(Policy(), BASELINE, window, Memory())
    signal = signal or (Signal.ESTIMATED_ACCURACY_LOSS if harm is HARM else Signal.ESTIMATED_ERROR_GROWTH)
    reading = Reading(signal, None, Evidence.OK, Level.NONE, loss, 0.0, 0.02, 0.0375, 300, standard_error=0.01)
    decision = replace(decision, readings=() if loss is None else (reading,))
    record_run(connection, Policy(), window, Memory(), decision, RunRows(RowMarks(), RowMarks()), enforce=True)


def answers(connection: Connection, first: int, minute: int, right: int, count: int = 100) -> None:
    """Labelled answers of a minute, some of them right."""
    records = [prediction(first + each, at(minute) + timedelta(seconds=each / 2)) for each in range(count)]
    append_predictions(connection, records)
    labels = [(str(each.prediction_id), "yes" if index < right else "no") for index, each in enumerate(records)]
    append_labels(connection, labels, at(60))


@pytest.fixture
def log(engine: Engine) -> Engine:
    """Two labelled windows, one without labels, one without an estimate."""
    with database.writing(engine) as connection:
        insert_baseline(connection, BASELINE)
        answers(connection, 0, 5, 88)
        answers(connection, 1000, 15, 60)
        answers(connection, 2000, 35, 90)
        for minute, loss in ((10, 0.01), (20, 0.02), (30, 0.0), (40, None)):
            record(connection, minute, loss)
    return engine


def test_each_labelled_window_has_both_losses(log: Engine) -> None:
    """In order of time, in the unit of the estimate; windows without labels or without an estimate are left out."""
    with database.reading(log) as connection:
        windows = estimate_windows(connection, "1")
        account = estimate_account(connection, "1")
        assert estimate_windows(connection, "2") == []
    assert [(each.end, each.label_count, each.estimated_loss) for each in windows] == [
        (at(10), 100, 0.01),
        (at(20), 100, 0.02),
    ]
    assert [each.realised_loss for each in windows] == pytest.approx([0.02, 0.3])
    assert [each.is_within for each in windows] == [True, False]
    assert account is not None
    assert (account.unit, account.window_count, account.within_count) == ("points", 2, 1)


def test_the_growth_of_an_error_is_a_share(engine: Engine) -> None:
    """A regressor's realised loss is a share of its healthy error, as its estimate is."""
    harm = replace(HARM, metric=Metric.MEAN_ABSOLUTE_ERROR, healthy_error=2.0)
    with database.writing(engine) as connection:
        insert_baseline(connection, replace(BASELINE, harm=harm))
        records = [replace(prediction(each, at(5)), prediction=10.0) for each in range(50)]
        append_predictions(connection, records)
        append_labels(connection, [(str(each.prediction_id), "13.0") for each in records], at(60))
        record(connection, 10, 0.4, harm)
        [window] = estimate_windows(connection, "1")
        assert estimate_unit(connection, "1") == "growth"
    assert window.realised_loss == pytest.approx(0.5)


def test_without_runs_there_is_no_account(engine: Engine) -> None:
    """Nor a unit of its own."""
    with database.reading(engine) as connection:
        assert (estimate_account(connection, "1"), estimate_unit(connection, "1")) == (None, "loss")


@pytest.mark.parametrize(
    ("definition", "loss"),
    [
        (MetricDefinition(Metric.AUC, "yes"), 1 - 5 / 6 - 0.1),
        (MetricDefinition(Metric.RECALL, "yes", 0.6), 0.5 - 0.1),
        (MetricDefinition(Metric.LOG_LOSS), (-math.log(0.9) - math.log(0.55) - 2 * math.log(0.7)) / 4 - 0.1),
    ],
)
def test_a_metric_of_scores_is_held_to_account(engine: Engine, definition: MetricDefinition, loss: float) -> None:
    """By the scores in the log: two positives at 0.9 and 0.55, two negatives of which one is above the lower one."""
    table = ScoreTable(ScoreOrigin.PROBABILITY, "yes", ("no", "yes"), (0.5,))
    harm = replace(HARM, metric=definition.metric, definition=definition, score_table=table)
    rows = [("yes", 0.9, "yes"), ("yes", 0.55, "yes"), ("no", 0.7, "no"), ("no", 0.7, "no")]
    if definition.metric is Metric.AUC:
        rows = [("yes", 0.9, "yes"), ("yes", 0.55, "yes"), ("yes", 0.6, "no"), ("no", 0.7, "no"), ("no", 0.8, "no")]
    with database.writing(engine) as connection:
        insert_baseline(connection, replace(BASELINE, harm=harm))
        records = [
            replace(
                prediction(each, at(5)),
                prediction=rows[each % len(rows)][0],
                confidence_score=rows[each % len(rows)][1],
            )
            for each in range(10 * len(rows))
        ]
        append_predictions(connection, records)
        labels = [(str(each.prediction_id), rows[number % len(rows)][2]) for number, each in enumerate(records)]
        append_labels(connection, labels, at(60))
        record(connection, 10, 0.05, harm, Signal.ESTIMATED_METRIC_LOSS)
        [window] = estimate_windows(connection, "1")
    assert window.realised_loss == pytest.approx(loss)
    assert window.realised_error > 0


def test_without_scores_in_the_log_there_is_no_account(engine: Engine) -> None:
    """Several classes, a study of an older version, and labels of one class show no loss of such a metric."""
    with database.writing(engine) as connection:
        answers(connection, 0, 5, 100)
        record(connection, 10, 0.05, HARM, Signal.ESTIMATED_METRIC_LOSS)
        [run] = figures_before(connection, "1", None, 1)
        auc = replace(HARM, metric=Metric.AUC, definition=MetricDefinition(Metric.AUC, "yes"))
        tables = [None, *(ScoreTable(origin, "yes", ("no", "yes"), (0.5,)) for origin in ScoreOrigin)]
        for table in tables:
            harm = replace(auc, score_table=table)
            assert window_account(connection, run, replace(BASELINE, harm=harm)) is None
