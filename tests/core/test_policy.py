"""The policy: its defaults, its reasons, and what makes one unfit."""

import math
from dataclasses import fields, replace
from typing import Any

import pytest

from stillsafe.core.policy import COUNTS, SIGNALS_WITH_EFFECTS, Policy, reasons
from stillsafe.core.signals import Signal


def test_the_defaults_are_sound() -> None:
    """Whoever writes no policy gets one to decide by."""
    assert Policy().problems() == []


def test_every_number_has_a_reason() -> None:
    """No threshold without a sentence that says why."""
    told = reasons()
    assert list(told) == [f.name for f in fields(Policy)]
    assert all(reason.endswith(".") and len(reason) > 20 for _, reason in told.values())
    assert all(default == getattr(Policy(), name) for name, (default, _) in told.items())


def test_every_signal_but_silence_has_its_effects() -> None:
    """A signal that is read can be judged."""
    assert {*SIGNALS_WITH_EFFECTS, "silence_seconds"} == {signal.value for signal in Signal}
    assert Policy().effects("missing_rate") == (0.05, 0.25)


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
        ({"refusal_rate_severe": math.inf}, "refusal_rate_severe must be a finite number, zero or more."),
        ({"silence_seconds": -1.0}, "silence_seconds must be a finite number, zero or more."),
        ({"min_predictions": 0}, "min_predictions must be above zero."),
        ({"window_seconds": 0.0}, "window_seconds must be above zero."),
    ],
)
def test_an_unsound_policy_says_what_is_wrong(change: dict[str, Any], says: str) -> None:
    """Rules that would break a promise are refused, with the promise."""
    assert any(says in problem for problem in replace(Policy(), **change).problems())


@pytest.mark.parametrize("name", COUNTS)
def test_runs_and_rows_are_counted_in_whole_numbers(name: str) -> None:
    """Half a run is no run."""
    changed: dict[str, Any] = {name: 3.5}
    assert f"{name} must be a whole number." in replace(Policy(), **changed).problems()


def test_silence_may_be_switched_off_and_confidence_left_to_the_baseline() -> None:
    """None and 0 are answers, not mistakes."""
    assert Policy(silence_seconds=None, low_confidence_threshold=None).problems() == []
    assert Policy(silence_seconds=0).problems() == []
