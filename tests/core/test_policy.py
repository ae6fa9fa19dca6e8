"""The policy: its defaults, its reasons, and what makes one unfit."""

import math
from dataclasses import fields, replace
from typing import Any

import pytest

from stillsafe.core.policy import COUNTS, NOT_NUMBERS, EvidencePolicy, Policy, evidence_reasons, reasons
from stillsafe.core.signals import SIGNALS, Signal


def test_the_defaults_are_sound() -> None:
    """Whoever writes no policy gets one to decide by."""
    assert Policy().problems() == []


def test_every_number_has_a_reason() -> None:
    """No threshold without a sentence that says why."""
    for policy, numbers in ((Policy(), reasons()), (EvidencePolicy(), evidence_reasons())):
        assert list(numbers) == [f.name for f in fields(policy) if f.name not in NOT_NUMBERS]
        assert all(reason.endswith(".") and len(reason) > 20 for _, reason in numbers.values())
        assert all(default == getattr(policy, name) for name, (default, _) in numbers.items())


@pytest.mark.parametrize("signal", Signal)
def test_every_signal_has_its_limits(signal: Signal) -> None:
    """The limits that the signal table names are fields of the policy, and its effects are these."""
    names = SIGNALS[signal].limit_fields
    limits = [getattr(Policy(), name) for name in names]
    if signal is Signal.SILENCE_SECONDS:
        assert names == ("silence_seconds",)
    else:
        assert names == (f"{signal}_moderate", f"{signal}_severe")[: len(names)]
        assert Policy().effects(signal) == (limits[0], limits[1] if len(limits) > 1 else None)


def test_no_limit_is_left_without_a_signal() -> None:
    """Every limit in the policy belongs to a row of the signal table; `[harm]` replaces those of the owner's metric."""
    limits = {name for name in reasons() if name.endswith(("_moderate", "_severe")) and not name.startswith("harm_")}
    assert limits == {name for row in SIGNALS.values() for name in row.limit_fields} - {"silence_seconds"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"warning_runs": 1}, "warning_runs must be at least 2: no single anomaly may act."),
        ({"critical_runs": 2}, "critical_runs must be at least 3 and at least warning_runs."),
        ({"warning_runs": 5}, "critical_runs must be at least 3 and at least warning_runs."),
        ({"recovery_runs": 0}, "recovery takes at least one calm run, and max_recovery_runs at least recovery_runs."),
        ({"warning_recovery_runs": 0}, "recovery takes at least one calm run"),
        ({"max_recovery_runs": 2}, "max_recovery_runs at least recovery_runs."),
        ({"false_alarm_rate": 0.0}, "false_alarm_rate must lie between 0 and 0.5."),
        ({"false_alarm_rate": 0.5}, "false_alarm_rate must lie between 0 and 0.5."),
        ({"max_gap_seconds": 599.0}, "max_gap must be at least the interval between runs"),
        ({"missing_rate_moderate": 0.3}, "missing_rate_moderate must not exceed missing_rate_severe."),
        ({"avg_confidence_severe": math.nan}, "avg_confidence_severe must be a finite number, zero or more."),
        ({"refusal_rate_moderate": math.inf}, "refusal_rate_moderate must be a finite number, zero or more."),
        ({"silence_seconds": -1.0}, "silence_seconds must be a finite number, zero or more."),
        ({"min_predictions": 0}, "min_predictions must be above zero."),
        ({"window_seconds": 0.0}, "window_seconds must be above zero."),
    ],
)
def test_an_unsound_policy_says_what_is_wrong(change: dict[str, Any], says: str) -> None:
    """Rules that would break a promise are refused, with the promise."""
    assert any(says in problem for problem in replace(Policy(), **change).problems())


@pytest.mark.parametrize("number", [math.nan, math.inf, -1.0])
@pytest.mark.parametrize("name", evidence_reasons())
def test_an_unsound_number_of_the_evidence_section_is_named(name: str, number: float) -> None:
    """The evidence section is checked like the rest of the policy."""
    change: dict[str, Any] = {name: number}
    policy = Policy(evidence=replace(EvidencePolicy(), **change))
    assert policy.problems() == [f"evidence.{name} must be a finite number, zero or more."]


@pytest.mark.parametrize("name", COUNTS)
def test_runs_and_rows_are_counted_in_whole_numbers(name: str) -> None:
    """Half a run is no run."""
    change: dict[str, Any] = {name: 3.5}
    assert f"{name} must be a whole number." in replace(Policy(), **change).problems()


def test_silence_may_be_switched_off_and_confidence_left_to_the_baseline() -> None:
    """None and 0 are answers, not mistakes."""
    assert Policy(silence_seconds=None, low_confidence_threshold=None).problems() == []
    assert Policy(silence_seconds=0).problems() == []
