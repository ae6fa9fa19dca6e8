"""The charts of a report show each run once, in time order, and nothing that is unknown."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stillsafe.backtest import charts, report
from stillsafe.backtest.result import Backtest
from stillsafe.core.evidence.metric import Metric
from stillsafe.dashboard.snapshot import Snapshot
from tests.backtest.histories import backtest_context, past, run_backtest, without_sizes

NOW = datetime(2026, 4, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("charts")


@pytest.fixture(scope="module")
def result(folder: Path) -> Backtest:
    """Ten runs by rows, the last five with an injected fault."""
    return run_backtest(past(3_000), backtest_context(folder), rows_per_run=300, inject=["nulls:size"])


@pytest.fixture(scope="module")
def snapshot(result: Backtest, folder: Path) -> Snapshot:
    return report.snapshot(result, backtest_context(folder).settings, NOW)


def test_each_run_has_a_state_and_a_severity(result: Backtest, snapshot: Snapshot) -> None:
    """Two adjacent bands have one box per run, without gaps, titled with the run's number."""
    chart = charts.state_chart(result, snapshot)
    states = [box for box in chart.boxes if box.kind.startswith("state-")]
    severities = [box for box in chart.boxes if box.kind.startswith("severity-")]
    assert [box.kind for box in states] == [f"state-{run.state.value}" for run in result.runs]
    assert [box.kind for box in severities] == [f"severity-{run.severity.value}" for run in result.runs]
    assert all(box.title.startswith(f"Run {run.number}") for box, run in zip(states, result.runs, strict=True))
    ends = [float(box.x) + float(box.width) for box in states]
    assert [float(box.x) for box in states[1:]] == pytest.approx(ends[:-1], abs=0.15)


def test_inconclusive_runs_are_thinner(result: Backtest, folder: Path) -> None:
    """A run without sufficient evidence has a lower box than a conclusive one."""
    table = past(630)
    short_result = run_backtest(table, backtest_context(folder), rows_per_run=300)
    chart = charts.state_chart(short_result, report.snapshot(short_result, backtest_context(folder).settings, NOW))
    heights = [float(box.height) for box in chart.boxes if box.kind.startswith("state-")]
    assert [run.conclusive for run in short_result.runs] == [True, True, False]
    assert heights[0] == heights[1] > heights[2] > 0
    assert len(result.runs) == 10


def test_runs_with_injected_faults_are_marked(result: Backtest, snapshot: Snapshot) -> None:
    """One box covers exactly these runs, behind the others; a backtest without faults has none."""
    chart = charts.state_chart(result, snapshot)
    mark = chart.boxes[0]
    states = [box for box in chart.boxes if box.kind.startswith("state-")]
    assert (mark.kind, mark.title) == ("injected", "faults injected: nulls:size")
    assert float(mark.x) == pytest.approx(float(states[5].x), abs=0.15)
    assert float(mark.x) + float(mark.width) == pytest.approx(float(states[-1].x) + float(states[-1].width), abs=0.15)
    healthy_chart = charts.state_chart(replace(result, injection=None), snapshot)
    assert "injected" not in {box.kind for box in healthy_chart.boxes}


def test_unknown_scores_leave_a_gap(result: Backtest, snapshot: Snapshot) -> None:
    """A curve is interrupted at a run without a score, and absent without any score."""
    runs = list(result.runs)
    runs[4] = replace(runs[4], model_score=None)
    chart = charts.score_chart(replace(result, runs=tuple(runs)), snapshot, Metric.ACCURACY)
    assert [path.kind for path in chart.paths].count("score-model") == 2
    assert [path.kind for path in chart.paths].count("score-served") == 1
    unlabelled_runs = [replace(run, model_score=None, fallback_score=None, served_score=None) for run in runs]
    chart = charts.score_chart(replace(result, runs=tuple(unlabelled_runs)), snapshot, Metric.ACCURACY)
    assert not [path for path in chart.paths if path.kind.startswith("score-")]


def test_the_time_axis_follows_the_basis(result: Backtest, folder: Path) -> None:
    """By rows it is labelled with run numbers, by time with times."""
    context = backtest_context(folder)
    by_time = run_backtest(without_sizes(past(2_400, every_seconds=2.0), 600, 1_200), context)
    for backtest, is_number in ((result, True), (by_time, False)):
        chart = charts.state_chart(backtest, report.snapshot(backtest, context.settings, NOW))
        texts = [label.text for label in chart.labels if label.kind == "time"]
        assert texts
        assert all(text.isdigit() == is_number for text in texts)


def test_a_signal_chart_is_numbered_by_runs(result: Backtest, snapshot: Snapshot) -> None:
    """The artificial times of runs by rows are replaced by run numbers."""
    chart = charts.signal_chart(result, snapshot, result.signals[0].key)
    assert all(label.text.isdigit() for label in chart.labels if label.kind == "time")


def test_the_description_lists_changes_of_state(result: Backtest) -> None:
    """A run's title has its number, state, severity and reason."""
    run = result.runs[-1]
    title = charts.run_title(result, run)
    assert title.startswith(f"Run {run.number}, faults injected: {run.state.value}, severity {run.severity.value}.")
    assert title.endswith(run.reason)
