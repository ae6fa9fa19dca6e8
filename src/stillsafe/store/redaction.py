"""Redaction: removes from documents of older releases what fewer than `MIN_COUNT` values share.

Baselines and windows are stored under a threshold of disclosure (`min_count`). Documents of releases without it list
exact numbers and categories of single rows, and the ends of ranges and the edges of bins are such numbers too. Here
they become what such a document would show today, as far as that is known without its rows: a rare category counts
among the values that are not listed, a rare number is not listed, and an end or an edge becomes the roundest number
within about as many rows of it as the threshold. Documents of that age have a fixed form, so these are plain JSON.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stillsafe.core.evidence.bins import SPECIAL_BINS
from stillsafe.core.evidence.shared_numbers import roundest_number

Document = dict[str, Any]

MIN_COUNT = 5
"""Values that must share what a redacted document shows: the default of `[privacy] min_count`."""
FEW_NUMBERS = 10
"""Up to so many different numbers, their edges are the midpoints between them."""
MARGIN = 0.5
"""Share of the healthy range beyond which a number is far outside."""
WITHHELD = "(withheld {})"
"""Takes the place of a rare category that had a bin of its own, so that all bins keep their numbers."""


def is_of_older_release(document: Any) -> bool:
    """Whether a baseline or a window was stored without a threshold of disclosure."""
    return isinstance(document, dict) and "min_count" not in document


def redacted_baseline(document: Document) -> Document:
    """The document of a baseline without what few values share; the same one if it has a threshold already."""
    if not is_of_older_release(document):
        return document
    features, outputs = _section(document, "features"), _section(document, "outputs")
    rare_bins = {name: _rare_bins(feature) for name, feature in features.items()}
    classes = {name: feature for name, feature in outputs.items() if feature.get("category_counts")}
    return {
        **document,
        "features": {name: _redacted_feature(feature) for name, feature in features.items()},
        "outputs": {name: _redacted_numbers(feature) for name, feature in outputs.items()} | classes,
        "prediction_counts": _redacted_predictions(document.get("prediction_counts") or {}),
        **({"joint": _merged_joint(document["joint"], features, rare_bins)} if document.get("joint") else {}),
        **({"harm": _merged_impact(document["harm"], features, rare_bins)} if document.get("harm") else {}),
        "min_count": MIN_COUNT,
    }


def redacted_window(document: Document) -> Document:
    """The document of a window without what few of its values share; the same one if it has a threshold already."""
    if not is_of_older_release(document):
        return document
    tallies = {name: _redacted_tally(document[name]) for name in ("total", "fresh") if document.get(name)}
    return {**document, **tallies, "min_count": MIN_COUNT}


def baseline_columns(document: Document) -> Document:
    """The columns that copy parts of a baseline's document which a redaction changes."""
    features = _section(document, "features")
    return {
        "feature_ranges": {
            name: {"min": each["minimum"], "max": each["maximum"]}
            for name, each in features.items()
            if each.get("minimum") is not None
        },
        "category_frequencies": {
            name: {category: count / each["value_count"] for category, count in each["category_counts"].items()}
            for name, each in features.items()
            if each.get("category_counts")
        },
    }


def _section(document: Document, name: str) -> dict[str, Document]:
    return {key: value for key, value in (document.get(name) or {}).items() if isinstance(value, dict)}


def _redacted_feature(feature: Document) -> Document:
    return _redacted_categories(feature) if feature.get("category_counts") else _redacted_numbers(feature)


def _redacted_categories(feature: Document) -> Document:
    """A feature whose rare categories count among the values that are not listed."""
    counts: Mapping[str, int] = feature["category_counts"]
    listed_counts = {category: count for category, count in counts.items() if count >= MIN_COUNT}
    rare_counts = {category: count for category, count in counts.items() if count < MIN_COUNT}
    if not rare_counts:
        return feature
    new_feature = {
        **feature,
        "category_counts": listed_counts,
        "unlisted_count": feature.get("unlisted_count", 0) + sum(rare_counts.values()),
        "unlisted_most": max(rare_counts.values()),
    }
    if feature.get("minimum") is not None:
        codes = [float(code) for code in listed_counts]
        new_feature |= {"minimum": min(codes, default=None), "maximum": max(codes, default=None)}
    if bins := feature.get("bins"):
        new_feature["bins"] = _redacted_category_bins(bins, rare_counts)
        new_feature["bin_counts"] = _merged_bins(feature.get("bin_counts") or (), _rare_bins(feature), _rare_bin(bins))
    return new_feature


