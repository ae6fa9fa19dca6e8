"""The labels of a healthy period reach the study of a new baseline, on both stores."""

from datetime import timedelta

import pytest

from stillsafe.core.evidence.impact import PerformanceImpact
from stillsafe.core.evidence.metric import Metric
from stillsafe.errors import BaselineRefused
from stillsafe.label_intake import LabelItem, take_in
from stillsafe.monitoring import baseline
from stillsafe.monitoring.baseline_labels import LabelledPeriod
from stillsafe.monitoring.extension import HealthySpan, extend
from stillsafe.store import database
from stillsafe.store.read.baselines import active_baseline
from tests.monitoring.conftest import START, STEP, Service

LIVE_HARM = PerformanceImpact(Metric.ACCURACY, True, 0.07, 0.4, {}, row_count=210, is_live=True)


def add_labels(service: Service, labels: dict[int, str]) -> None:
    """Labels of the rows that were sent as number so and so."""
    with database.writing(service.engine) as connection:
        take_in(connection, [LabelItem(f"p{number}", None, text) for number, text in labels.items()], service.now)


def test_a_baseline_learns_from_the_labels_in_force(bare_service: Service) -> None:
    """Each row has its last label or none, a row of the fallback none; what the study returns is stored as harm."""
    bare_service.send(300)
    bare_service.send(2, start=START + STEP, model_error="raised ValueError")
    add_labels(bare_service, {1: "0", 2: "1", 301: "1"})
    add_labels(bare_service, {1: "1"})
    periods: list[LabelledPeriod] = []

    def study(period: LabelledPeriod) -> PerformanceImpact:
        periods.append(period)
        return LIVE_HARM

    span = baseline.HealthyPeriod(since=START, until=START + 2 * STEP)
    new_baseline = baseline.create(bare_service.engine, bare_service.settings, span, at=START + 2 * STEP, study=study)
    [period] = periods
    assert period.labels == ["1", "1", *[None] * 300]
    assert len(period.log_rows) == len(period.rows) == 302
    with database.reading(bare_service.engine) as connection:
        stored = active_baseline(connection, "1")
    assert stored == new_baseline
    assert new_baseline.harm == LIVE_HARM


def test_an_extension_learns_too_and_keeps_the_study_without_labels(bare_service: Service) -> None:
    """The wide_baseline baseline has the study of the healthy span, or carries the earlier one over."""
    bare_service.make_baseline(400)
    bare_service.send(300)
    add_labels(bare_service, {450: "0"})
    seen_labels: list[int] = []

    def study(period: LabelledPeriod) -> PerformanceImpact:
        seen_labels.append(sum(label is not None for label in period.labels))
        return LIVE_HARM

    span, at = HealthySpan(START, START + STEP), START + timedelta(hours=1)
    wide_baseline = extend(bare_service.engine, bare_service.settings, span, at=at, study=study)
    assert (seen_labels, wide_baseline.harm, wide_baseline.sample_size) == ([1], LIVE_HARM, 700)
    again = extend(bare_service.engine, bare_service.settings, span, at=at + STEP)
    assert again.harm == LIVE_HARM


def test_a_refusal_of_the_study_stores_nothing(bare_service: Service) -> None:
    """A baseline is made whole or not at all."""
    bare_service.send(300)

    def study(_period: LabelledPeriod) -> PerformanceImpact:
        raise BaselineRefused("too few")

    with pytest.raises(BaselineRefused):
        baseline.create(bare_service.engine, bare_service.settings, baseline.HealthyPeriod(300), at=START, study=study)
    with database.reading(bare_service.engine) as connection:
        assert active_baseline(connection, "1") is None
