"""Evidence by source: a deviation that a few clients cause, while all others are calm, is theirs and not the service's.

A window is judged with all its rows and, where few clients may cause its deviation, without theirs. Each source adds to
the deviation of the whole: by counts in bins, its share of the log-likelihood ratio between the window's distribution
and the healthy one. The ratio is a sum over rows (J. Neyman and E. S. Pearson, 1933), so the shares of all sources add
up to it.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.measures import has_enough_rows
from stillsafe.core.evidence.relation_record import NO_RECORD, Record
from stillsafe.core.evidence.slots import composed_baseline
from stillsafe.core.policy import EvidencePolicy, Policy
from stillsafe.core.readings import read_signals
from stillsafe.core.signals import CLIENT, DIGITS, Evidence, Level, Reading, Signal, distance, insufficient
from stillsafe.core.window import Window

PRIOR_ROWS = 0.5
"""Rows added to each bin, so that an empty one has a share (Jeffreys' prior)."""
SHORTEST_SHARE = 1e-9
_NO_MODEL = CLIENT | {Signal.SILENCE_SECONDS}
"""Signals that are no measure of the rows of the model."""


def window_readings(
    policy: Policy,
    baseline: Baseline | None,
    window: Window | None,
    seconds_since_last: float | None = None,
    record: Record = NO_RECORD,
) -> tuple[Reading, ...]:
    """The readings by the baseline of the window's own hours; none without a baseline or a window."""
    if baseline is None or window is None:
        return ()
    own_baseline = composed_baseline(baseline, window.slot_counts, policy.evidence)
    return read_signals(policy, own_baseline, window, seconds_since_last, record)


def source_readings(
    policy: Policy, window: Window, readings: tuple[Reading, ...], rest_readings: tuple[Reading, ...]
) -> tuple[Reading, ...]:
    """The readings of a run: those of all rows, or those of the others where a few clients alone deviate.

    Args:
        policy: the rules' numbers.
        window: the window; without known sources its readings stay as they are.
        readings: of all its rows.
        rest_readings: of the rows without the window's outliers; empty where it has none.
    """
    if not window.source_count or not readings:
        return readings
    if is_of_sources(policy, window, readings, rest_readings):
        return (*rest_readings, _deviation_reading(policy, window, readings, rest_readings))
    signal, count = Signal.SOURCE_DEVIATION, window.fresh.judged_count
    if not has_enough_rows(policy, window):
        return (*readings, insufficient(signal, None, count))
    limits = policy.source_deviation_moderate, None, count
    return (*readings, Reading(signal, None, Evidence.OK, Level.NONE, 0.0, 0.0, *limits))


def is_of_sources(
    policy: Policy, window: Window, readings: tuple[Reading, ...], rest_readings: tuple[Reading, ...]
) -> bool:
    """Whether the others are enough to be judged by themselves, are calm, and are far nearer to health than the whole.

    A few rows that are too few to show a deviation are not calm: each deviation of the whole must shrink by the
    policy's share.
    """
    deviations = _deviations(readings)
    if window.rest is None or not has_enough_rows(policy, window.rest) or not deviations or _deviations(rest_readings):
        return False
    others = {reading.key: reading for reading in rest_readings}
    return all(
        reading.key in others
        and others[reading.key].evidence is Evidence.OK
        and distance(others[reading.key]) <= (1 - policy.source_deviation_moderate) * distance(reading)
        for reading in deviations
    )


def _deviations(readings: tuple[Reading, ...]) -> list[Reading]:
    return [each for each in readings if each.evidence is Evidence.BAD and each.signal not in _NO_MODEL]


def worst_deviation(readings: tuple[Reading, ...]) -> Reading:
    """Of readings some of which deviate, the one that deviates most beside its limit; severe ones first."""
    return max(
        _deviations(readings),
        key=lambda r: (r.level is Level.SEVERE, distance(r) / (r.moderate_limit or 1.0), r.key),
    )


def _deviation_reading(
    policy: Policy, window: Window, readings: tuple[Reading, ...], rest_readings: tuple[Reading, ...]
) -> Reading:
    """The share of the worst deviation that the outliers cause, in rows."""
    deviations, others = _deviations(readings), {reading.key: reading for reading in rest_readings}
    worst = worst_deviation(readings)
    rest = others[worst.key]
    rest_count = 0 if window.rest is None else window.rest.fresh.judged_count
    whole_rows = distance(worst) * window.fresh.judged_count
    value = 1 - distance(rest) * rest_count / max(whole_rows, SHORTEST_SHARE)
    return Reading(
        Signal.SOURCE_DEVIATION,
        None,
        Evidence.BAD,
        Level.MODERATE,
        round(min(max(value, 0.0), 1.0), DIGITS),
        0.0,
        policy.source_deviation_moderate,
        None,
        window.fresh.judged_count,
        sources=tuple(sorted(window.outliers)),
        source_keys=tuple(sorted(reading.key for reading in deviations)),
    )


def most_outliers(evidence: EvidencePolicy, source_count: int) -> int:
    """The most sources whose deviation is not the service's, of all that sent fresh rows."""
    return int(min(evidence.outlier_max_sources, source_count / (1 + evidence.outlier_min_others)))


def speak_for_service(policy: Policy, counts: Mapping[str, int]) -> bool:
    """Whether sources with these fresh rows are enough: by their rows, and without the largest of them.

    A second source with hardly a row would not make one client into two.
    """
    total = sum(counts.values())
    is_enough = total >= max(policy.min_predictions, policy.min_fresh_predictions)
    return is_enough and total - max(counts.values()) >= policy.min_fresh_predictions


def added_deviation(counts: NDArray[np.int64], healthy: Sequence[float]) -> NDArray[np.float64]:
    """(S,) what each source adds to the log-likelihood ratio between the sources' rows and health, in nats.

    Args:
        counts: (S, B) rows of each source in each bin.
        healthy: (B,) healthy rows in each bin.
    """
    prior = np.asarray(healthy, dtype=np.float64) + PRIOR_ROWS
    healthy_shares = prior / prior.sum()
    window_counts = counts.sum(axis=0) + PRIOR_ROWS * len(healthy_shares) * healthy_shares
    ratios = np.log(window_counts / window_counts.sum() / healthy_shares)
    return np.asarray(counts @ ratios, dtype=np.float64)
