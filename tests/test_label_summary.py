"""Realised performance in short, and the days of a service."""

from datetime import UTC, datetime, timedelta

import pytest

from stillsafe.label_summary import (
    RECENT,
    LabelSummary,
    RecentSummaries,
    answer_coverage,
    day_spans,
    label_summaries,
    recent_summary,
    share_interval,
    summary_of,
)
from stillsafe.store import database
from stillsafe.store.read.labels import OutcomeGroup, OutcomeSums
from stillsafe.store.write.labels import append_labels
from tests.monitoring.conftest import START, STEP, Service, bare_service

__all__ = ["bare_service"]
NOW = datetime(2026, 3, 30, 12, tzinfo=UTC)


def test_days_are_those_of_the_service() -> None:
    """Newest first, without a gap; a day on which the clocks change has 23 hours."""
    spans = day_spans(NOW, "Europe/Berlin", 3)
    assert spans[0] == (datetime(2026, 3, 29, 22, tzinfo=UTC), datetime(2026, 3, 30, 22, tzinfo=UTC))
    assert [start for start, _ in spans[:-1]] == [end for _, end in spans[1:]]
    assert spans[1][1] - spans[1][0] == timedelta(hours=23)


def test_there_are_as_many_days_as_asked_for() -> None:
    """The first one contains now."""
    spans = day_spans(NOW, "UTC", 5)
    assert len(spans) == 5
    assert spans[0][0] <= NOW < spans[0][1]


def test_labels_become_an_accuracy_or_a_distance() -> None:
    """With Wilson's interval; a regressor's answers are decimal numbers; without labels there is no value."""
    summary = summary_of(OutcomeSums(10, 8, 6, 3.0, 60.0, "1"), NOW, NOW + STEP)
    assert (summary.metric, summary.value, summary.coverage) == ("accuracy", 0.75, 0.8)
    assert (summary.low, summary.high) == share_interval(0.75, 8)
    assert summary.sentence == "Accuracy 75.0% (40.9% to 92.9%); 8 of 10 answers have a label."
    number = summary_of(OutcomeSums(10, 8, 0, 2.5, 60.0, "41.5"), NOW, NOW + STEP)
    assert (number.metric, number.value, number.low) == ("mean_absolute_error", 2.5, None)
    assert number.sentence.startswith("Mean absolute error 2.5;")
    empty = summary_of(OutcomeSums(10, 0, 0, None, None, "1"), NOW, NOW + STEP)
    assert (empty.value, empty.sentence) == (None, "No label has come for 10 answers.")
    assert empty.document()["metric"] == "accuracy"


def test_nothing_is_counted_before_the_first_label(bare_service: Service) -> None:
    """Afterwards each time has its own."""
    bare_service.send(20)
    now = START + STEP
    with database.writing(bare_service.engine) as connection:
        assert label_summaries(connection, [(START, now)], "1") == []
        assert recent_summary(connection, now, "1") is None
        append_labels(connection, [("p1", "1"), ("p2", "0"), ("p3", "1")], now)
        (summary,) = label_summaries(connection, [(START, now)], "1")
        assert (summary.prediction_count, summary.label_count) == (20, 3)
        assert summary.value == pytest.approx(2 / 3)
        recent = recent_summary(connection, now, "1")
    assert recent is not None
    assert (recent.value, recent.start) == (summary.value, now - RECENT)


def test_what_was_read_is_kept_for_a_minute() -> None:
    """A clock that went back reads again."""
    times: list[datetime] = []

    def read(now: datetime) -> list[LabelSummary]:
        times.append(now)
        return []

    summaries = RecentSummaries(read)
    for seconds in (0, 30, 59, 61, 62, 0):
        assert summaries(NOW + timedelta(seconds=seconds)) == []
    assert [(time - NOW).total_seconds() for time in times] == [0, 61, 0]


def _group(answer: str | None, label: str | None, count: int) -> OutcomeGroup:
    return OutcomeGroup(answer, label, False, count, None)


def test_coverage_says_whether_some_answers_get_their_label_more_often() -> None:
    """Only approved loans come back; shares that chance explains are no bias; abstentions count in neither."""
    coverage = answer_coverage(
        [_group("yes", "yes", 90), _group("yes", None, 10), _group("no", None, 95), _group("no", "no", 5)]
    )
    assert (coverage.prediction_count, coverage.label_count, coverage.has_bias) == (200, 95, True)
    assert coverage.shares == {"no": 0.05, "yes": 0.9}
    assert "no 5.0%, yes 90.0%" in coverage.sentence
    assert "biased" in coverage.sentence
    fair = answer_coverage(
        [_group("yes", "yes", 50), _group("yes", None, 50), _group("no", None, 45), _group("no", "no", 55)]
    )
    assert not fair.has_bias
    assert "biased" not in fair.sentence
    assert fair.document()["coverage_of_answers"] == {"no": 0.55, "yes": 0.5}
    numbers = answer_coverage([_group(f"{number}.5", "1.0", 1) for number in range(50)])
    assert (numbers.shares, numbers.label_count) == ({}, 50)
    assert answer_coverage([_group(None, "yes", 3)]).prediction_count == 0
