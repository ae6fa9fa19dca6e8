"""Finds the few clients without which a deviating window is calm, and counts the window without them.

Which clients they are is tried one after the other, in the order of what they add to the deviation. `core` then judges
both windows again, so that a replay of the stored run gives the same decision.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.association import baseline_association_table, row_broken_shares
from stillsafe.core.evidence.slots import composed_baseline
from stillsafe.core.evidence.sources import (
    added_deviation,
    is_of_sources,
    most_outliers,
    speak_for_service,
    window_readings,
)
from stillsafe.core.policy import Policy
from stillsafe.core.signals import DIGITS, Evidence, Reading, Signal
from stillsafe.core.window import Window
from stillsafe.monitoring.binning import BATCH_ROWS, BinCodes, bin_codes, feature_bin_codes, one_hot
from stillsafe.monitoring.columns import Columns, output_columns
from stillsafe.monitoring.window_tally import WindowTallies

MOST_SHOWN = 5
"""Sources that a window names, the largest ones."""


def with_sources(policy: Policy, rows: WindowTallies, window: Window) -> Window:
    """The window with its sources, and without a few outlying ones where it is calm without them.

    Args:
        policy: the policy that judges it.
        rows: its rows.
        window: all of them, counted.
    """
    counts = _fresh_counts(rows.columns)
    if not counts:
        return window
    window = replace(window, source_count=len(counts), sources=_largest(counts))
    most = most_outliers(policy.evidence, len(counts))
    readings = window_readings(policy, rows.baseline, window)
    if rows.baseline is None or not most or all(reading.evidence is not Evidence.BAD for reading in readings):
        return window
    search = _Search(policy, rows, window, readings, _Deviations.of(rows, rows.baseline, window, readings))
    outliers = search.outliers(counts)
    if not outliers or len(outliers) > most:
        return window
    others = {name: count for name, count in counts.items() if name not in outliers}
    rest = replace(search.rest(outliers), source_count=len(others), sources=_largest(others))
    return replace(window, outliers={name: counts[name] for name in sorted(outliers)}, rest=rest)


def _fresh_counts(columns: Columns) -> dict[str, int]:
    """Fresh rows of each source that is known."""
    if not len(columns.sources):
        return {}
    counts = Counter(columns.sources[columns.fresh].counts())
    return {name: count for name, count in counts.items() if name is not None}


def _largest(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MOST_SHOWN])


@dataclass(frozen=True, slots=True)
class _Search:
    """The search for the sources without which a window is calm."""

    policy: Policy
    rows: WindowTallies
    window: Window
    readings: tuple[Reading, ...]
    deviations: "_Deviations"

    def rest(self, without: Collection[str]) -> Window:
        return self.rows.window(self.window, without)

    def outliers(self, counts: Mapping[str, int]) -> list[str]:
        """The fewest sources, those first that add most; empty where the others are never calm and enough."""
        outlier_names: list[str] = []
        for _ in range(int(self.policy.evidence.outlier_max_sources)):
            others = {name: count for name, count in counts.items() if name not in outlier_names}
            candidate = next(self._candidates(others), None)
            if candidate is None:
                return []
            outlier_names.append(candidate)
            if self._is_calm_without(outlier_names):
                return self._necessary(outlier_names)
        return []

    def _candidates(self, counts: Mapping[str, int]) -> Iterator[str]:
        """Sources that may be left out next, those that add most to the deviation first."""
        for name in self.deviations.order(list(counts)):
            others = {other: count for other, count in counts.items() if other != name}
            if speak_for_service(self.policy, others):
                yield name

    def _necessary(self, outlier_names: Sequence[str]) -> list[str]:
        """The sources without which the others would not be calm."""
        necessary = list(outlier_names)
        for name in outlier_names[:-1]:
            fewer = [each for each in necessary if each != name]
            if self._is_calm_without(fewer):
                necessary = fewer
        return necessary

    def _is_calm_without(self, outlier_names: Sequence[str]) -> bool:
        rest = self.rest(outlier_names)
        rest_readings = window_readings(self.policy, self.rows.baseline, rest)
        return is_of_sources(self.policy, replace(self.window, rest=rest), self.readings, rest_readings)


@dataclass(frozen=True, slots=True)
class _Deviations:
    """What each source adds to the deviation of a window.

    Attributes:
        names: the sources.
        counts: per feature and output, fresh rows by source and bin, and the healthy rows in these bins.
        lost_association: (S,) nats of association that the rows of each source lack; zeros where no relation deviates.
    """

    names: Sequence[str]
    counts: Sequence[tuple[NDArray[np.int64], Sequence[float]]]
    lost_association: NDArray[np.float64]

    @classmethod
    def of(
        cls, rows: WindowTallies, baseline: Baseline, window: Window, readings: tuple[Reading, ...]
    ) -> "_Deviations":
        baseline = composed_baseline(baseline, window.slot_counts)
        columns = rows.log_format.comparable_columns(rows.columns, baseline)
        baseline = rows.log_format.comparable_baseline(baseline)
        is_known = columns.fresh & (columns.sources.indices > 0)
        columns = columns[is_known]
        sources = columns.sources.indices.astype(np.intp) - 1
        names = [str(name) for name in columns.sources.vocabulary[1:]]
        counts = [
            (np.bincount(sources * len(healthy) + codes, minlength=len(names) * len(healthy)), healthy)
            for codes, healthy in _binned_columns(columns, baseline)
        ]
        tables = [(table.reshape(len(names), len(healthy)), healthy) for table, healthy in counts]
        is_broken = any(r.signal is Signal.BROKEN_RELATION_RATE and r.evidence is Evidence.BAD for r in readings)
        lost_association = _broken_relations(columns, baseline) if is_broken else np.zeros(len(columns))
        broken_sums = np.bincount(sources, weights=lost_association, minlength=len(names)).astype(np.float64)
        return cls(names, tables, broken_sums)

    def order(self, names: Collection[str]) -> list[str]:
        """The names by what they add to the deviation of all of them, the most first; without those that add nothing.

        Rounded, and of equal ones the first by name, so that the order of the rows does not matter.
        """
        is_chosen = np.array([name in names for name in self.names], dtype=np.bool_)
        additions = self.lost_association[is_chosen] + sum(
            added_deviation(table[is_chosen], healthy) for table, healthy in self.counts
        )
        sums = dict(zip([n for n in self.names if n in names], np.round(additions, DIGITS).tolist(), strict=True))
        return sorted((name for name in sums if sums[name] > 0), key=lambda name: (-sums[name], name))


def _binned_columns(columns: Columns, baseline: Baseline) -> Iterator[tuple[BinCodes, Sequence[float]]]:
    """Each feature, each output and the model's errors: the bin of each row, and the healthy rows of each bin."""
    codes = feature_bin_codes(columns, baseline.features, slice(None))
    pairs = [(codes[name], baseline.features[name]) for name in codes]
    outputs = {name: column for name, column in output_columns(columns).items() if name in baseline.outputs}
    pairs += [(bin_codes(column, baseline.outputs[name]), baseline.outputs[name]) for name, column in outputs.items()]
    for column_codes, healthy in pairs:
        if healthy.bins is not None and len(healthy.bin_counts) == healthy.bins.size:
            yield column_codes, healthy.bin_counts
    errors = baseline.model_error_count
    yield columns.model_errors.astype(np.int16), (max(baseline.sample_size - errors, 0), errors)


def _broken_relations(columns: Columns, baseline: Baseline) -> NDArray[np.float64]:
    """(n,) nats of association that each row lacks."""
    codes = feature_bin_codes(columns, baseline.features, slice(None))
    table = baseline_association_table(baseline, names=codes)
    if table is None:
        return np.zeros(len(columns))
    features = [baseline.features[name] for name in table.features]
    parts = [np.empty(0)]
    for first in range(0, len(columns), BATCH_ROWS):
        batch = [codes[name][first : first + BATCH_ROWS] for name in table.features]
        shares = row_broken_shares(table, one_hot(features, batch, clip=True))
        parts.append(np.sum(shares * table.total_information, axis=1))
    return np.maximum(np.concatenate(parts), 0.0)
