"""A backtest is the live monitor over a table: same windows, same decisions, and what the answers were worth."""

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
from stillsafe.backtest.result import FALLBACK, MODEL, Basis
from stillsafe.backtest.scoring import Judges, Scored
from stillsafe.core.evidence.impact import Metric
from stillsafe.core.schema import Row
from stillsafe.core.signals import Evidence
from stillsafe.core.state import Severity, State
from stillsafe.errors import ConfigurationError
from stillsafe.monitoring import run
from stillsafe.settings import parse
from stillsafe.store import database
from stillsafe.store.read.state import current_state
from stillsafe.store.write.baselines import insert_baseline, mark_active
from stillsafe.store.write.predictions import PredictionRecord, RefusalRecord, append_predictions, append_refusals
from tests.backtest.pasts import broken, classify, judges, past, played
from tests.monitoring.conftest import DOCUMENT, START, STEP

COUNT, SECONDS = 4_800, 2.0  # 300 requests in ten minutes
LOST = (1_500, 3_000)


def live(folder: Path, table: pd.DataFrame, by: Judges) -> list[run.Run]:
    """The same traffic logged in a real store, and a real monitoring run every ten minutes."""
    schema, engine = by.settings.schema_of_features, database.connect(f"sqlite:///{folder / 'live.db'}")
    database.upgrade(engine)
    with database.writing(engine) as connection:
        insert_baseline(connection, by.baseline)
        mark_active(connection, by.baseline)
    history = read_history(table, schema)
    rows = [dict(zip(history.columns, values, strict=True)) for values in zip(*history.columns.values(), strict=True)]
    times = [at.to_pydatetime() for at in table["timestamp"]]
    now, done, sent = START, [], 0
    while sent < len(rows):
        now += STEP
        with database.reading(engine) as connection:
            state = found.state if (found := current_state(connection)) else State.NORMAL
        records: list[PredictionRecord] = []
        refusals: list[RefusalRecord] = []
        while sent < len(rows) and times[sent] < now:
            row = schema.validate(rows[sent])
            if isinstance(row, dict):
                records.append(_logged(f"p{sent}", times[sent], row, state))
            else:
                refusals.append(RefusalRecord(times[sent], "1", (("floor", "wrong_type"),)))
            sent += 1
        with database.writing(engine) as connection:
            append_predictions(connection, records)
            append_refusals(connection, refusals)
        done.append(run.run(engine, by.settings, now=now, score=_shadow))
    engine.dispose()
    return done


def _logged(name: str, at: Any, row: Row, state: State) -> PredictionRecord:
    bypassed = state is State.DEGRADED
    (score,) = classify([row])
    return PredictionRecord(
        name, at, "1", state, row, score.text or "", None if bypassed else score.confidence, bypassed, "made up", None
    )


def _shadow(rows: Sequence[Row]) -> list[tuple[float | None, str | None, str | None]]:
    return [(score.confidence, score.text, score.error) for score in classify(rows)]


def test_it_decides_as_the_live_monitor_does(tmp_path: Path) -> None:
    """By time every run has the window, the readings and the state of a real run over the same logged traffic.

    Overlapping windows, fresh rows, refusals, shadow scores, an incident and its recovery included.
    """
    table, by = broken(past(COUNT, every_seconds=SECONDS), *LOST), judges(tmp_path)
    table["floor"] = table["floor"].astype(object)
    table.loc[4_000:4_100, "floor"] = "cellar"
    found, done = played(table, by), live(tmp_path, table, by)
    assert found.basis is Basis.TIME
    assert {run.state for run in found.runs} == set(State)
    assert found.runs[-1].state is State.NORMAL
    assert found.refused_count == 101
    assert len(found.runs) == len(done)
    for past_run, live_run in zip(found.runs, done, strict=True):
        assert live_run.window is not None
        assert live_run.decision is not None
        assert (past_run.window_start, past_run.window_end) == (live_run.window.start, live_run.window.end)
        assert past_run.prediction_count == live_run.window.total.prediction_count
        assert past_run.refusal_count == live_run.window.total.refusal_count
        assert past_run.shadow == live_run.window.shadow
        assert past_run.evidence is live_run.decision.evidence
        assert past_run.severity is live_run.decision.severity
        assert past_run.readings == live_run.decision.readings
        assert past_run.reason == live_run.decision.reason
        assert past_run.state is live_run.decision.memory.effective_state


