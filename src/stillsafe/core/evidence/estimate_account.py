"""The estimated loss held to account: how far it was from the loss that labels showed afterwards, window by window."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean, median

INTERVAL_DEVIATIONS = 2.0
"""An estimate is within its interval where the labels differ from it by at most so many standard errors of both."""
TRUST_SHARE = 0.8
"""An estimate whose interval holds the realised loss of fewer windows than this share is not to be trusted."""
FEWEST_WINDOWS = 5
"""Of fewer windows nothing is said about trust."""


@dataclass(frozen=True, slots=True)
class WindowAccount:
    """Estimated and realised loss of one window, in the unit of the estimate's reading.

    Attributes:
        start, end: of the window, aware UTC.
        label_count: answers of the model in it that have a label.
        estimated_loss, estimate_error: the estimated loss and its standard error.
        realised_loss, realised_error: the loss by labels and its standard error.
    """

    start: datetime
    end: datetime
    label_count: int
    estimated_loss: float
    estimate_error: float
    realised_loss: float
    realised_error: float

    @property
    def difference(self) -> float:
        """Estimated minus realised loss."""
        return self.estimated_loss - self.realised_loss

    @property
    def is_within(self) -> bool:
        """Whether the realised loss is within the interval of the estimate."""
        reach = INTERVAL_DEVIATIONS * math.hypot(self.estimate_error, self.realised_error)
        return abs(self.difference) <= reach


@dataclass(frozen=True, slots=True)
class EstimateAccount:
    """The account of several windows.

    Attributes:
        unit: how losses are shown: `points` of a hundred, `growth` in percent, or `loss` in the metric's own unit.
        window_count: labelled windows.
        bias: mean of estimated minus realised loss: below zero where the estimate saw too little.
        median_error: median distance of the two.
        within_count: windows whose realised loss was within the interval of the estimate.
    """

    unit: str
    window_count: int
    bias: float
    median_error: float
    within_count: int

    @property
    def is_trusted(self) -> bool:
        """Whether the intervals held, as far as enough windows show."""
        return self.window_count < FEWEST_WINDOWS or self.within_count >= TRUST_SHARE * self.window_count

    @property
    def sentence(self) -> str:
        """The account in words."""
        windows = f"the last {self.window_count} labelled windows" if self.window_count > 1 else "one labelled window"
        facts = (
            f"over {windows} the estimate was {_amount(self.unit, self.median_error)} off, {self.within_count} within "
            "its interval"
        )
        if self.is_trusted:
            return f"{facts[0].upper()}{facts[1:]}."
        if self.bias < 0:
            side = (
                f"it saw {_amount(self.unit, -self.bias)} too little loss on average, as it does where the same inputs"
            )
            side = f"{side} have another truth now"
        else:
            side = (
                f"it saw {_amount(self.unit, self.bias)} too much loss on average, as damage costs less than it takes"
            )
        return f"The estimate is not to be trusted on this service: {facts}; {side}."


def account_of(windows: Sequence[WindowAccount], unit: str) -> EstimateAccount | None:
    """The account of some windows; None without any."""
    if not windows:
        return None
    differences = [window.difference for window in windows]
    within_count = sum(window.is_within for window in windows)
    error = median(map(abs, differences))
    return EstimateAccount(unit, len(windows), fmean(differences), error, within_count)


def _amount(unit: str, amount: float) -> str:
    if unit == "points":
        return f"{100 * amount:.1f} points"
    return f"{amount:.0%}" if unit == "growth" else f"{amount:.3g}"
