"""How fast new values come: a campaign each day, a catalogue that grows. What is unseen shows how old a baseline is.

The Good-Turing estimate takes the values of a period as exchangeable. Where they are not, each day has values that the
earlier days lack, and ever more of what comes is newer than the period.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class NewValues:
    """The share of values that are new because time has passed, beyond what chance explains.

    Attributes:
        ends_at: about the time of the last value of the period, aware UTC.
        shares: the share of a day's values that the days before lack, the days two before, and so on; empty where time
            makes no difference. Never falling.
    """

    ends_at: datetime
    shares: tuple[float, ...] = ()

    def share_at(self, at: datetime | None) -> float:
        """The expected share at a time, in [0, 1]; without a time that of the next day.

        It goes on growing as it grew within the period, on average per day.
        """
        if not self.shares:
            return 0.0
        days = 1 if at is None else max(1, math.ceil((at - self.ends_at) / DAY))
        last = len(self.shares)
        if days <= last:
            return self.shares[days - 1]
        growth = (self.shares[-1] - self.shares[0]) / (last - 1) if last > 1 else 0.0
        return min(1.0, self.shares[-1] + growth * (days - last))
