"""The report of realised performance: its periods, its versions, its positive class."""

import pytest

from stillsafe.model.performance_report import PeriodKind, performance_report
from stillsafe.store import database
from stillsafe.store.write.labels import append_labels
from tests.monitoring.conftest import START, STEP, Service, bare_service, service

__all__ = ["bare_service", "service"]


@pytest.mark.parametrize(
    ("kind", "periods"),
    [("day", [("1", 300), ("1", 0), ("1", 2000)]), ("version", [("2", 50), ("1", 2300)]), ("window", [("1", 300)])],
)
def test_each_kind_has_its_periods(service: Service, kind: PeriodKind, periods: list[tuple[str, int]]) -> None:
    """Newest first; a version has its whole time."""
    service.step()
    service.send(50, version="2")
    with database.reading(service.engine) as connection:
        report = performance_report(connection, service.settings, (0, 1), START + 2 * STEP, kind=kind, limit=9)
    counts = [(period.model_version, period.performance.prediction_count) for period in report]
    assert counts[: len(periods)] == periods
    assert [period.start for period in report] == sorted((period.start for period in report), reverse=True)


def test_probabilities_are_measured_where_the_confidence_is_one(service: Service) -> None:
    """Of one class in all periods: the rarer label."""
    service.step()
    with database.writing(service.engine) as connection:
        append_labels(connection, [(f"p{number}", str(int(number % 3 > 0))) for number in range(1, 2200)], START)
        for is_probability in (False, True):
            now = START + STEP
            report = performance_report(
                connection, service.settings, (0, 1), now, limit=3, has_probabilities=is_probability
            )
            figures = [period.performance.model for period in report if period.performance.model is not None]
            assert len(figures) == 2
            assert all(("log_loss" in each.metrics) is is_probability for each in figures)
            assert all(bool(each.calibration) is is_probability for each in figures)
