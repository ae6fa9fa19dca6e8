"""How many requests one key may make: a bucket of tokens that fills at the key's rate and holds a minute's worth."""

from dataclasses import dataclass

SECONDS = 60.0
"""The time that a rate refers to, and for which a bucket saves."""


@dataclass(slots=True)
class TokenBucket:
    """The tokens of one key in this process; a request takes one.

    Attributes:
        rate_per_minute: tokens that a minute adds, and the most that it holds.
        tokens: the tokens now.
        at: seconds of a monotonic clock at which they were counted.
    """

    rate_per_minute: int
    tokens: float
    at: float

    def seconds_until_next(self, now: float) -> float:
        """Take a token and return 0, or return after how many seconds there is one.

        Args:
            now: seconds of the same clock.
        """
        rate = self.rate_per_minute / SECONDS
        self.tokens = min(float(self.rate_per_minute), self.tokens + (now - self.at) * rate)
        self.at = now
        if self.tokens >= 1:
            self.tokens -= 1
            return 0.0
        return (1 - self.tokens) / rate
