"""Rows that come from another time: what an hour that contradicts the clock means for all features of its row.

An hour may be wrong by itself, or the whole row may be stale. The other features show which: if they fit the hour that
the row claims better than the hour of its request, none of its values belongs to the request.
"""

from collections.abc import Mapping

from stillsafe.core.evidence.impact import DistributionShift
from stillsafe.core.policy import EvidencePolicy
from stillsafe.core.signals import Evidence, Reading, Signal
from stillsafe.core.window import FeatureTally, Tally


def foreign_rows(
    tally: Tally, shift: DistributionShift, readings: Mapping[str, Reading], policy: EvidencePolicy
) -> dict[str, float]:
    """Per feature of the window, the share of rows that come from another time; empty where none clearly do."""
    shares = [
        reading.value
        for reading in readings.values()
        if reading.signal is Signal.CLOCK_CONTRADICTION_RATE
        and reading.evidence is Evidence.BAD
        and reading.value is not None
        and tally.features.get(reading.feature or "", FeatureTally()).claim_deviations > policy.clock_claim_deviations
    ]
    return dict.fromkeys(shift.features, max(shares)) if shares else {}
