"""Broken relations over several runs: a break that no single run can show counts where runs in a row show it together.

The mean of n independent runs has 1 / sqrt(n) of the noise of one. So a feature's relations are broken where they
differ from health by more than the limit `z` in one run, or on average by more than z / sqrt(n) in n runs in a row,
each of which shows a part of that.

Source: the sum of standard scores is by S. A. Stouffer and others, The American Soldier I, 1949.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from stillsafe.core.policy import EvidencePolicy
from stillsafe.core.signals import DIGITS, Reading, Signal

Record = Mapping[str, tuple[float, ...]]
"""Per feature, the broken share in units of the noise of one run, in the conclusive runs just before, latest first."""
NO_RECORD: Record = {}


def noise_factor(shares_before: Sequence[float], policy: EvidencePolicy) -> float:
    """Part of the noise of one run that a run's share must exceed, given those of the runs before; at most 1."""
    counts = range(2, min(len(shares_before) + 1, int(policy.relation_runs)) + 1)
    rest = ((n, math.sqrt(n) - math.fsum(shares_before[: n - 1])) for n in counts)
    return min([1.0, *(max(share, policy.relation_least_part / math.sqrt(n)) for n, share in rest)])


def noise_factor_formula(policy: EvidencePolicy) -> str:
    """The same of `before_1`, `before_2` and so on, each 0 without such a run."""
    counts, least = range(2, int(policy.relation_runs) + 1), policy.relation_least_part
    sums = {n: " - ".join(f"before_{k}" for k in range(1, n)) for n in counts}
    return ", ".join(["min(1", *(f"max(sqrt({n}) - {sums[n]}, {least} / sqrt({n}))" for n in counts)]) + ")"


def next_record(record: Record, readings: Iterable[Reading], policy: EvidencePolicy) -> Record:
    """The record after a conclusive run: of the features whose break could still show together with the next runs."""
    most, least = int(policy.relation_runs), policy.relation_least_part / math.sqrt(max(policy.relation_runs, 1))
    shares = {
        reading.feature: reading.value / reading.noise * noise_factor(reading.shares_before, policy)
        for reading in readings
        if reading.signal is Signal.BROKEN_RELATION_RATE and reading.feature and reading.value and reading.noise
    }
    # A run counts at most as much as one that shows the break by itself.
    return {
        name: (round(min(share, 1.0), DIGITS), *record.get(name, ()))[: most - 1]
        for name, share in sorted(shares.items())
        if share >= least and most > 1
    }
