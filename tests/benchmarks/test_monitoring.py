"""The benchmark of monitoring: its logs are such as the product writes, and its costs those of real runs."""

import json
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from benchmarks.monitoring import costs, logs
from benchmarks.monitoring.costs import ProcessFailed
from benchmarks.serving.workload import Workload

from benchmarks import log_rows
from stillsafe import service
from stillsafe.store import database
from stillsafe.store.read.requests import last_prediction_row

ROWS, OLDER = 400, 600


@pytest.fixture
def full(work: Workload, template: list[log_rows.LogRow], tmp_path: Path, store_url: str) -> logs.Log:
    """A log with a past, on either store."""
    return logs.make(work, tmp_path / "service", store_url, template, ROWS, OLDER, lambda _rows: None)


def test_a_filled_log_is_as_the_product_writes_it(full: logs.Log, work: Workload) -> None:
    """The product reads it back: rows with the features, answers and confidence of a served model, each of its own."""
    engine = database.connect(full.database)
    with database.reading(engine) as connection:
        assert last_prediction_row(connection) == ROWS + OLDER
    engine.dispose()
    run = service.monitor(full.settings(), now=logs.NOW)
    assert run.window is not None
    assert run.window.total.prediction_count == run.window.fresh.prediction_count == ROWS
    assert set(run.window.fresh.features) == set(work.rows[0])


def test_a_run_reads_a_window_of_any_size(work: Workload) -> None:
    """By default a run judges 100,000 new rows at most, so the benchmark's settings raise that."""
    text = (work.service / "stillsafe.toml").read_text(encoding="utf-8")
    for rows, most in ((400, 100_000), (1_000_000, 1_000_000)):
        document = tomllib.loads(logs.whole_window(text, rows))
        assert document["policy"]["max_carry_predictions"] == most
        assert document["monitor"]["max_carry"] == "15m"


def test_a_run_can_be_first_again(full: logs.Log) -> None:
    """Forgotten runs leave log and baseline, so that the same window is judged alike."""
    first = service.monitor(full.settings(), now=logs.NOW)
    full.forget_runs()
    again = service.monitor(full.settings(), now=logs.NOW)
    assert again.window == first.window
    assert again.decision == first.decision


def test_peers_judge_the_same_rows(work: Workload, template: list[log_rows.LogRow], tmp_path: Path) -> None:
    """Their table holds the window's rows and nothing older, with the same columns as the reference's."""
    log = logs.make(work, tmp_path / "service", None, template, ROWS, OLDER, lambda _rows: None)
    logs.in_memory(log, work, tmp_path)
    current, reference = (pd.read_parquet(tmp_path / f"{name}.parquet") for name in (ROWS, "reference"))
    assert len(current) == ROWS
    assert list(current) == list(reference)
    assert set(current["confidence_score"]) <= {sure for _, sure in work.answers}


def test_what_each_piece_of_work_costs_is_measured_outside(
    work: Workload, template: list[log_rows.LogRow], tmp_path: Path
) -> None:
    """Every piece runs in its own process, which prints its time and peak memory; a run that does not happen fails."""
    log = logs.make(work, tmp_path / "service", None, template, ROWS, 0, lambda _rows: None)
    base = [sys.executable, "-m", "benchmarks.monitoring.work"]
    for name in ("scan", "parse", "run"):
        cost = costs.of([*base, name, str(log.config), logs.NOW.isoformat()], log.environment)
        assert 0 < cost.seconds < cost.process_seconds
        assert cost.peak_bytes > 10**7
    with pytest.raises(ProcessFailed, match="did not take place"):
        costs.of([*base, "run", str(log.config), logs.NOW.isoformat()], log.environment)
    log.forget_runs()
    decision_cost = costs.of([*base, "decide", str(log.config), logs.NOW.isoformat()], log.environment)
    assert 0 < decision_cost.seconds < decision_cost.process_seconds


def test_the_last_line_is_the_cost() -> None:
    """Whatever a peer prints before it; one that ends otherwise has failed, with the reason."""
    line = json.dumps({"seconds": 1.5, "peak_bytes": 7})
    cost = costs.of([sys.executable, "-c", f"print('hello'); print({line!r})"], {})
    assert (cost.seconds, cost.peak_bytes) == (1.5, 7)
    with pytest.raises(ProcessFailed, match="no such thing"):
        costs.of([sys.executable, "-c", "raise SystemExit('no such thing')"], {})