def test_the_price_is_that_of_the_answers_given(tmp_path: Path) -> None:
    """Where DEGRADED came before, the fallback's score is what was served; the price is over these runs alone."""
    found = played(broken(past(4_800), *LOST), judges(tmp_path), rows_per_run=300)
    assert found.metric is Metric.ACCURACY
    for one in found.runs:
        assert one.decided_by == (FALLBACK if one.state_before is State.DEGRADED else MODEL)
        assert one.served_score == (one.fallback_score if one.decided_by == FALLBACK else one.model_score)
    bypassed = [one for one in found.runs if one.decided_by == FALLBACK]
    assert found.price is not None
    assert (found.price.run_count, found.price.row_count) == (len(bypassed), 300 * len(bypassed))
    model = sum(one.model_score or 0 for one in bypassed) / len(bypassed)
    fallback = sum(one.fallback_score or 0 for one in bypassed) / len(bypassed)
    assert found.price.model_score == pytest.approx(model)
    assert found.price.difference == pytest.approx(fallback - model)
    assert found.price.healthy_score == 1.0
    assert found.price.lost == pytest.approx(1.0 - model)


def test_rules_that_read_a_damaged_feature_are_skipped(tmp_path: Path) -> None:
    """The fallback leans in a backtest on what it leans on in service: not on what the incident names."""
    table = past(3_000).assign(label=1)
    table.loc[1_000:, "floor"] = 40
    by = judges(tmp_path, fallback={"default": 1, "rules": [{"when": "floor > 20", "answer": 0}]})
    found = played(table, by, rows_per_run=250)
    assert "out_of_range_rate:floor" in found.incidents[-1].trigger_signals
    named = found.incidents[-1].first_run
    scores = {one.number > named: one.fallback_score for one in found.runs[4:]}
    assert scores == {False: 0.0, True: 1.0}


def test_runs_by_rows_do_not_overlap(tmp_path: Path) -> None:
    """Every row is in one run, in the file's order, and the last run has what is left over."""
    found = played(past(1_030), judges(tmp_path), rows_per_run=100)
    assert found.basis is Basis.ROWS
    assert [one.prediction_count for one in found.runs] == [*[100] * 10, 30]
    assert [one.number for one in found.runs] == list(range(1, 12))
    assert all(a.window_end == b.window_start for a, b in zip(found.runs, found.runs[1:], strict=False))
    assert found.runs[-1].evidence is Evidence.INSUFFICIENT
    assert found.conclusive_rate == pytest.approx(10 / 11)


def test_sparse_or_untimed_histories_are_judged_by_rows_and_say_so(tmp_path: Path) -> None:
    """Without times, or where windows by time would be mostly too small, runs have 500 rows, with a notice."""
    by = judges(tmp_path)
    for table, why in ((past(1_200), "no times"), (past(1_200, every_seconds=600), "rows that a run needs")):
        found = played(table, by)
        assert (found.basis, found.rows_per_run, len(found.runs)) == (Basis.ROWS, 500, 3)
        assert why in found.notices[0]
    assert played(past(1_200), by, rows_per_run=500).notices == ()
    dated = played(past(1_200, every_seconds=600), by).runs[0]
    assert (dated.data_from, dated.data_until) == (START, START + timedelta(seconds=499 * 600))


def test_rows_are_put_in_the_order_of_time(tmp_path: Path) -> None:
    """A shuffled file gives the same runs."""
    table, by = broken(past(COUNT, every_seconds=SECONDS), *LOST), judges(tmp_path)
    assert played(table.sample(frac=1, random_state=3), by) == played(table, by)


