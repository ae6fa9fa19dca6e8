"""What a bypass won or lost by labels: the fallback's answers beside those that the model would have given."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from stillsafe.core.evidence.label_errors import tally_error
from stillsafe.core.evidence.label_tally import AnswerTally
from stillsafe.core.evidence.metric import MetricDefinition

INTERVAL_DEVIATIONS = 2.0
"""A difference of fewer standard errors may be chance."""


@dataclass(frozen=True, slots=True)
class BypassPrice:
    """What a bypass won or lost, by the labels of the rows that the fallback answered and the model scored afterwards.

    Attributes:
        metric: how answers are judged.
        label_count: these rows.
        model: performance that the model would have had on them.
        fallback: performance of the fallback, with what each of its answers costs.
        gain: what the bypass won per row, in the metric's error; below zero where it lost.
        gain_error: standard error of the gain, an upper bound where both err on the same rows.
    """

    metric: str
    label_count: int
    model: float
    fallback: float
    gain: float
    gain_error: float

    @property
    def sentence(self) -> str:
        """The price in words."""
        name = self.metric.replace("_", " ")
        rows = f"By the labels of {self.label_count:,} requests that the fallback answered, its {name} was"
        answers = f"{rows} {self.fallback:.3g}, and the model's would have been {self.model:.3g}"
        if abs(self.gain) <= INTERVAL_DEVIATIONS * self.gain_error:
            return f"{answers}: neither was clearly better."
        total = abs(self.gain) * self.label_count
        verb = "won" if self.gain > 0 else "lost"
        return f"{answers}: the bypass {verb} {abs(self.gain):.3g} per request, {total:,.4g} in all."


def bypass_price(
    definition: MetricDefinition, model: Sequence[AnswerTally], fallback: Sequence[AnswerTally]
) -> BypassPrice | None:
    """The price of a bypass from the tallies of all its labelled runs; None without a label.

    Args:
        definition: the metric.
        model: answers of the model to the rows that the fallback answered, per run.
        fallback: the fallback's answers to the same rows, per run.
    """
    sums = _sum(model), _sum(fallback)
    if not min(each.count for each in sums):
        return None
    model_error, fallback_error = (tally_error(definition, each) for each in sums)
    gain = model_error.mean - fallback_error.mean - definition.fallback_cost
    variance = model_error.variance / model_error.count + fallback_error.variance / fallback_error.count
    metric = definition.metric
    return BypassPrice(
        metric.value,
        sums[1].count,
        metric.performance(model_error.mean),
        metric.performance(fallback_error.mean + definition.fallback_cost),
        gain,
        math.sqrt(variance),
    )


def _sum(tallies: Sequence[AnswerTally]) -> AnswerTally:
    cells: Counter[tuple[str, str]] = Counter()
    for tally in tallies:
        cells.update({(label, answer): count for label, answer, count in tally.outcomes})
    return AnswerTally(
        sum(each.count for each in tallies),
        tuple((*cell, count) for cell, count in sorted(cells.items())),
        math.fsum(each.error_sum for each in tallies),
        math.fsum(each.error_square_sum for each in tallies),
    )
