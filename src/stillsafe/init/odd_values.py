"""Values of a sample that may stand for a missing one: what is no date among dates, and a number far from all others.

`--missing COLUMN=VALUE` makes them missing values. Whether they are, only the owner knows: a model that was trained
with -999 has learnt what it means.
"""

import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd

from stillsafe.core.schema import FeatureSpec, FeatureType, Schema
from stillsafe.monitoring.date_values import date_values

FEWEST_REPEATS, LEAST_SHARE, LARGEST_SHARE = 5, 0.002, 0.5
"""How often a number occurs that may stand for a missing one, as a count and as a share of the values."""
FEWEST_OTHERS = 10
"""Other numbers of a column in which a number can be far from the rest; fewer are codes."""
NINES_DISTANCE = 0.25
"""Spans of the other numbers by which nines such as 999 are away; any other number by more than one."""
MOST_NAMES = 3
_NINES = re.compile(r"-?(9{2,}|8{3,}|9+\.9+)")

LineOf = Callable[[str, Any], str]
"""Column and value -> where the value occurs first, such as `line 7`."""


def odd_value_remarks(schema: Schema, features: pd.DataFrame, line_of: LineOf) -> Iterator[str]:
    """A sentence for each column with values that may stand for a missing one, with the option that makes them so.

    Args:
        schema: what was inferred from the sample.
        features: the sample.
        line_of: where a value occurs in the file.
    """
    for spec in schema.features:
        values = features[spec.name].dropna().tolist()
        if spec.type is FeatureType.DATE or spec.date_format is not None:
            odd_values = list(odd_dates(spec, values).items())[:MOST_NAMES]
            reason = "is no date, and counts as none"
        else:
            sentinel = lone_number(values) if spec.type in (FeatureType.NUMERIC, FeatureType.INTEGER) else None
            odd_values = [] if sentinel is None else [sentinel]
            reason = "is far from all other values"
        for value, count in odd_values:
            option = shlex.quote(f"{spec.name}={_plain(value)}")
            yield (
                f"{spec.name}: {_plain(value)} ({count} of {len(values)} values, first in {line_of(spec.name, value)}) "
                f"{reason}. If it stands for a missing value that the model gets as null, give --missing {option}."
            )


def odd_dates(spec: FeatureSpec, values: Sequence[Any]) -> Counter[Any]:
    """What is no date in a column of dates, the most frequent first."""
    distinct = list(dict.fromkeys(values))
    micros = date_values(spec, distinct).micros.tolist()
    others = {value for value, time in zip(distinct, micros, strict=True) if time != time}  # NaN is unlike itself
    return Counter(dict(Counter(value for value in values if value in others).most_common()))


def lone_number(values: Sequence[Any]) -> tuple[Any, int] | None:
    """The smallest or largest number with its count, where it is frequent and far from all others; or None.

    It is far if it is the only negative one, or farther from the next than the others are from one another; of nines a
    quarter of that is enough.
    """
    counts = Counter(values)
    if len(counts) <= FEWEST_OTHERS:
        return None
    ascending = sorted(counts)
    for number, others in ((ascending[0], ascending[1:]), (ascending[-1], ascending[:-1])):
        count = counts[number]
        is_frequent = count >= FEWEST_REPEATS and LEAST_SHARE <= count / len(values) <= LARGEST_SHARE
        span, gap = others[-1] - others[0], min(abs(number - others[0]), abs(number - others[-1]))
        is_lone = number < 0 <= others[0]
        is_far = gap > span * (NINES_DISTANCE if _NINES.fullmatch(_plain(number)) else 1.0)
        if number and is_frequent and (is_lone or is_far):
            return number, count
    return None


def _plain(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
