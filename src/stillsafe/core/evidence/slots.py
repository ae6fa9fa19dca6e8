"""The baseline of the hours that a window's rows come from, as an ordinary `Baseline`.

Shares and sums are the mean over the slots, weighted by the window's rows in each. The joint table is log-linear: the
table of independent features given the slot, times the association beyond the clock, which is the same at every hour:

    q(i, j)  =  sum over slots of w p(i) p(j)  *  c(i, j) / sum over slots of n p(i) p(j)

with the window's share `w` of each slot, its healthy rows `n` and shares `p`, and the healthy count `c` of both bins in
one row. Iterative proportional fitting then gives the table the window's marginals.

Source: W. E. Deming and F. F. Stephan, "On a least squares adjustment of a sampled frequency table when the expected
marginal totals are known", Annals of Mathematical Statistics 11, 1940.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import Baseline, FeatureBaseline, Joint
from stillsafe.core.evidence.impact import PerformanceImpact
from stillsafe.core.evidence.slot_table import SlotTable
from stillsafe.core.policy import EVIDENCE, EvidencePolicy

Numbers = NDArray[np.float64]
SHARE_ROWS = 100_000
"""The bin counts of a composed feature add up to this, so that shares keep five digits."""
FITTING_STEPS = 3
DIGITS = 6


@dataclass(frozen=True, slots=True)
class _Mix:
    """A window's slots in a slot table.

    Attributes:
        table: the slots.
        shares: (S, B) share of each slot's rows in each bin.
        weights: (S,) share of the window's rows in each slot; they add up to 1.
        variances: (S,) sampling variance of a slot's shares, per unit of p (1 - p), as the mean over features.
        starts: first bin of each feature and output, by name.
        sizes: number of bins of each.
    """

    table: SlotTable
    shares: Numbers
    weights: Numbers
    variances: Numbers
    starts: Mapping[str, int]
    sizes: Mapping[str, int]

    @property
    def effective_rows(self) -> int:
        """Rows with the sampling variance of the weighted shares."""
        return max(1, round(1 / max(float(self.weights**2 @ self.variances), 1e-12)))

    def of(self, name: str) -> Numbers:
        """(bins,) the window's expected shares of a feature or an output."""
        start = self.starts[name]
        return np.asarray(self.weights @ self.shares[:, start : start + self.sizes[name]])


def slot_of(table: SlotTable, slot: str) -> str:
    """The name that a slot has in a table: the same, or that of any day where the table has one kind of day."""
    return slot if slot in table.names or not slot else f"day-{slot.rpartition('-')[2]}"


def composed_baseline(
    baseline: Baseline, slot_counts: Mapping[str, int], policy: EvidencePolicy = EVIDENCE
) -> Baseline:
    """The baseline for rows of these slots; the same baseline where it has no slots, or the rows no times.

    Where the healthy period lacks too many of the slots, the result compares no distributions, confidences or
    associations: what is normal at such hours is not known.

    Args:
        baseline: as stored.
        slot_counts: slot -> rows of the window.
        policy: the rules' numbers.
    """
    table = baseline.slots
    if table is None or not slot_counts:
        return baseline
    if not table.names:
        return replace(baseline, variation=table.variation, harm=_harm(baseline, table))
    counts = np.zeros(len(table.names))
    positions = {name: index for index, name in enumerate(table.names)}
    for slot, count in slot_counts.items():
        if (name := slot_of(table, slot)) in positions:
            counts[positions[name]] += count
    if counts.sum() < (1 - policy.unknown_slots_max) * sum(slot_counts.values()):
        return _without_shares(baseline)
    mix = _mix(baseline, table, counts / counts.sum(), policy)
    rows = mix.effective_rows
    return replace(
        baseline,
        **_confidence(baseline, mix),
        **_prediction(baseline, mix),
        features={name: _feature(feature, mix, name) for name, feature in baseline.features.items()},
        outputs={name: _feature(output, mix, name) for name, output in baseline.outputs.items()},
        joint=_joint(baseline, mix, policy),
        variation=table.variation,
        offset=table.offset,
        harm=_harm(baseline, table),
        effective_size=rows,
    )


