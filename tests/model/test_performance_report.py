"""Periods of the report of realised performance."""

from datetime import UTC, datetime, timedelta

from stillsafe.model.performance_report import day_spans

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
