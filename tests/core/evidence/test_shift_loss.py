"""The loss by a genuine shift: the mix of labels must show in several features, and in no damaged output."""

import numpy as np
import pytest

from stillsafe.core.evidence.impact import DistributionShift, LabelProfile, PerformanceImpact
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.evidence.shift_loss import label_shift, shift_loss
from stillsafe.core.policy import EVIDENCE

COMMON, RARE = np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.2, 0.7])
NAMES = ("a", "b", "c")
LABELS = tuple(
    LabelProfile(share, error, dict.fromkeys(NAMES, tuple(by.tolist())), {"prediction": tuple(answers)})
    for share, error, by, answers in ((0.9, 0.02, COMMON, (0.98, 0.02)), (0.1, 0.5, RARE, (0.5, 0.5)))
)
IMPACT = PerformanceImpact(Metric.ACCURACY, True, 0.068, 0.2, {}, truths=LABELS)


def window(rare: float, names: tuple[str, ...] = NAMES, rare_answers: float | None = None) -> DistributionShift:
    """A window with so many rows of the rare label, as some features and the predictions show it."""
    healthy, now = 0.9 * COMMON + 0.1 * RARE, (1 - rare) * COMMON + rare * RARE
    features = {name: now if name in names else healthy for name in NAMES}
    answers = rare if rare_answers is None else rare_answers
    outputs, healthy_outputs = (
        {"prediction": np.array([0.98, 0.02]) * (1 - share) + np.array([0.5, 0.5]) * share} for share in (answers, 0.1)
    )
    return DistributionShift(features, features, dict.fromkeys(NAMES, healthy), outputs, healthy_outputs, 500, 10_000)


@pytest.mark.parametrize("rare", [0.3, 0.6, 0.9])
def test_another_mix_of_labels_costs_the_error_on_them(rare: float) -> None:
    """All features and the predictions agree on it."""
    assert shift_loss(IMPACT, window(rare), (), EVIDENCE).loss == pytest.approx((rare - 0.1) * 0.48, abs=0.01)


@pytest.mark.parametrize("rare", [0.5, 0.9])
def test_one_feature_and_the_predictions_that_follow_it_are_no_mix_of_labels(rare: float) -> None:
    """The predictions move with a feature that the model leans on, whatever the labels do."""
    assert label_shift(IMPACT, window(rare, names=("a",)), (), EVIDENCE).loss == 0


def test_damaged_outputs_are_no_evidence_of_labels() -> None:
    """Predictions that damage has moved are not explained by other labels a second time."""
    shift = window(0.1, rare_answers=0.9)
    assert shift_loss(IMPACT, shift, ("a",), EVIDENCE).loss == 0
