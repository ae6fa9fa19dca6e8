"""Realised performance in short: one figure of a time by its labels, with coverage, delay and interval.

What pages and commands show beside other things; `performance` has every metric. The interval holds 95%, by E. B.
Wilson ("Probable inference, the law of succession, and statistical inference", Journal of the American Statistical
Association 22, 1927).
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from itertools import combinations, pairwise
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from stillsafe.store.read.labels import OutcomeGroup, OutcomeSums, has_labels, outcome_sums

Z = 1.959964
"""The 97.5% quantile of the normal distribution."""
ACCURACY, DISTANCE = "accuracy", "mean_absolute_error"
RECENT = timedelta(days=7)
MOST_ANSWERS = 20
"""Answers beyond this are no classes whose coverage a person compares."""
BIAS_DEVIATIONS = 4.0
"""Standard errors between two shares of coverage: chance exceeds them once in 16,000 comparisons."""


@dataclass(frozen=True, slots=True)
class LabelSummary:
    """Labels of the answers of a time.

    Attributes:
        start, end: aware UTC, half open.
        prediction_count, label_count: answers that are evidence, and those with a label.
        coverage: share of the answers with a label, or None without answers.
        delay_seconds: mean time from request to label, or None without labels.
        metric: `accuracy`, or a regressor's `mean_absolute_error`.
        value: of the metric, or None without labels.
        low, high: ends of the interval of an accuracy, else None.
    """

    start: datetime
    end: datetime
    prediction_count: int
    label_count: int
    coverage: float | None
    delay_seconds: float | None
    metric: str
    value: float | None
    low: float | None = None
    high: float | None = None

    def document(self) -> dict[str, Any]:
        """The summary as plain values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @property
    def sentence(self) -> str:
        """The summary in words."""
        if self.value is None:
            return f"No label has come for {self.prediction_count:,} answers."
        ends = "" if self.low is None else f" ({self.low:.1%} to {self.high:.1%})"
        figure = f"{self.value:.1%}{ends}" if self.metric == ACCURACY else f"{self.value:.4g}"
        counts = f"{self.label_count:,} of {self.prediction_count:,} answers have a label"
        return f"{self.metric.replace('_', ' ').capitalize()} {figure}; {counts}."


def share_interval(share: float, count: int) -> tuple[float, float]:
    """The ends of Wilson's interval of a share of `count` rows."""
    centre = share + Z * Z / (2 * count)
    reach = Z * math.sqrt(share * (1 - share) / count + Z * Z / (4 * count * count))
    whole = 1 + Z * Z / count
    return max(0.0, (centre - reach) / whole), min(1.0, (centre + reach) / whole)


def summary_of(sums: OutcomeSums, start: datetime, end: datetime) -> LabelSummary:
    """The summary of sums; answers that are all decimal numbers are a regressor's."""
    facts = (start, end, sums.prediction_count, sums.label_count, sums.coverage, sums.delay_seconds)
    if sums.are_decimals:
        return LabelSummary(*facts, DISTANCE, sums.distance)
    if not sums.label_count:
        return LabelSummary(*facts, ACCURACY, None)
    share = sums.hit_count / sums.label_count
    return LabelSummary(*facts, ACCURACY, share, *share_interval(share, sums.label_count))


def label_summaries(
    connection: Connection, spans: Sequence[tuple[datetime, datetime]], model_version: str
) -> list[LabelSummary]:
    """The summary of each span; empty where no label has ever come, so that the queries cost nothing."""
    if not has_labels(connection):
        return []
    return [summary_of(outcome_sums(connection, start, end, model_version), start, end) for start, end in spans]


def window_summaries(
    connection: Connection, windows: Sequence[tuple[datetime, datetime, str | None]]
) -> list[LabelSummary | None]:
    """The summary of each window of a model version; None of each where no label has ever come."""
    if not windows or not has_labels(connection):
        return [None] * len(windows)
    return [
        summary_of(outcome_sums(connection, start, end, version or ""), start, end) for start, end, version in windows
    ]


def recent_summary(connection: Connection, now: datetime, model_version: str) -> LabelSummary | None:
    """The summary of the last seven days, or None where no label has ever come."""
    return next(iter(label_summaries(connection, [(now - RECENT, now)], model_version)), None)


def day_spans(now: datetime, timezone: str, limit: int) -> list[tuple[datetime, datetime]]:
    """The last days of a time zone as spans in UTC, newest first; the first one has not ended."""
    zone = ZoneInfo(timezone)
    today = now.astimezone(zone).date()
    starts = [
        datetime.combine(today - timedelta(days=number), time(), zone).astimezone(UTC) for number in range(-1, limit)
    ]
    return [(start, end) for end, start in pairwise(starts)]


@dataclass(frozen=True, slots=True)
class AnswerCoverage:
    """How many of the answers of a time have a label, by answer: labels that are missing may be missing for a reason.

    Attributes:
        prediction_count, label_count: answers, and those with a label.
        shares: answer -> share of it that has a label; of a regressor, and of many classes, empty.
        has_bias: whether the shares differ by more than chance explains.
    """

    prediction_count: int
    label_count: int
    shares: Mapping[str, float]
    has_bias: bool

    def document(self) -> dict[str, Any]:
        """The coverage as plain JSON types."""
        counts = {"prediction_count": self.prediction_count, "label_count": self.label_count}
        return {**counts, "coverage_of_answers": dict(self.shares), "has_bias": self.has_bias}

    @property
    def sentence(self) -> str:
        """The coverage in words."""
        text = f"Of {self.prediction_count:,} answers of the last 30 days {self.label_count:,} have a label."
        if self.shares:
            text += f" By answer: {', '.join(f'{name} {share:.1%}' for name, share in self.shares.items())}."
        if self.has_bias:
            text += " Some answers get their label more often than others: figures from these labels are biased."
        return text


def answer_coverage(groups: Sequence[OutcomeGroup]) -> AnswerCoverage:
    """The coverage of counted answers.

    Two shares differ by more than chance where they are more than `BIAS_DEVIATIONS` standard errors apart.
    """
    counts: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    for group in groups:
        if group.prediction is not None:
            counts[group.prediction] += group.count
            labels[group.prediction] += group.count * (group.label is not None)
    total, label_count = counts.total(), labels.total()
    if len(counts) > MOST_ANSWERS or not label_count:
        return AnswerCoverage(total, label_count, {}, has_bias=False)
    shares = {name: labels[name] / count for name, count in sorted(counts.items())}
    variance = label_count / total * (1 - label_count / total)
    pairs = combinations(sorted(counts), 2)
    has_bias = any(
        abs(shares[a] - shares[b]) > BIAS_DEVIATIONS * math.sqrt(variance * (1 / counts[a] + 1 / counts[b]))
        for a, b in pairs
    )
    return AnswerCoverage(total, label_count, shares, has_bias=has_bias)


class RecentSummaries:
    """Keeps what it last read for a while, because a page or a scrape must not count a large log each time.

    Args:
        read: reads the summaries at a time.
        seconds: how long they are kept.
    """

    def __init__(self, read: Callable[[datetime], list[LabelSummary]], seconds: float = 60.0) -> None:
        self._read, self._age = read, timedelta(seconds=seconds)
        self._last: tuple[datetime, list[LabelSummary]] | None = None

    def __call__(self, now: datetime) -> list[LabelSummary]:
        """The summaries, at most so old."""
        if self._last is None or not timedelta(0) <= now - self._last[0] < self._age:
            self._last = now, self._read(now)
        return self._last[1]