def _redacted_category_bins(bins: Document, rare: Mapping[str, int]) -> Document:
    """The bins without the names of rare categories; what is not listed counts as they did."""
    categories = [WITHHELD.format(at) if text in rare else text for at, text in enumerate(bins.get("categories", ()))]
    groups = [[text for text in group if text not in rare] for group in bins.get("groups", ())]
    return {**bins, "categories": categories, "groups": groups, "has_unlisted_rare": True}


def _rare_bins(feature: Document) -> tuple[int, ...]:
    """The bins of single categories that are rare."""
    counts, bins = feature.get("category_counts") or {}, feature.get("bins") or {}
    return tuple(at for at, text in enumerate(bins.get("categories", ())) if counts.get(text, MIN_COUNT) < MIN_COUNT)


def _rare_bin(bins: Document) -> int:
    """The bin of all rare categories: the first after the ordinary ones."""
    return max(len(bins.get("categories", ())) + len(bins.get("groups", ())), 1)


def _merged_bins(values: Iterable[Any], origins: Iterable[int], target: int) -> list[Any]:
    """Values by bin, those of some bins added to another one; no values stay none."""
    sums = list(values)
    for origin in origins if sums else ():
        sums[target] += sums[origin]
        sums[origin] = type(sums[origin])(0)
    return sums


def _redacted_numbers(feature: Document) -> Document:
    """A feature whose range, edges and listed numbers belong to no single row."""
    if feature.get("minimum") is None or feature.get("maximum") is None:
        return feature
    frequent = [(float(number), int(count)) for number, count in feature.get("frequent") or ()]
    shared_pairs = [pair for pair in frequent if pair[1] >= MIN_COUNT]
    new_feature = {**feature, "frequent": [list(pair) for pair in shared_pairs]}
    if len(shared_pairs) < len(frequent):
        new_feature["unlisted_most"] = max(count for _, count in frequent if count < MIN_COUNT)
    numbers = _Numbers.of(feature, {number for number, _ in shared_pairs})
    low, high = numbers.ends()
    is_shared = feature["value_count"] >= MIN_COUNT
    new_feature |= {"minimum": low if is_shared else None, "maximum": high if is_shared else None}
    if bins := feature.get("bins"):
        are_few = 0 < feature.get("distinct_count", 0) <= min(len(frequent), FEW_NUMBERS)
        distinct_numbers = [number for number, _ in frequent] if are_few else []
        edges = [numbers.edge(at, distinct_numbers) for at in range(1, len(numbers.points) - 1)]
        new_feature["bins"] = {**bins, "edges": edges, **_far_limits(bins, low, high)}
    return new_feature


