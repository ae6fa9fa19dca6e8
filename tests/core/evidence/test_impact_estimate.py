"""The estimate in its parts."""

import numpy as np
import pytest

from stillsafe.core.evidence.impact import Corruption
from stillsafe.core.evidence.impact_estimate import estimate_impact
from stillsafe.core.evidence.impact_part import ImpactKind
from tests.core.evidence.test_impact import EFFECTS, IMPACT, LAST_BIN, WHOLE, shift_to


def test_the_parts_add_up_to_the_loss() -> None:
    """Single losses, what tried groups correct, moved predictions, and a shift for the worse."""
    for corruptions in ({}, {"important": WHOLE}, {"important": WHOLE, "other": Corruption(0.5, extreme=True)}):
        estimate = estimate_impact(EFFECTS, shift_to({"important": LAST_BIN}, predictions=LAST_BIN), corruptions)
        damage = sum(part.loss for part in estimate.parts if part.kind is not ImpactKind.SHIFT)
        shift = sum(part.loss for part in estimate.parts if part.kind is ImpactKind.SHIFT)
        assert damage == pytest.approx(estimate.corruption, abs=1e-5)
        assert shift == pytest.approx(estimate.shift, abs=1e-5)


def test_a_damaged_feature_has_its_share_and_its_loss() -> None:
    """One part per damaged feature."""
    estimate = estimate_impact(IMPACT, shift_to(), {"important": Corruption(0.5, extreme=False)})
    (part,) = estimate.parts
    assert (part.kind, part.feature, part.share) == (ImpactKind.DAMAGE, "important", 0.5)
    assert part.loss == pytest.approx(0.15)
    assert np.isfinite(estimate.standard_error)
