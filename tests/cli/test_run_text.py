"""The text of one run: complete on a wide terminal and on a narrow one, and safe to print."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from stillsafe.cli import run_text
from stillsafe.cli.output import console
from stillsafe.core.policy import Policy
from stillsafe.core.signals import Evidence, Level, Reading, Signal
from stillsafe.core.state import Memory, State, Streak
from stillsafe.monitoring.derivation import Step
from stillsafe.monitoring.run_detail import RunDetail
from stillsafe.store.read.runs import RunRecord

AT = datetime(2026, 3, 2, 10, tzinfo=UTC)
MISSING = Reading(Signal.MISSING_RATE, "a[b]", Evidence.BAD, Level.MODERATE, 0.4, 0.01, 0.05, 0.25, 200, noise=0.031234)
CHANGE = Reading(
    Signal.DISTRIBUTION_CHANGE, "x", Evidence.OK, Level.NONE, 0.5, 0.04, 0.3, None, 200, noise=0.1, is_change=True
)
SCARCE = Reading(Signal.AVG_CONFIDENCE, None, Evidence.INSUFFICIENT, Level.NONE, None, None, None, None, 3)
STEPS = (
    Step("bin", ("up to 1", "above 1"), "bins"),
    Step("window_share", (0.25, 0.75), "share of the rows"),
    Step("value", 0.123456789012, "the result", "window_share * 2"),
)


def detail_of(*readings: Reading, **derivations: tuple[Step, ...]) -> RunDetail:
    """A run with these readings."""
    record: dict[str, Any] = dict.fromkeys(RunRecord.__dataclass_fields__)
    record |= {
        "id": 7,
        "window_start": AT,
        "window_end": AT + timedelta(minutes=15),
        "evidence": "BAD",
        "severity": "WARNING",
        "state_before": "NORMAL",
        "state_after": "WARNING",
        "reason": "because [of] this",
    }
    memory = Memory(State.WARNING, AT, {MISSING.key: Streak(2, 1)})
    return RunDetail(RunRecord(**record), Policy(), None, memory, readings, None, derivations)


@pytest.mark.parametrize("width", [70, 200])
def test_no_reading_and_no_number_is_left_out(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table where there is room and lines where there is none; names and reasons are no markup."""
    monkeypatch.setattr(console, "width", width)
    run_text.print_run(detail_of(MISSING, CHANGE, SCARCE), ())
    text = capsys.readouterr().out
    for word in ("missing_rate:a[b]", "40.0%", "1.0%", "3.1%", "6.0%", "26.0%", "2 (1 severe)", "because [of] this"):
        assert word in text
    assert "change" in text
    assert "Not judged, too little data: avg_confidence." in text


def test_a_derivation_has_every_step_and_column(capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers are printed with ten digits, columns as a table, and each with its meaning and formula."""
    run_text.print_run(detail_of(MISSING, **{MISSING.key: STEPS}), [MISSING.key])
    text = capsys.readouterr().out
    for word in ("0.123456789", "window_share * 2", "up to 1", "0.75", "share of the rows"):
        assert word in text


def test_the_json_has_derivations_on_request_only() -> None:
    """All readings without, or those asked for with their steps."""
    detail = detail_of(MISSING, CHANGE, **{MISSING.key: STEPS})
    every = run_text.run_document(detail, ())["readings"]
    assert [reading["key"] for reading in every] == [MISSING.key, CHANGE.key]
    assert not any("derivation" in reading for reading in every)
    (reading,) = run_text.run_document(detail, [MISSING.key])["readings"]
    assert [step["name"] for step in reading["derivation"]] == ["bin", "window_share", "value"]
    assert (reading["deviating_runs"], reading["severe_runs"]) == (2, 1)
