"""The section of realised performance."""

from datetime import timedelta

from stillsafe.dashboard.realised import DAYS, label_context, read_days, realised_chart
from stillsafe.label_summary import LabelSummary
from stillsafe.store import database
from stillsafe.store.write.labels import append_labels
from tests.monitoring.conftest import START, Service, bare_service

__all__ = ["bare_service"]


def _day(number: int, value: float | None, metric: str = "accuracy") -> LabelSummary:
    start = START - timedelta(days=number)
    ends = (value - 0.05, value + 0.05) if value is not None and metric == "accuracy" else (None, None)
    return LabelSummary(start, start + timedelta(days=1), 100, 50 if value else 0, 0.5, 60.0, metric, value, *ends)


def test_a_chart_has_each_day_that_has_labels() -> None:
    """From the oldest to the newest, with its interval; errors have none."""
    chart = realised_chart([_day(0, None), _day(1, 0.9), _day(2, 0.8)])
    assert chart is not None
    assert [dot.x for dot in chart.dots] == sorted(dot.x for dot in chart.dots)
    assert (len(chart.dots), len(chart.boxes)) == (2, 2)
    assert "from 80.0% to 90.0%; the last 90.0%" in chart.description
    errors = realised_chart([_day(0, 2.5, "mean_absolute_error")])
    assert errors is not None
    assert (len(errors.dots), len(errors.boxes), errors.title[:19]) == (1, 0, "Mean absolute error")


def test_without_labels_there_is_no_section(bare_service: Service) -> None:
    """Days without answers are left out."""
    assert label_context([]) == {"days": [], "realised_chart": None}
    bare_service.send(20)
    now = START + timedelta(days=2)
    assert read_days(bare_service.engine, bare_service.settings, now) == []
    with database.writing(bare_service.engine) as connection:
        append_labels(connection, [("p1", "1")], START)
    (day,) = read_days(bare_service.engine, bare_service.settings, now)
    assert (day.start, day.label_count) == (START, 1)
    assert DAYS > 2
