"""A feature's values before and after: its healthy shares by bin beside those of a run's window. Pure.

Only stored counts are shown. A bin that fewer than the window's `min_count` values share is shown as so few.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from stillsafe.core.baseline import Baseline, FeatureBaseline
from stillsafe.core.evidence.bins import Bins
from stillsafe.core.window import FeatureTally, Window
from stillsafe.dashboard.formatting import NO_VALUE, count, percent, shorten

MOST_DISTRIBUTIONS = 6
MOST_NAMES_OF_GROUP = 3
MOST_EXAMPLES = 3
SHORT_NUMBER = 10_000


@dataclass(frozen=True, slots=True)
class BinRow:
    """One bin.

    Attributes:
        label: which values. Untrusted: escape it before display.
        healthy, now: its share of the values, in [0, 1].
        now_text: the share as text, or how few values it has.
    """

    label: str
    healthy: float
    now: float
    now_text: str

    @property
    def healthy_text(self) -> str:
        """The healthy share."""
        return percent(self.healthy)


@dataclass(frozen=True, slots=True)
class Distribution:
    """A feature, the confidence or the predictions in the healthy period and in a window.

    Attributes:
        name: of the feature. Untrusted.
        rows: the bins that have values in either.
        healthy_count, count: values.
        notes: what the bins do not show.
    """

    name: str
    rows: tuple[BinRow, ...]
    healthy_count: int
    count: int
    notes: tuple[str, ...] = ()


def distributions(baseline: Baseline, window: Window, names: Sequence[str]) -> list[Distribution]:
    """The distributions of some features in a window, in their order; none of a feature that has no bins.

    Args:
        baseline: the healthy period, of the window's own hours.
        window: of one run.
        names: features, or the outputs `confidence` and `prediction`.
    """
    tally = window.fresh if window.fresh.prediction_count else window.total
    results = []
    for name in names:
        reference = baseline.features.get(name) or baseline.outputs.get(name)
        values = tally.features.get(name) or tally.outputs.get(name)
        if reference is not None and values is not None:
            results.append(distribution(name, reference, values, window.min_count))
    return [each for each in results if each is not None][:MOST_DISTRIBUTIONS]


def distribution(name: str, reference: FeatureBaseline, tally: FeatureTally, min_count: int) -> Distribution | None:
    """One distribution, or None where its bins were not counted.

    Args:
        name: of the feature.
        reference: the feature in the healthy period.
        tally: in the window.
        min_count: fewer values than this are not counted out.
    """
    bins = reference.bins
    if bins is None or len(reference.bin_counts) != bins.size or len(tally.bin_counts) != bins.size:
        return _missing_values(name, reference, tally, min_count)
    labels = bin_labels(bins)
    healthy_count, total = sum(reference.bin_counts), sum(tally.bin_counts)
    rows = [
        _row(label, healthy / max(healthy_count, 1), number, total, min_count)
        for label, healthy, number in zip(labels, reference.bin_counts, tally.bin_counts, strict=True)
        if healthy or number
    ]
    return Distribution(name, tuple(rows), healthy_count, total, _notes(tally))


def _missing_values(name: str, reference: FeatureBaseline, tally: FeatureTally, min_count: int) -> Distribution | None:
    """What a baseline without bins knows: how many values were missing."""
    total = tally.value_count + tally.missing_count
    healthy_count = reference.value_count + reference.missing_count
    if not total or not healthy_count:
        return None
    present = _row("present", 1 - reference.missing_rate, tally.value_count, total, min_count)
    missing = _row("missing", reference.missing_rate, tally.missing_count, total, min_count)
    return Distribution(name, (present, missing), healthy_count, total, _notes(tally))


def _row(label: str, healthy: float, number: int, total: int, min_count: int) -> BinRow:
    is_few = 0 < number < min_count
    now = min(max(number, min_count) if is_few else number, total) / max(total, 1)
    text = f"fewer than {min_count} values" if is_few else percent(now) if total else NO_VALUE
    return BinRow(label, healthy, now, text)


def _notes(tally: FeatureTally) -> tuple[str, ...]:
    """The commonest number and the most frequent unseen categories, as far as they are stored."""
    notes = []
    number, times = tally.commonest or (None, 0)
    if number is not None and tally.value_count:
        notes.append(f"Most frequent number: {number:g}, in {percent(times / tally.value_count)} of the values.")
    examples = sorted(tally.unseen_examples.items(), key=lambda item: (-item[1], item[0]))[:MOST_EXAMPLES]
    if examples:
        texts = (f"{shorten(category)} × {count(times)}" for category, times in examples)
        notes.append(f"New: {', '.join(texts)}.")
    return tuple(notes)


def bin_labels(bins: Bins) -> list[str]:
    """Which values each bin has, the special bins last."""
    if bins.lowest is not None:
        ends = [_edge_text(edge) for edge in bins.edges]
        between = [f"{low} to {high}" for low, high in pairwise(ends)]
        ordinary = [f"up to {ends[0]}", *between, f"above {ends[-1]}"] if ends else ["in the healthy range"]
        return [
            *ordinary,
            f"far below ({_edge_text(bins.lowest)} and less)",
            f"far above ({_edge_text(bins.highest or 0.0)} and more)",
            "missing",
        ]
    ordinary = [shorten(category) for category in bins.categories]
    for group in bins.groups:
        more = len(group) - MOST_NAMES_OF_GROUP
        names = ", ".join(shorten(category) for category in group[:MOST_NAMES_OF_GROUP])
        ordinary.append(f"{names} and {more} more" if more > 0 else names)
    return [*(ordinary or ["known"]), "rare", "not in the healthy period", "missing"]


def _edge_text(edge: float) -> str:
    """Short: an edge is shown to be recognised, and the digits beyond the fourth rarely matter."""
    return f"{edge:.4g}" if abs(edge) < SHORT_NUMBER else f"{edge:,.6g}"