def test_a_healthy_history_is_calm(tmp_path: Path) -> None:
    """No alarm, no incident, no limit suggested, and a fallback that answered nothing has no price."""
    found = played(past(10_000, seed=9), judges(tmp_path))
    assert (found.alarm_rate, found.critical_rate, found.degraded_rate, found.degraded_count) == (0, 0, 0, 0)
    assert (found.incidents, found.suggested_limits, found.suggested_toml) == ((), (), ())
    assert found.price is not None
    assert (found.price.run_count, found.price.difference, found.price.total_model_score) == (0, None, 1.0)


def test_an_incident_tells_its_runs(tmp_path: Path) -> None:
    """From detection to recovery, with the worst severity and how many runs the fallback answered."""
    found = played(broken(past(4_800), *LOST), judges(tmp_path), rows_per_run=300)
    (incident,) = found.incidents
    assert (incident.first_run, incident.severity, incident.start) == (
        7,
        Severity.CRITICAL,
        found.runs[6].window_end,
    )
    assert incident.end == found.runs[incident.last_run - 1].window_end
    assert incident.fallback_run_count == sum(one.decided_by == FALLBACK for one in found.runs)
    assert "missing_rate:size" in incident.trigger_signals
    assert found.degraded_count == 1
    assert found.relapse_count == 0


def test_a_relapse_is_counted(tmp_path: Path) -> None:
    """A degradation soon after a recovery is a relapse."""
    table = broken(broken(past(9_000), 1_500, 3_000), 4_500, 6_000)
    found = played(table, judges(tmp_path), rows_per_run=300)
    assert (found.degraded_count, found.relapse_count) == (2, 1)


def test_injected_faults_are_timed(tmp_path: Path) -> None:
    """The faults begin where they are asked to, nothing before is touched, and the result says how soon it was told."""
    table, by = past(6_000), judges(tmp_path)
    found = played(table, by, rows_per_run=500, inject=["nulls:size"], inject_from=0.5)
    healthy = played(table, by, rows_per_run=500)
    assert [one.injected for one in found.runs] == [False] * 6 + [True] * 6
    assert found.runs[:6] == healthy.runs[:6]
    assert found.injection is not None
    assert (found.injection.first_run, found.injection.state_before) == (7, State.NORMAL)
    assert (found.injection.runs_to_warning, found.injection.runs_to_degraded) == (2, 3)
    assert found.injection.faults == ("nulls:size",)
    assert found.suggested_limits == ()  # judged on the part before
    assert healthy.injection is None


def test_a_shift_brings_the_labels_along(tmp_path: Path) -> None:
    """Other customers are not wrong data: the model's score on them stays what it is."""
    found = played(past(4_000), judges(tmp_path), rows_per_run=500, inject=["shift:size"])
    assert {one.model_score for one in found.runs} == {1.0}
    assert found.runs[-1].fallback_score == 0.0  # the far end of the sizes is all 1


def test_suggested_limits_keep_their_word(tmp_path: Path) -> None:
    """Under the limits that are suggested, at most 1% of the runs of the same history deviate by these signals."""
    table = past(10_000)
    for start in range(0, 10_000, 2_000):
        table.loc[start : start + 90, "size"] = math.nan
    found = played(table, judges(tmp_path), rows_per_run=500)
    assert "missing_rate" in {limit.signal for limit in found.suggested_limits}
    for limit in found.suggested_limits:
        assert limit.moderate_now <= limit.moderate
        assert limit.severe is None or limit.moderate <= limit.severe
        assert limit.bad_rate >= 0.25
    policy = tomllib.loads("\n".join(found.suggested_toml))
    again = played(table, judges(tmp_path, policy=policy), rows_per_run=500)
    assert again.runs != found.runs
    assert not any(reading.evidence is Evidence.BAD for one in again.runs for reading in one.readings)