def slot_shares(baseline: Baseline, policy: EvidencePolicy = EVIDENCE) -> dict[str, Numbers]:
    """Per feature that no clock determines, (S, bins) the share of each slot's rows in each bin."""
    table = baseline.slots
    if table is None or not table.names:
        return {}
    mix = _mix(baseline, table, np.zeros(len(table.names)), policy)
    names = [name for name in table.features if name not in baseline.clock]
    return {name: mix.shares[:, mix.starts[name] : mix.starts[name] + mix.sizes[name]] for name in names}


def _without_shares(baseline: Baseline) -> Baseline:
    """The baseline with what holds at any hour: ranges, categories, missing values, refusals and model errors."""
    return replace(
        baseline,
        outputs={},
        joint=None,
        confidence_count=0,
        avg_confidence=None,
        prediction_mean=None,
        is_hour_known=False,
    )


def _harm(baseline: Baseline, table: SlotTable) -> PerformanceImpact | None:
    return None if baseline.harm is None else replace(baseline.harm, shift_error=table.shift_error)


def _mix(baseline: Baseline, table: SlotTable, weights: Numbers, policy: EvidencePolicy) -> _Mix:
    sizes = {name: _size(baseline.features[name]) for name in table.features}
    sizes |= {name: _size(baseline.outputs[name]) for name in table.outputs}
    starts = dict(zip(sizes, np.cumsum([0, *sizes.values()]).tolist(), strict=False))
    counts = np.array(table.counts, dtype=np.float64)
    rows = np.array(table.rows, dtype=np.float64)
    shares, noise = np.empty_like(counts), []
    for name, start in starts.items():
        part = slice(start, start + sizes[name])
        shares[:, part], noise_shares = _shrunken_shares(counts[:, part], rows, policy.slot_prior_rows)
        noise.append(noise_shares)
    pooled_rows = np.maximum(np.array(table.pooled_rows, dtype=np.float64), 1.0)
    noise_share = np.mean(noise, axis=0) if noise else np.zeros(len(rows))
    variances = (1 - noise_share) / pooled_rows + noise_share / max(float(rows.sum()), 1.0)
    return _Mix(table, shares, weights, variances, starts, sizes)


def _shrunken_shares(counts: Numbers, rows: Numbers, prior_rows: float) -> tuple[Numbers, Numbers]:
    """(S, bins) the shares of one feature by slot, drawn towards those of the whole period; (S,) by which part.

    Of a slot's deviation from the whole, the part stays that its chi-square exceeds its degrees of freedom by: the
    positive-part James-Stein estimator. Source: B. Efron and C. Morris, "Stein's estimation rule and its competitors",
    Journal of the American Statistical Association 68, 1973.
    """
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    shares = counts / totals
    whole = rows @ shares
    whole = whole / max(float(whole.sum()), 1e-12)
    is_used = whole > 0
    chi_square = totals * (((shares - whole) ** 2)[:, is_used] / whole[is_used]).sum(axis=1, keepdims=True)
    noise = np.minimum((is_used.sum() - 1) / np.maximum(chi_square, 1e-12), 1.0)
    shrunken = whole + (1 - noise) * (shares - whole)
    # A few rows of the whole period, so that a bin that a slot lacks is rare and not impossible.
    return np.asarray((shrunken * totals + prior_rows * whole) / (totals + prior_rows)), noise[:, 0]


def _size(feature: FeatureBaseline) -> int:
    return feature.bins.size if feature.bins is not None else 0


def _feature(feature: FeatureBaseline, mix: _Mix, name: str) -> FeatureBaseline:
    """A feature with the window's expected shares; the number of its values stays that of the whole period."""
    if name not in mix.starts:
        return feature
    shares, rows = mix.of(name), feature.value_count + feature.missing_count
    missing = round(float(shares[-1]) * rows) if feature.missing_count else 0
    return replace(
        feature,
        value_count=rows - missing,
        missing_count=missing,
        bin_counts=tuple(np.round(shares * SHARE_ROWS).astype(np.int64).tolist()),
        frequent=_frequent(feature, mix, name),
    )


