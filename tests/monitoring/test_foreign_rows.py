"""An hour that contradicts the clock is wrong by itself, or its whole row comes from another time."""

from dataclasses import replace
from datetime import timedelta

import numpy as np

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.clock_claim import foreign_rows
from stillsafe.core.evidence.distributions import distribution_shift
from stillsafe.core.evidence.slots import composed_baseline
from stillsafe.core.policy import EVIDENCE
from stillsafe.monitoring.columns import Columns
from tests.monitoring.hours import MONDAY, Traffic, hourly_baseline, readings_of, window_of

TRAFFIC = Traffic()
BASELINE = hourly_baseline(TRAFFIC.rows(MONDAY, 14, 40, 1))
LIVE = TRAFFIC.rows(MONDAY + timedelta(days=14, hours=6), 1 / 24, 200, 2)


def foreign_shares(rows: Columns, baseline: Baseline = BASELINE) -> dict[str, float]:
    """The foreign rows of a window."""
    window = window_of(rows, baseline)
    shift = distribution_shift(composed_baseline(baseline, window.slot_counts), window.fresh)
    assert shift is not None
    return foreign_rows(window.fresh, shift, readings_of(rows, baseline), EVIDENCE)


def test_an_hour_that_is_wrong_by_itself_makes_no_foreign_rows() -> None:
    """The other features fit the time of the request."""
    wrong = replace(LIVE, numbers={**LIVE.numbers, "hour": np.full(len(LIVE), 18.0)})
    assert window_of(wrong, BASELINE).fresh.features["hour"].claim_deviations < -EVIDENCE.clock_claim_deviations
    assert foreign_shares(wrong) == {}


def test_rows_of_another_hour_are_foreign_in_every_feature() -> None:
    """Half of the rows are twelve hours old."""
    evening = TRAFFIC.rows(MONDAY + timedelta(days=14, hours=18), 1 / 24, 200, 3)
    old = np.arange(len(LIVE)) % 2 == 0
    numbers = {name: np.where(old, evening.numbers[name], column) for name, column in LIVE.numbers.items()}
    rows = replace(LIVE, numbers=numbers)
    assert window_of(rows, BASELINE).fresh.features["hour"].claim_deviations > EVIDENCE.clock_claim_deviations
    shares = foreign_shares(rows)
    assert shares.keys() >= {"size", "cost", "town", "hour"}
    assert set(shares.values()) == {0.5}


def test_agreement_claims_nothing() -> None:
    """Healthy rows contradict nothing."""
    assert window_of(LIVE, BASELINE).fresh.features["hour"].claim_deviations == 0.0
    assert foreign_shares(LIVE) == {}