def test_a_regressor_is_measured_by_its_error(tmp_path: Path) -> None:
    """Without classes the score is the mean absolute error, and the fallback is worse where it is larger."""
    table = past(2_400)
    table["label"] = table["size"] + 2.0
    table = broken(table, 1_200, 2_400)

    def regress(rows: Sequence[Row]) -> list[Scored]:
        answers = [50.0 if row["size"] is None else float(row["size"]) for row in rows]
        return [Scored(a, str(a), s.confidence, None) for a, s in zip(answers, classify(rows), strict=True)]

    by = replace(judges(tmp_path, classes=(), fallback={"default": 0.0}), score=regress)
    found = played(table, by, rows_per_run=300)
    assert found.metric is Metric.MEAN_ABSOLUTE_ERROR
    assert found.runs[0].model_score == pytest.approx(2.0)
    assert found.price is not None
    assert found.price.difference is not None
    assert found.price.difference > 10


def test_a_row_that_the_model_fails_on_is_answered_by_the_fallback(tmp_path: Path) -> None:
    """As in service: a failure costs its row alone, is counted, and is not taken for a wrong answer of the model."""

    def fail(rows: Sequence[Row]) -> list[Scored]:
        return [
            Scored(None, None, None, "raised ValueError") if row["town"] == "A" else s
            for row, s in zip(rows, classify(rows), strict=True)
        ]

    table = past(1_000)
    found = played(table, replace(judges(tmp_path), score=fail), rows_per_run=500)
    reading = next(r for r in found.runs[0].readings if r.key == "model_error_rate")
    assert reading.value == pytest.approx((table["town"][:500] == "A").mean())
    wrong = ((table["town"] == "A") & (table["label"] == 1))[:500].mean()
    assert found.runs[0].model_score == pytest.approx(1 - wrong)
    assert any("fails on" in notice for notice in found.notices)


def test_hidden_features_leave_no_shadow(tmp_path: Path) -> None:
    """Where the log does not hold what the model needs, bypassed rows have no confidence, as in service."""
    features = [
        {"name": "size", "type": "numeric", "required": False},
        {"name": "floor", "type": "integer", "required": False},
        {"name": "lift", "type": "boolean", "required": False},
        {"name": "town", "type": "category", "required": False, "log": "hash"},
    ]
    hashed = parse({**DOCUMENT, "features": features}, folder=tmp_path)
    found = played(broken(past(2_400), 600, 2_400), replace(judges(tmp_path), settings=hashed), rows_per_run=300)
    bypassed = [one for one in found.runs if one.decided_by == FALLBACK]
    assert bypassed
    assert all(one.avg_confidence is None and not one.shadow for one in bypassed)


def test_without_labels_there_are_no_scores(tmp_path: Path) -> None:
    """The rules need no labels; what nobody knows is None, never a guess."""
    found = played(past(1_000).drop(columns="label"), judges(tmp_path), rows_per_run=500)
    assert (found.metric, found.price) == (None, None)
    assert {(one.model_score, one.fallback_score, one.served_score) for one in found.runs} == {(None, None, None)}


def test_progress_is_told(tmp_path: Path) -> None:
    """Each stage is named, and its share grows up to 1."""
    told: list[tuple[str, float]] = []
    played(past(1_000), judges(tmp_path), rows_per_run=100, progress=lambda what, done: told.append((what, done)))
    assert list(dict.fromkeys(what for what, _ in told)) == ["Checking rows", "Scoring", "Judging"]
    assert told[-1][1] == 1.0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"rows_per_run": 0}, "at least one row"),
        ({"inject": ["nulls:size"], "inject_from": 1.0}, "no place in the history"),
        ({"inject": ["nonsense"]}, "no injection"),
        ({"inject": ["nulls:label"]}, "is the label"),
        ({"inject": ["nulls:nothing"]}, "no feature 'nothing'"),
    ],
    ids=["rows", "from", "fault", "label", "feature"],
)
def test_wrong_arguments_are_told(tmp_path: Path, options: dict[str, Any], told: str) -> None:
    """One clear sentence, before anything is scored."""
    with pytest.raises(ConfigurationError, match=told):
        played(past(200), judges(tmp_path), **options)


def test_a_history_that_the_schema_refuses_is_told(tmp_path: Path) -> None:
    """Where no row passes, the commonest reason is named."""
    table = past(200)
    table["floor"] = "cellar"
    with pytest.raises(ConfigurationError, match=r"refuses all 200 rows, most often because of floor"):
        played(table, judges(tmp_path))
