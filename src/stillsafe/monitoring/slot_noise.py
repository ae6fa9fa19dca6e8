"""How well the slots of a healthy period foretell its held-out blocks, and how far these deviate nevertheless.

A part of the period is held out, and the rest is counted by slot. Each block of the held-out rows is as long as a
window, and is compared with the baseline of its own slots, exactly as a window is. Slots are used only where they
foretell held-out blocks better than the whole period does.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import Baseline, FeatureBaseline, Joint
from stillsafe.core.evidence import association
from stillsafe.core.evidence.distributions import distribution_shift
from stillsafe.core.evidence.impact import DistributionShift, PerformanceImpact
from stillsafe.core.evidence.impact_estimate import estimate_impact
from stillsafe.core.evidence.measures import Measure, confidence_measures, distribution_measures, feature_measures
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.evidence.slot_table import SlotTable
from stillsafe.core.evidence.slots import composed_baseline
from stillsafe.core.policy import EVIDENCE, Policy
from stillsafe.core.signals import OUTPUT_SIGNALS, Signal
from stillsafe.core.window import Tally
from stillsafe.monitoring.binning import BinCodes, co_occurrence
from stillsafe.monitoring.columns import Columns, Mask
from stillsafe.monitoring.slots import Period, count_slots, period_of
from stillsafe.monitoring.tally import tally

MOST_PARTS, MOST_BLOCKS = 7, 90
WIDE_FEATURES, MOST_WIDE_BLOCKS = 20, 30
"""Of a joint table with so many features, the associations of fewer blocks are measured: each takes longer."""
SMALLEST_BLOCK, LARGEST_BLOCK = 100, 500
FEWEST_BLOCKS = 8
WEEK_DAYS, WEEKS_PERIOD_DAYS = 7, 21
DAYS_PERIOD_DAYS = 3
"""A period of fewer days is held out by alternating blocks of its hours."""
GATE_DEVIATIONS = 3.0
"""Standard errors by which slots must foretell held-out blocks better than the whole period does."""
DISTANCES = frozenset((Signal.DISTRIBUTION_CHANGE, *OUTPUT_SIGNALS.values()))
WHOLE_PERIOD = (Signal.UNSEEN_CATEGORY_RATE, Signal.OUT_OF_RANGE_RATE, Signal.REPEATED_VALUE_RATE)
"""Signals whose reference is that of the whole period, so that their variation is, too."""
DIGITS = 9

Numbers = NDArray[np.float64]


@dataclass(slots=True)
class _Deviations:
    """What the held-out blocks show.

    Attributes:
        squares: per reading key, of each block the square of its deviation beyond sampling.
        association: per feature, of each block the products of both halves' losses, and of their full breaks.
        association_blocks: blocks behind `association`.
        shift_squares: of each block the square of the loss that the estimate for a genuine shift reports.
        gains: of each block, by how much its slots foretell it better than the whole period.
    """

    squares: dict[str, list[float]] = field(default_factory=dict)
    association: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    association_blocks: int = 0
    shift_squares: list[float] = field(default_factory=list)
    gains: list[float] = field(default_factory=list)


def with_slots(baseline: Baseline, rows: Columns, timezone: str, policy: Policy) -> Baseline:
    """The baseline with its period by slot; the same baseline where the times of the rows are not known.

    Args:
        baseline: made of these rows, with its impact study if there is one.
        rows: the healthy period, each category in the form that the baseline has it in.
        timezone: IANA name of the time zone of its hours.
        policy: the interval between runs, for the length of a block.
    """
    if not len(rows.times):
        return baseline
    in_order = rows if (np.diff(rows.times) >= 0).all() else rows[np.argsort(rows.times, kind="stable")]
    return replace(baseline, slots=slot_table(in_order, baseline, timezone, policy))


def slot_table(rows: Columns, baseline: Baseline, timezone: str, policy: Policy) -> SlotTable:
    """The period by slot; without slots where they foretell nothing.

    Args:
        rows: the healthy period, with times, in their order.
        baseline: made of these rows, with its impact study if there is one.
        timezone: IANA name of the time zone of its hours.
        policy: the interval between runs, for the length of a block.
    """
    period = period_of(rows, baseline, timezone)
    table = count_slots(period, np.ones(len(rows), np.bool_))
    deviations = _deviations(period, policy, with_slots=True)
    if len(deviations.gains) < FEWEST_BLOCKS or not _is_open(deviations.gains):
        deviations = _deviations(period, policy, with_slots=False)
        table = SlotTable(timezone, day_count=table.day_count)
    return replace(
        table,
        variation=_variation(baseline, deviations, with_slots=bool(table.names)),
        shift_error=round(math.sqrt(max(0.0, float(np.mean(deviations.shift_squares or [0.0])))), DIGITS),
    )


def _is_open(gains: list[float]) -> bool:
    error = float(np.std(gains, ddof=1)) / math.sqrt(len(gains))
    return float(np.mean(gains)) > GATE_DEVIATIONS * error


def _variation(baseline: Baseline, deviations: _Deviations, *, with_slots: bool) -> dict[str, float]:
    """Per reading key the standard deviation of held-out blocks beyond sampling."""
    variation = {key: math.sqrt(max(0.0, float(np.mean(values)))) for key, values in deviations.squares.items()}
    for name, parts in deviations.association.items():
        loss, full_break = (math.fsum(column) for column in zip(*parts, strict=True))
        variation[f"{Signal.BROKEN_RELATION_RATE}:{name}"] = (
            math.sqrt(max(0.0, loss) / full_break) if full_break else 0.0
        )
    for key, value in baseline.variation.items():
        if not with_slots or key.partition(":")[0] in WHOLE_PERIOD:
            variation[key] = max(value, variation.get(key, 0.0))
    return {key: round(value, DIGITS) for key, value in sorted(variation.items()) if value > 0}


def _deviations(period: Period, policy: Policy, *, with_slots: bool) -> _Deviations:
    deviations = _Deviations()
    parts = _parts(period)
    count = int(parts.max()) + 1
    size = _block_size(period, policy)
    tables = [_joint_counts(period, parts == part) for part in range(count)]
    for part in range(count):
        is_held_out = parts == part
        if is_held_out.all() or not is_held_out.any():
            continue
        table = count_slots(period, ~is_held_out) if with_slots else SlotTable(period.timezone)
        rest = _rest(period, table, tables, part)
        blocks = list(_blocks(np.flatnonzero(is_held_out), size))
        step = max(1, math.ceil(len(blocks) * count / MOST_BLOCKS))
        for block in blocks[::step]:
            _add_block(deviations, period, rest, block)
    return deviations


def _parts(period: Period) -> NDArray[np.int64]:
    """(n,) the part of the period in which each row is held out: weeks, days, or alternating quarters of an hour."""
    days = period.local.days()
    days = days - days.min()
    span = int(days.max()) + 1
    if span >= WEEKS_PERIOD_DAYS:
        parts = days // WEEK_DAYS
    elif span >= DAYS_PERIOD_DAYS:
        parts = days
    else:
        return np.asarray(period.local.positions // 2 % 2, np.int64)
    present, indices = np.unique(parts, return_inverse=True)
    return np.asarray(indices * min(MOST_PARTS, len(present)) // len(present), np.int64)


def _block_size(period: Period, policy: Policy) -> int:
    """Rows of a window: those of an interval between runs, if that is neither few nor very many."""
    seconds = (int(period.rows.times[-1]) - int(period.rows.times[0])) / 1e6
    expected = len(period.rows) * policy.every_seconds / max(seconds, 1.0)
    return int(min(max(expected, policy.min_predictions, SMALLEST_BLOCK), LARGEST_BLOCK))


def _blocks(indices: NDArray[np.intp], size: int) -> Iterator[NDArray[np.intp]]:
    count = len(indices) // size
    return iter(np.array_split(indices, count)) if count else iter(())


def _joint_counts(period: Period, rows: Mask) -> Numbers | None:
    joint = period.baseline.joint
    if joint is None:
        return None
    features = [period.baseline.features[name] for name in joint.features]
    return co_occurrence(features, [period.joint_codes[name][rows] for name in joint.features])


def _rest(period: Period, table: SlotTable, tables: list[Numbers | None], part: int) -> Baseline:
    """The baseline of all parts but one."""
    baseline, joint = period.baseline, period.baseline.joint
    others = [counts for index, counts in enumerate(tables) if index != part and counts is not None]
    if joint is not None:
        counts = np.sum(others, axis=0).astype(np.int64).tolist()
        joint = Joint(joint.features, tuple(tuple(row[index:]) for index, row in enumerate(counts)), joint.row_sd)
    return replace(baseline, slots=table, joint=joint, variation={}, offset={})


def _add_block(deviations: _Deviations, period: Period, rest: Baseline, block: NDArray[np.intp]) -> None:
    """Compare one block with the baseline of its slots."""
    first, stop = int(block[0]), int(block[-1]) + 1
    names = Counter(period.names[position] for position in period.positions[first:stop].tolist())
    slot_baseline = composed_baseline(rest, names)
    if not slot_baseline.is_hour_known:
        return  # the rest of the period lacks these slots
    counts = tally(period.rows[first:stop], replace(slot_baseline, joint=None), 0)
    shift = distribution_shift(slot_baseline, counts)
    if shift is None:
        return
    measures = [*confidence_measures(slot_baseline, counts), *feature_measures(EVIDENCE, slot_baseline, counts)]
    for measure in (*measures, *distribution_measures(shift)):
        if measure.signal not in WHOLE_PERIOD:
            deviations.squares.setdefault(measure.key, []).append(_square(measure))
    deviations.gains.append(_gain(period.baseline, slot_baseline, counts))
    if slot_baseline.harm is not None:
        deviations.shift_squares.append(_shift_square(slot_baseline.harm, shift))
    _add_association(deviations, period, slot_baseline, slice(first, stop))


def _shift_square(impact: PerformanceImpact, shift: DistributionShift) -> float:
    """The square of the loss that the estimate for a genuine shift reports on a healthy block, beyond sampling."""
    unit = impact.healthy_error if impact.metric is Metric.MEAN_ABSOLUTE_ERROR else 1.0
    exact = replace(impact, shift_error=0.0, effect_variation=0.0)
    loss = estimate_impact(exact, shift, {}, replace(EVIDENCE, impact_deviations=0.0)).shift * unit
    return float(loss**2 - impact.effect_sd**2 * shift.variance_factor)


def _square(measure: Measure) -> float:
    """The square of a deviation beyond sampling; of a distance its excess over the mean that sampling makes."""
    difference = measure.value - measure.reference
    if measure.signal in DISTANCES:
        return max(0.0, difference) ** 2
    return difference**2 - measure.noise**2


def _gain(whole: Baseline, slot_baseline: Baseline, counts: Tally) -> float:
    """By how much smaller a block's squared distance from its slots' shares is than from those of the whole period.

    The sum over all bins of (share - expected)² / whole share.
    """
    gain = 0.0
    parts = [
        (whole.features, slot_baseline.features, counts.features),
        (whole.outputs, slot_baseline.outputs, counts.outputs),
    ]
    for healthy, by_slot, tallies in parts:
        for name, feature in healthy.items():
            now = tallies.get(name)
            if feature.bins is None or now is None or not sum(now.bin_counts) or name in whole.clock:
                continue
            shares = [np.array(each.bin_counts, dtype=np.float64) for each in (now, feature, by_slot[name])]
            block, expected, slot = (each / max(float(each.sum()), 1.0) for each in shares)
            scale = 1 / np.maximum(expected, 1 / whole.sample_size)
            gain += float(((block - expected) ** 2 - (block - slot) ** 2) @ scale)
    return gain


def _add_association(deviations: _Deviations, period: Period, slot_baseline: Baseline, block: slice) -> None:
    """The loss of each feature's association in both halves of a block, every other row, given its own distribution.

    The halves share what is not sampling: the errors of the slots' shares, and what went on at that time.
    """
    joint = slot_baseline.joint
    if joint is None or (len(joint.features) > WIDE_FEATURES and deviations.association_blocks >= MOST_WIDE_BLOCKS):
        return
    table = association.baseline_association_table(slot_baseline)
    if table is None:
        return
    deviations.association_blocks += 1
    features = [slot_baseline.features[name] for name in table.features]
    codes = [period.joint_codes[name][block] for name in table.features]
    halves = [_association_loss(table, features, [column[first::2] for column in codes]) for first in (0, 1)]
    losses, full_breaks = (np.prod(np.array(pair), axis=0).tolist() for pair in zip(*halves, strict=True))
    for index, name in enumerate(table.features):
        deviations.association.setdefault(name, []).append((losses[index], full_breaks[index]))


def _association_loss(
    table: association.AssociationTable, features: list[FeatureBaseline], codes: list[BinCodes]
) -> tuple[Numbers, Numbers]:
    """(F,) the loss of each feature's association in some rows, and that of a full break, in nats."""
    together, rows = co_occurrence(features, codes), len(codes[0])
    shares = together.diagonal() / rows
    window = association.window_association(table, shares, association.pmi_sums(table, together), rows)
    losses = np.sum((window.from_own - window.observed_pmi) * table.is_associated, axis=1)
    full_breaks = np.sum((window.from_own - window.chance) * table.is_associated, axis=1)
    return np.asarray(losses), np.asarray(np.maximum(full_breaks, 0.0))
