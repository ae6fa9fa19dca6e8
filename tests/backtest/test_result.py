"""The result of a backtest is a public document: its attributes are the keys of `stillsafe backtest --json`."""

from dataclasses import fields
from pathlib import Path

from stillsafe.backtest.result import (
    Backtest,
    BacktestIncident,
    BacktestRun,
    FallbackComparison,
    InjectionOutcome,
    SignalSummary,
    SuggestedLimit,
)
from stillsafe.core.signals import Evidence
from stillsafe.store.codec import from_document, to_document
from tests.backtest.histories import backtest_context, past, run_backtest

KEYS = {
    Backtest: "service model_version baseline_id basis rows_per_run window_seconds every_seconds row_count "
    "refused_count metric runs incidents conclusive_rate alarm_rate critical_rate degraded_rate degraded_count "
    "relapse_count signals price suggested_limits suggested_toml injection notices",
    BacktestRun: "number window_start window_end data_from data_until prediction_count refusal_count evidence severity "
    "state state_before readings reason decided_by shadow injected avg_confidence low_confidence_rate labelled_count "
    "model_score fallback_score served_score",
    BacktestIncident: "incident_id start end first_run last_run severity reason resolution trigger_signals "
    "fallback_run_count",
    SignalSummary: "key bad_rate largest_ratio",
    FallbackComparison: "run_count row_count model_score fallback_score difference healthy_score lost "
    "total_model_score total_served_score",
    SuggestedLimit: "signal moderate severe moderate_now severe_now bad_rate",
    InjectionOutcome: "faults share first_run state_before runs_to_warning runs_to_degraded",
}


def test_the_attributes_are_public_and_fixed() -> None:
    """Users and `--json` depend on the names and their order."""
    for kind, names in KEYS.items():
        assert [field.name for field in fields(kind)] == names.split(), kind


def test_a_result_survives_its_document(tmp_path: Path) -> None:
    """Conversion to a document and back loses nothing."""
    result = run_backtest(past(1_500), backtest_context(tmp_path), rows_per_run=300, inject=["nulls:size"])
    assert from_document(Backtest, to_document(result)) == result


def test_a_run_is_conclusive_unless_its_evidence_is_insufficient(tmp_path: Path) -> None:
    """The last run has too few rows."""
    result = run_backtest(past(330), backtest_context(tmp_path), rows_per_run=300)
    assert [run.conclusive for run in result.runs] == [True, False]
    assert result.runs[-1].evidence is Evidence.INSUFFICIENT
