"""What is unseen ages: the share of new values that is expected of a window grows with the time since the period."""

from datetime import UTC, datetime, timedelta

import pytest

from stillsafe.core.evidence.new_values import NewValues

END = datetime(2026, 3, 14, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("shares", "hours", "expected"),
    [
        ((), 500, 0.0),
        ((0.2,), 1, 0.2),
        ((0.2,), 24 * 90, 0.2),
        ((0.1, 0.2, 0.3), -5, 0.1),
        ((0.1, 0.2, 0.3), 24, 0.1),
        ((0.1, 0.2, 0.3), 25, 0.2),
        ((0.1, 0.2, 0.3), 24 * 5, 0.5),
        ((0.1, 0.2, 0.3), 24 * 90, 1.0),
    ],
)
def test_the_share_grows_as_it_grew_in_the_period(shares: tuple[float, ...], hours: int, expected: float) -> None:
    """By days that have begun, on from the last one by the mean growth, and never above all values."""
    assert NewValues(END, shares).share_at(END + timedelta(hours=hours)) == pytest.approx(expected)


def test_without_a_time_the_next_day_counts() -> None:
    """As where a period is compared with itself."""
    assert NewValues(END, (0.1, 0.2)).share_at(None) == 0.1
