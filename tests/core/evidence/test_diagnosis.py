"""The readings of a diagnosis: a broken relation names its feature, and a permutation elsewhere does not."""

from dataclasses import replace

import pytest

from stillsafe.core.evidence.diagnosis import diagnosis_readings
from stillsafe.core.evidence.distributions import distribution_shift
from stillsafe.core.evidence.impact import FeatureImpact, PerformanceImpact
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.policy import Policy
from stillsafe.core.signals import Evidence, Level, Reading, Signal, reading_key
from tests.core.evidence.rows import INDEPENDENT, NAMES, SECOND, Codes, baseline_of, draw_rows, permute, tally_of

HEALTHY = draw_rows(4_000, 0)
BASELINE = baseline_of(HEALTHY)
POLICY = Policy()
Z = 4.5


def readings_of(rows: Codes) -> dict[str, Reading]:
    """The readings of a window of these rows."""
    tally = tally_of(rows, HEALTHY)
    shift = distribution_shift(BASELINE, tally)
    assert shift is not None
    return diagnosis_readings(POLICY, BASELINE, tally, shift, {}, Z)


def test_healthy_rows_break_no_relation() -> None:
    """Each feature with relations has a reading that is OK; without an impact study no loss is estimated."""
    readings = readings_of(draw_rows(1_000, 1))
    assert {reading.signal for reading in readings.values()} == {Signal.BROKEN_RELATION_RATE}
    assert {reading.feature for reading in readings.values()} <= set(NAMES)
    assert Evidence.BAD not in {reading.evidence for reading in readings.values()}


@pytest.mark.parametrize("share", [0.6, 1.0])
def test_a_permuted_feature_is_read_as_broken(share: float) -> None:
    """Its value is about the share of permuted rows. Other features deviate only as alternatives to it."""
    readings = readings_of(permute(draw_rows(1_000, 1), SECOND, share=share))
    permuted_reading = readings.pop(reading_key(Signal.BROKEN_RELATION_RATE, NAMES[SECOND]))
    assert permuted_reading.level is not Level.NONE
    assert permuted_reading.value == pytest.approx(share, abs=0.15)
    alternatives = {each.feature for each in readings.values() if each.evidence is Evidence.BAD}
    assert alternatives == set(permuted_reading.instead_of)


def test_a_feature_without_relations_cannot_be_broken() -> None:
    """Nothing in the other features shows on which row its value belongs."""
    readings = readings_of(permute(draw_rows(1_000, 1), INDEPENDENT))
    key = reading_key(Signal.BROKEN_RELATION_RATE, NAMES[INDEPENDENT])
    assert readings[key].evidence is not Evidence.BAD


def impact_of(
    metric: Metric, loss: float, healthy_error: float, also: tuple[PerformanceImpact, ...] = ()
) -> PerformanceImpact:
    """A study in which each feature costs the same, permuted or not."""
    features = {
        name: FeatureImpact(loss, (loss,) * (feature.bins.size if feature.bins is not None else 0), most_changed=0.0)
        for name, feature in BASELINE.features.items()
    }
    return PerformanceImpact(
        metric, labelled=True, healthy_error=healthy_error, all_permuted=loss, features=features, also=also
    )


@pytest.mark.parametrize(("auc_loss", "recall_loss", "worst"), [(0.2, 0.05, Metric.AUC), (0.03, 0.3, Metric.RECALL)])
def test_the_metric_that_is_worst_for_its_limit_is_read(auc_loss: float, recall_loss: float, worst: Metric) -> None:
    """Of several metrics one is read, and the damage part stays in the owner's, which the fallback is priced in."""
    impact = impact_of(Metric.AUC, auc_loss, 0.1, (impact_of(Metric.RECALL, recall_loss, 0.5),))
    rows = permute(draw_rows(1_000, 1), SECOND)
    tally = tally_of(rows, HEALTHY)
    baseline = replace(BASELINE, harm=impact)
    shift = distribution_shift(baseline, tally)
    assert shift is not None
    readings = diagnosis_readings(POLICY, baseline, tally, shift, {}, Z)
    reading = readings[Signal.ESTIMATED_METRIC_LOSS]
    assert reading.metric == worst
    assert reading.level is Level.SEVERE
    assert reading.healthy_performance == (0.9 if worst is Metric.AUC else 0.5)
    share = readings[reading_key(Signal.BROKEN_RELATION_RATE, NAMES[SECOND])].value
    assert reading.corruption == pytest.approx((share or 0.0) * auc_loss, rel=0.2)
