"""A backtest makes the decisions of the live monitor over a table, and scores the answers."""

import math
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stillsafe.backtest.history import read_history
from stillsafe.backtest.result import FALLBACK, MODEL, Backtest, Basis
from stillsafe.backtest.scoring import BacktestContext
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.schema import Row
from stillsafe.core.score import Score
from stillsafe.core.signals import Evidence
from stillsafe.core.state import Severity, State
from stillsafe.errors import ConfigurationError
from stillsafe.monitoring import run
from stillsafe.settings import parse
from stillsafe.store import database
from stillsafe.store.read.state import current_state
from stillsafe.store.records import PredictionRecord, RefusalRecord
from stillsafe.store.write.baselines import insert_baseline, mark_active
from stillsafe.store.write.predictions import append_predictions, append_refusals
from tests.backtest.histories import backtest_context, classify, past, run_backtest, without_sizes
from tests.monitoring.conftest import DOCUMENT, START, STEP

COUNT, SECONDS = 4_800, 2.0  # 300 requests in ten minutes
MISSING_SIZES = (1_500, 3_000)


def live(folder: Path, table: pd.DataFrame, context: BacktestContext) -> list[run.Run]:
    """Log the same traffic in a store, and run the monitor every ten minutes."""
    schema, engine = context.settings.schema_of_features, database.connect(f"sqlite:///{folder / 'live.db'}")
    database.upgrade(engine)
    with database.writing(engine) as connection:
        insert_baseline(connection, context.baseline)
        mark_active(connection, context.baseline)
    history = read_history(table, schema)
    rows = [dict(zip(history.columns, values, strict=True)) for values in zip(*history.columns.values(), strict=True)]
    times = [at.to_pydatetime() for at in table["timestamp"]]
    now, live_runs, row_number = START, [], 0
    while row_number < len(rows):
        now += STEP
        with database.reading(engine) as connection:
            state = result.state if (result := current_state(connection)) else State.NORMAL
        records: list[PredictionRecord] = []
        refusals: list[RefusalRecord] = []
        while row_number < len(rows) and times[row_number] < now:
            row = schema.validate(rows[row_number])
            if isinstance(row, dict):
                records.append(_prediction(f"p{row_number}", times[row_number], row, state))
            else:
                refusals.append(RefusalRecord(times[row_number], "1", (("floor", "wrong_type"),)))
            row_number += 1
        with database.writing(engine) as connection:
            append_predictions(connection, records)
            append_refusals(connection, refusals)
        live_runs.append(run.run(engine, context.settings, now=now, score=classify))
    engine.dispose()
    return live_runs


def _prediction(name: str, at: Any, row: Row, state: State) -> PredictionRecord:
    by_fallback = state is State.DEGRADED
    (score,) = classify([row])
    return PredictionRecord(
        name,
        at,
        "1",
        state,
        row,
        score.text or "",
        None if by_fallback else score.confidence,
        by_fallback,
        "synthetic",
        None,
    )


def test_a_backtest_decides_as_the_live_monitor_does(tmp_path: Path) -> None:
    """Every run by time has the window, readings and state of a live run over the same logged traffic.

    The traffic has overlapping windows, fresh rows, refusals, shadow scores, an incident and its recovery.
    """
    table, context = without_sizes(past(COUNT, every_seconds=SECONDS), *MISSING_SIZES), backtest_context(tmp_path)
    table["floor"] = table["floor"].astype(object)
    table.loc[4_000:4_100, "floor"] = "cellar"
    result, live_runs = run_backtest(table, context), live(tmp_path, table, context)
    assert result.basis is Basis.TIME
    assert {run.state for run in result.runs} == set(State)
    assert result.runs[-1].state is State.NORMAL
    assert result.refused_count == 101
    require_same(result, live_runs)


def require_same(result: Backtest, live_runs: list[run.Run], origin: timedelta = timedelta(0)) -> None:
    """Each run has the window, the readings and the decision of the live one, from another origin of times."""
    assert len(result.runs) == len(live_runs)
    for past_run, live_run in zip(result.runs, live_runs, strict=True):
        assert live_run.window is not None
        assert live_run.decision is not None
        times = live_run.window.start - origin, live_run.window.end - origin
        assert (past_run.window_start, past_run.window_end) == times
        assert past_run.prediction_count == live_run.window.total.prediction_count
        assert past_run.refusal_count == live_run.window.total.refusal_count
        assert past_run.shadow == live_run.window.shadow
        assert past_run.evidence is live_run.decision.evidence
        assert past_run.severity is live_run.decision.severity
        assert past_run.readings == live_run.decision.readings
        assert past_run.reason == live_run.decision.reason
        assert past_run.state is live_run.decision.memory.effective_state


