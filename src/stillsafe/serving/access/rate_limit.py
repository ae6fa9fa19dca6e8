"""How many predictions one key may ask for: a bucket of tokens that fills at the key's rate and holds a minute's worth.

Each request takes a token, and one of several instances or labels as many as it has. How many these are is known when
its body has arrived, so it may leave the bucket in debt; the next request then waits until that is paid.
"""

from dataclasses import dataclass

from starlette.types import Scope

BUCKET = "stillsafe.bucket"
"""Where an ASGI scope has the bucket of the key that the request presents, if the key has a rate."""
SECONDS = 60.0
"""The time that a rate refers to, and for which a bucket saves."""


@dataclass(slots=True)
class TokenBucket:
    """The tokens of one key in this process.

    Attributes:
        rate_per_minute: tokens that a minute adds, and the most that it holds.
        tokens: the tokens now; fewer than none is a debt.
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


def charge_items(scope: Scope, count: int) -> None:
    """Take the tokens of a request's further items from its key's bucket, if it has one.

    Args:
        scope: the ASGI scope of the request, which has taken a token already.
        count: its instances or labels.
    """
    bucket: TokenBucket | None = scope.get(BUCKET)
    if bucket is not None:
        bucket.tokens -= max(0, count - 1)