def _frequent(feature: FeatureBaseline, mix: _Mix, name: str) -> tuple[tuple[float, int], ...]:
    """The commonest numbers of the whole period and of the window's slots, each at the larger of both rates."""
    slots = mix.table.frequent.get(name)
    if slots is None or not feature.value_count:
        return feature.frequent
    rates: dict[float, float] = {}
    for weight, row_count, numbers in zip(mix.weights.tolist(), mix.table.pooled_rows, slots, strict=True):
        for number, count in numbers if weight else ():
            rates[number] = rates.get(number, 0.0) + weight * count / max(row_count, 1)
    counts = dict(feature.frequent)
    least = min(counts.values(), default=0)
    for number, rate in rates.items():
        counts[number] = max(counts.get(number, least), round(rate * feature.value_count))
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _confidence(baseline: Baseline, mix: _Mix) -> dict[str, Any]:
    counts, sums, squares, low = (np.array(column) for column in zip(*mix.table.confidences, strict=True))
    rows = np.maximum(np.array(mix.table.pooled_rows, dtype=np.float64), 1.0)
    share = float(mix.weights @ (counts / rows))
    if not baseline.confidence_count or share <= 0:
        return {}
    mean = float(mix.weights @ (sums / rows)) / share
    variance = float(mix.weights @ (squares / rows)) / share - mean**2
    return {
        "confidence_count": max(1, round(mix.effective_rows * share)),
        "avg_confidence": mean,
        "confidence_sd": math.sqrt(max(variance, 0.0)),
        "low_confidence_rate": float(mix.weights @ (low / rows)) / share,
    }


def _prediction(baseline: Baseline, mix: _Mix) -> dict[str, Any]:
    if baseline.prediction_mean is None or not mix.table.predictions:
        return {}
    counts, sums, squares = (np.array(column) for column in zip(*mix.table.predictions, strict=True))
    rows = np.maximum(np.array(mix.table.pooled_rows, dtype=np.float64), 1.0)
    share = float(mix.weights @ (counts / rows))
    if share <= 0:
        return {}
    mean = float(mix.weights @ (sums / rows)) / share
    variance = float(mix.weights @ (squares / rows)) / share - mean**2
    return {"prediction_mean": mean, "prediction_sd": math.sqrt(max(variance, 0.0))}


def _joint(baseline: Baseline, mix: _Mix, policy: EvidencePolicy) -> Joint | None:
    """The joint table of the window's slots: see the module's formula."""
    joint = baseline.joint
    if joint is None or any(name not in mix.starts for name in joint.features):
        return joint
    sizes = [mix.sizes[name] for name in joint.features]
    columns = np.concatenate(
        [np.arange(mix.starts[name], mix.starts[name] + mix.sizes[name]) for name in joint.features]
    )
    bins, width = np.cumsum([0, *sizes])[:-1], len(columns)
    if [len(row) for row in joint.counts] != list(range(width, 0, -1)):
        return joint
    upper = np.zeros((width, width))
    upper[np.triu_indices(width)] = np.concatenate([np.array(row, dtype=np.float64) for row in joint.counts])
    counts = upper + np.triu(upper, 1).T
    rows, shares = float(counts.diagonal()[: sizes[0]].sum()), clipped_shares(baseline, joint, mix.shares[:, columns])
    slot_rows = np.array(mix.table.rows, dtype=np.float64)
    by_clock = (shares * (slot_rows * rows / slot_rows.sum())[:, None]).T @ shares
    prior = policy.association_prior_rows
    association = (counts + prior) / (by_clock + prior)
    expected = (shares * mix.weights[:, None]).T @ shares * association
    marginals = mix.weights @ shares
    own = np.repeat(np.arange(len(sizes)), sizes)
    for _ in range(FITTING_STEPS):
        sums = np.maximum(np.repeat(np.add.reduceat(expected, bins, axis=1), sizes, axis=1), 1e-12)
        scale = np.sqrt(marginals[:, None] / sums)
        expected = expected * scale * scale.T
    expected[np.equal.outer(own, own)] = 0.0
    expected[np.diag_indices(width)] = marginals
    table = np.round(expected * rows, DIGITS)
    upper_rows: tuple[tuple[int, ...], ...] = tuple(table[index, index:] for index in range(width))
    return Joint(joint.features, upper_rows, mix.table.row_sd or joint.row_sd)


def clipped_shares(baseline: Baseline, joint: Joint, shares: Numbers) -> Numbers:
    """(S, B) shares with numbers far outside counted in the outermost ordinary bins, as the joint table counts them."""
    clipped_table, start = shares.copy(), 0
    for name in joint.features:
        bins = baseline.features[name].bins
        if bins is None:
            continue
        for index, target in enumerate(bins.clipped_bins):
            if target != index:
                clipped_table[:, start + target] += clipped_table[:, start + index]
                clipped_table[:, start + index] = 0.0
        start += bins.size
    return clipped_table
