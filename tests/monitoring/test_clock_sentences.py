"""`init`, `check` and `baseline show` print what a baseline knows of time."""

from dataclasses import replace

from stillsafe.monitoring.clock_sentences import clock_sentences
from tests.monitoring.hours import MONDAY, Traffic, hourly_baseline

TRAFFIC = Traffic()


def test_a_baseline_with_hours_says_which_features_are_clocks_and_what_is_compared() -> None:
    """Both in the service's time zone."""
    text = " ".join(clock_sentences(hourly_baseline(TRAFFIC.rows(MONDAY, 14, 40, 1))))
    assert "hour (hour)" in text
    assert "weekday (weekday)" in text
    assert "same hours of the healthy 14 days (48 kinds of hour, time zone UTC)" in text
    assert "extend" not in text


def test_a_short_baseline_asks_for_a_week() -> None:
    """Less than a week does not know every weekday."""
    text = " ".join(clock_sentences(hourly_baseline(TRAFFIC.rows(MONDAY, 1, 200, 1))))
    assert "come from 1 day," in text
    assert "stillsafe baseline extend" in text


def test_without_times_the_remedy_is_named() -> None:
    """A sample without timestamps, with an hour among its features."""
    (sentence,) = clock_sentences(hourly_baseline(TRAFFIC.rows(MONDAY, 14, 20, 1), timezone=None))
    assert sentence.startswith("hour, weekday look like a clock")
    assert "`timestamp`" in sentence


def test_where_time_does_not_matter_nothing_is_said() -> None:
    """No clock feature and no slots: nothing to know."""
    baseline = hourly_baseline(Traffic(strength=0.0).rows(MONDAY, 14, 20, 1))
    assert list(clock_sentences(replace(baseline, clock={}))) == []
