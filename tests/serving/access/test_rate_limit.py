"""A bucket lets a minute's worth through at once, and then as much as its rate."""

import pytest

from stillsafe.serving.access.rate_limit import TokenBucket


def test_a_burst_is_a_minute_s_worth() -> None:
    """Then the next token comes after a rate's share of a minute."""
    bucket = TokenBucket(6, 6.0, 0.0)
    assert [bucket.seconds_until_next(0.0) for _ in range(6)] == [0.0] * 6
    assert bucket.seconds_until_next(0.0) == pytest.approx(10)
    assert bucket.seconds_until_next(4.0) == pytest.approx(6)
    assert bucket.seconds_until_next(10.0) == 0.0


@pytest.mark.parametrize("rate", [1, 7, 600])
def test_no_long_time_lets_more_through(rate: int) -> None:
    """Over ten minutes of constant attempts: the burst, and the rate of each minute; idle time saves one burst only."""
    bucket = TokenBucket(rate, float(rate), 0.0)
    admission_count = sum(bucket.seconds_until_next(step / 20) == 0 for step in range(20 * 600))
    assert rate * 10 <= admission_count <= rate * 11
    assert sum(bucket.seconds_until_next(1e6) == 0 for _ in range(3 * rate)) == rate
