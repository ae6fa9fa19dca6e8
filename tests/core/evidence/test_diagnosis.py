"""The readings of a diagnosis: a broken relation names its feature, and a permutation elsewhere does not."""

import pytest

from stillsafe.core.evidence.corruption import distribution_shift
from stillsafe.core.evidence.diagnosis import diagnosis_readings
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
