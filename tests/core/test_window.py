"""What a window says of itself."""

import pytest

from stillsafe.core.window import FeatureTally, Tally


def test_a_window_without_confidences_has_no_mean() -> None:
    """Nothing divided by nothing is unknown, not zero."""
    assert Tally(prediction_count=5).avg_confidence is None
    assert Tally(prediction_count=5).low_confidence_rate is None


def test_mean_and_low_rate_are_over_the_scored_rows() -> None:
    """Rows without a confidence neither lower the mean nor dilute the rate."""
    tally = Tally(prediction_count=100, confidence_count=4, confidence_sum=3.0, low_confidence_count=1)
    assert (tally.avg_confidence, tally.low_confidence_rate) == (0.75, 0.25)


@pytest.mark.parametrize(("unseen", "is_unseen"), [(0, False), (1, True)])
def test_one_unseen_category_is_told(unseen: int, is_unseen: bool) -> None:
    """The mission's flag: whether any new category appeared."""
    tally = Tally(features={"temp": FeatureTally(5), "carrier": FeatureTally(5, unseen_count=unseen)})
    assert tally.unseen_categories is is_unseen