@dataclass(frozen=True, slots=True)
class _Numbers:
    """The range of a feature's numbers, cut into bins.

    Attributes:
        points: the minimum, the edges and the maximum.
        counts: values in each bin between two of them.
        exact: numbers that enough values equal.
        row_width: the width of the range that one value has on average; of a constant number, of its size.
    """

    points: tuple[float, ...]
    counts: tuple[int, ...]
    exact: frozenset[float]
    row_width: float

    @classmethod
    def of(cls, feature: Document, exact: Iterable[float]) -> "_Numbers":
        """The numbers of a feature."""
        edges = [float(edge) for edge in (feature.get("bins") or {}).get("edges") or ()]
        points = (float(feature["minimum"]), *edges, float(feature["maximum"]))
        counts = tuple((feature.get("bin_counts") or ())[: len(edges) + 1]) or (int(feature["value_count"]),) * 2
        # Where an end is the edge of its bin, or the other end, all values of the bin equal it.
        equal_ends = [points[0]] if points[0] == points[1] and counts[0] >= MIN_COUNT else []
        width = (points[-1] - points[0]) or abs(points[-1]) or 1.0
        return cls(points, counts, frozenset((*exact, *equal_ends)), width / max(feature["value_count"], 1))

    def ends(self) -> tuple[float, float]:
        """The range, wider by about as much as `MIN_COUNT` values take up, so that its ends are round numbers."""
        first, last = self.points[1] - self.points[0], self.points[-1] - self.points[-2]
        below = MIN_COUNT * (first / max(self.counts[0], 1) or self.row_width)
        above = MIN_COUNT * (last / max(self.counts[-1], 1) or self.row_width)
        low, high = self.points[0], self.points[-1]
        return self._rounded_number(low, low - below, low), self._rounded_number(high, high, high + above)

    def edge(self, at: int, distinct_numbers: list[float]) -> float:
        """An edge as a round number among about `MIN_COUNT` values around it.

        Args:
            at: its position among the points.
            distinct_numbers: all numbers of the feature, if these are few: the edge stays between two of them.
        """
        edge = self.points[at]
        widths = (edge - self.points[at - 1], self.counts[at - 1]), (self.points[at + 1] - edge, self.counts[at])
        # In the outermost bins most values lie near the edge, so the denser side sets the reach.
        below = above = min(min(MIN_COUNT // 2 / max(count, 1), 0.5) * width for width, count in widths)
        if distinct_numbers:
            below = (edge - max((each for each in distinct_numbers if each < edge), default=edge)) / 2
            above = (min((each for each in distinct_numbers if each > edge), default=edge) - edge) / 2
        return self._rounded_number(edge, edge - below, edge + above)

    def _rounded_number(self, number: float, low: float, high: float) -> float:
        """The roundest number of an interval around a number, unless enough values equal that number."""
        is_exact = number in self.exact or not math.isfinite(low) or not math.isfinite(high)
        return number if is_exact else roundest_number(low, high, number)


def _far_limits(bins: Document, low: float, high: float) -> Document:
    """The limits beyond which a value is far outside, of a range that has become wider."""
    if bins.get("lowest") is None:
        return {}
    margin = MARGIN * ((high - low) or max(1.0, abs(high)))
    limits = {"lowest": low - margin, "highest": high + margin}
    return limits if all(map(math.isfinite, limits.values())) else {}


def _redacted_predictions(counts: Mapping[str, int]) -> dict[str, int]:
    """The counts of classes; of a regressor's predictions only those that enough rows share."""
    are_decimals = all(_is_decimal(text) for text in counts)
    return {text: count for text, count in counts.items() if not are_decimals or count >= MIN_COUNT}


def _is_decimal(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and ("." in text or "e" in text)
    except ValueError:
        return False


def _redacted_tally(tally: Document) -> Document:
    features = {name: _redacted_counts(each) for name, each in _section(tally, "features").items()}
    return {
        **tally,
        "features": features,
        "prediction_counts": _redacted_predictions(tally.get("prediction_counts") or {}),
    }


def _redacted_counts(feature: Document) -> Document:
    examples = {text: count for text, count in (feature.get("unseen_examples") or {}).items() if count >= MIN_COUNT}
    commonest = feature.get("commonest")
    return {
        **feature,
        "unseen_examples": examples,
        "commonest": commonest if (commonest or [0, 0])[1] >= MIN_COUNT else None,
    }


def _merged_joint(
    joint: Document, features: Mapping[str, Document], rare_bins: Mapping[str, tuple[int, ...]]
) -> Document:
    """The joint table with the rows of rare categories in the bin of rare ones."""
    names = [str(name) for name in joint["features"]]
    if not any(rare_bins.get(name) for name in names):
        return joint
    size = len(joint["counts"])
    table = np.zeros((size, size), dtype=np.int64)
    for row, counts in enumerate(joint["counts"]):
        table[row, row:] = counts
    table += np.triu(table, 1).T
    start = 0
    for name in names:
        bins = features[name].get("bins") or {}
        target = start + _rare_bin(bins)
        for origin in (start + at for at in rare_bins.get(name, ())):
            for matrix in (table, table.T):
                matrix[target] += matrix[origin]
                matrix[origin] = 0
        start += _bin_count(bins)
    return {**joint, "counts": [table[row, row:].tolist() for row in range(size)]}


def _bin_count(bins: Document) -> int:
    is_number = bins.get("lowest") is not None
    return (len(bins.get("edges") or ()) + 1 if is_number else _rare_bin(bins)) + SPECIAL_BINS


def _merged_impact(
    impact: Document, features: Mapping[str, Document], rare_bins: Mapping[str, tuple[int, ...]]
) -> Document:
    """The results of the impact study with the shares of rare categories in the bin of rare ones."""

    def merged_shares(label: Document) -> Document:
        shares = {
            name: _merged_bins(values, rare_bins.get(name, ()), _rare_bin(features.get(name, {}).get("bins") or {}))
            for name, values in (label.get("features") or {}).items()
        }
        return {**label, "features": shares}

    return {**impact, "truths": [merged_shares(label) for label in impact.get("truths") or ()]}
