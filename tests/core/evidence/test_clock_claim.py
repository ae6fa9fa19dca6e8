"""An hour that contradicts the clock is wrong by itself, or its whole row comes from another time."""

import numpy as np
import pytest

from stillsafe.core.evidence.clock_claim import foreign_rows
from stillsafe.core.evidence.impact import DistributionShift
from stillsafe.core.policy import EVIDENCE
from stillsafe.core.signals import Evidence, Level, Reading, Signal
from stillsafe.core.window import FeatureTally, Tally

SHARES = np.array([0.5, 0.5])
SHIFT = DistributionShift({"hour": SHARES, "size": SHARES}, {}, {}, {}, {}, 500, 5_000)
KEY = "clock_contradiction_rate:hour"
CONTRADICTION = Reading(
    Signal.CLOCK_CONTRADICTION_RATE, "hour", Evidence.BAD, Level.MODERATE, 0.5, 0.0, 0.05, None, 500
)


@pytest.mark.parametrize(
    ("deviations", "shares"),
    [(EVIDENCE.clock_claim_deviations + 1, {"hour": 0.5, "size": 0.5}), (-10.0, {}), (0.0, {})],
)
def test_rows_are_foreign_where_their_other_features_fit_the_hour_that_they_claim(
    deviations: float, shares: dict[str, float]
) -> None:
    """Every feature of such a row comes from another time; an hour that is wrong by itself makes none foreign."""
    tally = Tally(500, features={"hour": FeatureTally(500, claim_deviations=deviations)})
    assert foreign_rows(tally, SHIFT, {KEY: CONTRADICTION}, EVIDENCE) == shares


def test_agreement_claims_nothing() -> None:
    """Without a contradiction no row is foreign."""
    tally = Tally(500, features={"hour": FeatureTally(500, claim_deviations=99.0)})
    assert foreign_rows(tally, SHIFT, {}, EVIDENCE) == {}