def test_a_backtest_of_thin_traffic_decides_as_the_live_monitor_does(tmp_path: Path) -> None:
    """Between dense hours a run gets 20 rows: both carry them until enough have come together, and find the fault."""
    dense, thin = past(1_800, every_seconds=4.0), past(240, every_seconds=30.0, seed=6)
    thin["timestamp"] += dense["timestamp"].iloc[-1] - thin["timestamp"].iloc[0] + timedelta(seconds=30)
    table = without_sizes(pd.concat([dense, thin], ignore_index=True), 1_860, 2_040)
    context = backtest_context(tmp_path)
    result, live_runs = run_backtest(table, context), live(tmp_path, table, context)
    assert result.basis is Basis.TIME
    require_same(result, live_runs)
    thin_runs = result.runs[12:]
    assert {Evidence.INSUFFICIENT, Evidence.BAD} <= {one.evidence for one in thin_runs}


@pytest.mark.parametrize("rows_per_run", [5, 20, 45])
def test_runs_of_few_rows_decide_as_the_live_monitor_does(tmp_path: Path, rows_per_run: int) -> None:
    """By rows as well: whatever few rows a run gets, they are judged once they are enough, and a fault is found."""
    context = backtest_context(tmp_path, monitor={"window": 600, "every": 600})
    count = 60 * rows_per_run if rows_per_run < 20 else 24 * rows_per_run
    table = without_sizes(past(count), count // 3, count)
    result = run_backtest(table, context, rows_per_run=rows_per_run)
    index = pd.Series(range(count))
    offset = index // rows_per_run * 600_000_000 + index % rows_per_run * 600_000_000 // rows_per_run
    live_runs = live(tmp_path, table.assign(timestamp=START + pd.to_timedelta(offset, unit="us")), context)
    require_same(result, live_runs, START - result.runs[0].window_start)
    assert any(one.evidence is Evidence.OK for one in result.runs)
    assert result.runs[-1].state is not State.NORMAL
    assert result.notices == ()


def test_the_fallback_is_compared_over_the_bypassed_runs(tmp_path: Path) -> None:
    """After DEGRADED the served score is the fallback's; the comparison covers these runs alone."""
    result = run_backtest(without_sizes(past(4_800), *MISSING_SIZES), backtest_context(tmp_path), rows_per_run=300)
    assert result.metric is Metric.ACCURACY
    for one in result.runs:
        assert one.decided_by == (FALLBACK if one.state_before is State.DEGRADED else MODEL)
        assert one.served_score == (one.fallback_score if one.decided_by == FALLBACK else one.model_score)
    bypassed_runs = [one for one in result.runs if one.decided_by == FALLBACK]
    assert result.price is not None
    assert (result.price.run_count, result.price.row_count) == (len(bypassed_runs), 300 * len(bypassed_runs))
    model = sum(one.model_score or 0 for one in bypassed_runs) / len(bypassed_runs)
    fallback = sum(one.fallback_score or 0 for one in bypassed_runs) / len(bypassed_runs)
    assert result.price.model_score == pytest.approx(model)
    assert result.price.difference == pytest.approx(fallback - model)
    assert result.price.healthy_score == 1.0
    assert result.price.lost == pytest.approx(1.0 - model)


def test_rules_that_read_a_damaged_feature_are_skipped(tmp_path: Path) -> None:
    """As in serving, the fallback skips rules that read a feature which the incident names."""
    table = past(3_000).assign(label=1)
    table.loc[1_000:, "floor"] = 40
    context = backtest_context(tmp_path, fallback={"default": 1, "rules": [{"when": "floor > 20", "answer": 0}]})
    result = run_backtest(table, context, rows_per_run=250)
    assert "unseen_category_rate:floor" in result.incidents[-1].trigger_signals
    detection_run = result.incidents[-1].first_run
    scores = {one.number > detection_run: one.fallback_score for one in result.runs[4:]}
    assert scores == {False: 0.0, True: 1.0}


def test_runs_by_rows_do_not_overlap(tmp_path: Path) -> None:
    """Every row is in one run, in the order of the file, and the last run has the remaining rows."""
    result = run_backtest(past(1_030), backtest_context(tmp_path), rows_per_run=100)
    assert result.basis is Basis.ROWS
    assert [one.prediction_count for one in result.runs] == [*[100] * 10, 30]
    assert [one.number for one in result.runs] == list(range(1, 12))
    assert all(a.window_end == b.window_start for a, b in zip(result.runs, result.runs[1:], strict=False))
    assert result.runs[-1].evidence is Evidence.INSUFFICIENT
    assert result.conclusive_rate == pytest.approx(10 / 11)


def test_sparse_histories_run_by_rows_with_a_notice(tmp_path: Path) -> None:
    """Without times, or if most windows by time are too small, a run has 500 rows, and there is a notice."""
    context = backtest_context(tmp_path)
    for table, why in ((past(1_200), "no times"), (past(1_200, every_seconds=600), "rows that a run needs")):
        result = run_backtest(table, context)
        assert (result.basis, result.rows_per_run, len(result.runs)) == (Basis.ROWS, 500, 3)
        assert why in result.notices[0]
    assert run_backtest(past(1_200), context, rows_per_run=500).notices == ()
    first_run = run_backtest(past(1_200, every_seconds=600), context).runs[0]
    assert (first_run.data_from, first_run.data_until) == (START, START + timedelta(seconds=499 * 600))


def test_rows_are_sorted_by_time(tmp_path: Path) -> None:
    """A shuffled file gives the same runs."""
    table, context = without_sizes(past(COUNT, every_seconds=SECONDS), *MISSING_SIZES), backtest_context(tmp_path)
    assert run_backtest(table.sample(frac=1, random_state=3), context) == run_backtest(table, context)


def test_a_healthy_history_has_no_alarm(tmp_path: Path) -> None:
    """It has no incident, no suggested limit and no score difference of the fallback."""
    result = run_backtest(past(10_000, seed=9), backtest_context(tmp_path))
    assert (result.alarm_rate, result.critical_rate, result.degraded_rate, result.degraded_count) == (0, 0, 0, 0)
    assert (result.incidents, result.suggested_limits, result.suggested_toml) == ((), (), ())
    assert result.price is not None
    assert (result.price.run_count, result.price.difference, result.price.total_model_score) == (0, None, 1.0)


def test_an_incident_has_its_runs(tmp_path: Path) -> None:
    """It lasts from detection to recovery, with the highest severity and the number of runs by the fallback."""
    result = run_backtest(without_sizes(past(4_800), *MISSING_SIZES), backtest_context(tmp_path), rows_per_run=300)
    (incident,) = result.incidents
    assert (incident.first_run, incident.severity, incident.start) == (
        7,
        Severity.CRITICAL,
        result.runs[6].window_end,
    )
    assert incident.end == result.runs[incident.last_run - 1].window_end
    assert incident.fallback_run_count == sum(one.decided_by == FALLBACK for one in result.runs)
    assert "missing_rate:size" in incident.trigger_signals
    assert result.degraded_count == 1
    assert result.relapse_count == 0


def test_a_relapse_is_counted(tmp_path: Path) -> None:
    """A degradation soon after a recovery is a relapse."""
    table = without_sizes(without_sizes(past(9_000), 1_500, 3_000), 4_500, 6_000)
    result = run_backtest(table, backtest_context(tmp_path), rows_per_run=300)
    assert (result.degraded_count, result.relapse_count) == (2, 1)


def test_injected_faults_are_timed(tmp_path: Path) -> None:
    """Faults start at `inject_from`, earlier runs do not change, and the result has the time to detection."""
    table, context = past(6_000), backtest_context(tmp_path)
    result = run_backtest(table, context, rows_per_run=500, inject=["nulls:size"], inject_from=0.5)
    healthy = run_backtest(table, context, rows_per_run=500)
    assert [one.injected for one in result.runs] == [False] * 6 + [True] * 6
    assert result.runs[:6] == healthy.runs[:6]
    assert result.injection is not None
    assert (result.injection.first_run, result.injection.state_before) == (7, State.NORMAL)
    assert (result.injection.runs_to_warning, result.injection.runs_to_degraded) == (2, 3)
    assert result.injection.faults == ("nulls:size",)
    assert result.suggested_limits == ()  # judged on the part before
    assert healthy.injection is None


def test_a_shift_moves_the_labels_with_the_rows(tmp_path: Path) -> None:
    """A shift does not corrupt data, so the model's score stays the same."""
    result = run_backtest(past(4_000), backtest_context(tmp_path), rows_per_run=500, inject=["shift:size"])
    assert {one.model_score for one in result.runs} == {1.0}
    assert result.runs[-1].fallback_score == 0.0  # the far end of the sizes is all 1


def test_suggested_limits_suppress_the_alarms(tmp_path: Path) -> None:
    """With the suggested limits at most 1% of the runs of the same history deviate by these signals."""
    table = past(10_000)
    for start in range(0, 10_000, 2_000):
        table.loc[start : start + 90, "size"] = math.nan
    result = run_backtest(table, backtest_context(tmp_path), rows_per_run=500)
    assert "missing_rate" in {limit.signal for limit in result.suggested_limits}
    for limit in result.suggested_limits:
        assert limit.moderate_now <= limit.moderate
        assert limit.severe is None or limit.moderate <= limit.severe
        assert limit.bad_rate >= 0.25
    policy = tomllib.loads("\n".join(result.suggested_toml))
    second_result = run_backtest(table, backtest_context(tmp_path, policy=policy), rows_per_run=500)
    assert second_result.runs != result.runs
    assert not any(reading.evidence is Evidence.BAD for one in second_result.runs for reading in one.readings)


def test_a_regressor_is_measured_by_its_error(tmp_path: Path) -> None:
    """Without classes the score is the mean absolute error, and the fallback is worse if its error is larger."""
    table = past(2_400)
    table["label"] = table["size"] + 2.0
    table = without_sizes(table, 1_200, 2_400)

    def regress(rows: Sequence[Row]) -> list[Score]:
        answers = [50.0 if row["size"] is None else float(row["size"]) for row in rows]
        return [Score(a, s.confidence, None, None) for a, s in zip(answers, classify(rows), strict=True)]

    context = replace(backtest_context(tmp_path, classes=(), fallback={"default": 0.0}), score=regress)
    result = run_backtest(table, context, rows_per_run=300)
    assert result.metric is Metric.MEAN_ABSOLUTE_ERROR
    assert result.runs[0].model_score == pytest.approx(2.0)
    assert result.price is not None
    assert result.price.difference is not None
    assert result.price.difference > 10


def test_a_row_that_the_model_fails_on_is_answered_by_the_fallback(tmp_path: Path) -> None:
    """As in serving, a failure affects its row alone, is counted, and does not count as a wrong prediction."""

    def fail(rows: Sequence[Row]) -> list[Score]:
        return [
            Score(None, None, None, "raised ValueError") if row["town"] == "A" else s
            for row, s in zip(rows, classify(rows), strict=True)
        ]

    table = past(1_000)
    result = run_backtest(table, replace(backtest_context(tmp_path), score=fail), rows_per_run=500)
    reading = next(r for r in result.runs[0].readings if r.key == "model_error_rate")
    assert reading.value == pytest.approx((table["town"][:500] == "A").mean())
    wrong = ((table["town"] == "A") & (table["label"] == 1))[:500].mean()
    assert result.runs[0].model_score == pytest.approx(1 - wrong)
    assert any("fails on" in notice for notice in result.notices)


def test_hashed_features_prevent_shadow_scores(tmp_path: Path) -> None:
    """If the log lacks what the model needs, bypassed rows have no confidence, as in the live monitor."""
    features = [
        {"name": "size", "type": "numeric", "required": False},
        {"name": "floor", "type": "integer", "required": False},
        {"name": "lift", "type": "boolean", "required": False},
        {"name": "town", "type": "category", "required": False, "log": "hash"},
    ]
    service_settings = parse({**DOCUMENT, "features": features}, folder=tmp_path)
    result = run_backtest(
        without_sizes(past(2_400), 600, 2_400),
        replace(backtest_context(tmp_path), settings=service_settings),
        rows_per_run=300,
    )
    bypassed_runs = [one for one in result.runs if one.decided_by == FALLBACK]
    assert bypassed_runs
    assert all(one.avg_confidence is None and not one.shadow for one in bypassed_runs)


def test_without_labels_there_are_no_scores(tmp_path: Path) -> None:
    """The rules need no labels, and an unknown score is None."""
    result = run_backtest(past(1_000).drop(columns="label"), backtest_context(tmp_path), rows_per_run=500)
    assert (result.metric, result.price) == (None, None)
    assert {(one.model_score, one.fallback_score, one.served_score) for one in result.runs} == {(None, None, None)}


def test_progress_is_reported(tmp_path: Path) -> None:
    """Each stage is named, and its fraction grows up to 1."""
    reports: list[tuple[str, float | None]] = []
    run_backtest(
        past(1_000),
        backtest_context(tmp_path),
        rows_per_run=100,
        progress=lambda stage, fraction: reports.append((stage, fraction)),
    )
    assert list(dict.fromkeys(stage for stage, _ in reports)) == ["Checking rows", "Scoring rows", "Evaluating runs"]
    assert reports[-1][1] == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows_per_run": 0}, "at least one row"),
        ({"inject": ["nulls:size"], "inject_from": 1.0}, "not a position in the history"),
        ({"inject": ["nonsense"]}, "not a valid injection"),
        ({"inject": ["nulls:label"]}, "is the label"),
        ({"inject": ["nulls:nothing"]}, "no feature 'nothing'"),
    ],
    ids=["rows", "from", "fault", "label", "feature"],
)
def test_invalid_arguments_are_rejected(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    """One sentence explains the mistake, before anything is scored."""
    with pytest.raises(ConfigurationError, match=message):
        run_backtest(past(200), backtest_context(tmp_path), **options)


def test_a_history_that_the_schema_refuses_is_rejected(tmp_path: Path) -> None:
    """If no row is valid, the most frequent violation is named."""
    table = past(200)
    table["floor"] = "cellar"
    with pytest.raises(ConfigurationError, match=r"refuses all 200 rows, most often because of floor"):
        run_backtest(table, backtest_context(tmp_path))
