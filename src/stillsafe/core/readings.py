"""From a baseline and a window to readings: how far each signal is from healthy, and whether that matters.

A signal deviates only where the difference exceeds both the policy's effect, so that it matters, and the noise limit
(`evidence/noise_limit.py`): what sampling, the baseline's variation from chunk to chunk and the number of readings in
the run explain. So the same policy is right at 50 rows and at 500,000.
"""

import math

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.diagnosis import diagnosis_readings
from stillsafe.core.evidence.measures import (
    expected_signals,
    has_enough_rows,
    measure_reading,
    measure_run,
    silence_reading,
)
from stillsafe.core.evidence.relation_record import NO_RECORD, Record
from stillsafe.core.policy import Policy
from stillsafe.core.signals import Evidence, Reading, Signal, insufficient, reading_key
from stillsafe.core.window import Window


def read_signals(
    policy: Policy, baseline: Baseline, window: Window, since_last: float | None = None, record: Record = NO_RECORD
) -> tuple[Reading, ...]:
    """Every reading of one run, in a fixed order; `INSUFFICIENT` where there is too little data.

    Based on `window.fresh`. A window with too few rows, or with too few fresh ones, gives no evidence; nor does a
    silence soon after the last conclusive run, which has judged it already.

    Args:
        policy: the rules' numbers.
        baseline: the healthy period of the window's model version.
        window: the window.
        since_last: seconds since the end of the last conclusive run's window, or None without one.
        record: of broken relations in the runs before.
    """
    run = measure_run(policy, baseline, window)
    baseline, tally, shift, z = run.baseline, run.tally, run.shift, run.z
    readings = {m.key: measure_reading(policy, m, baseline, z) for m in run.measures}
    if shift is not None:
        readings |= diagnosis_readings(policy, baseline, tally, shift, readings, z, record)
    silence = silence_reading(policy, baseline, window, since_last)
    signals = expected_signals(policy.evidence, baseline)
    return (*(readings.get(reading_key(s, f)) or insufficient(s, f, tally.judged_count) for s, f in signals), silence)


def run_evidence(policy: Policy, window: Window, readings: tuple[Reading, ...]) -> Evidence:
    """Evidence of a whole run: BAD if any reading is; else OK only where there were enough rows to judge."""
    readings = () if window.clock_jump else readings
    if any(reading.evidence is Evidence.BAD for reading in readings):
        return Evidence.BAD
    is_enough = bool(readings) and math.isfinite(window.fresh.confidence_sum) and has_enough_rows(policy, window)
    return Evidence.OK if is_enough else Evidence.INSUFFICIENT


def evidence_without_labels(
    policy: Policy, window: Window, readings: tuple[Reading, ...], evidence: Evidence
) -> Evidence:
    """Evidence of a run by everything but labels, which are about other rows than those of the window."""
    others = tuple(reading for reading in readings if reading.signal is not Signal.REALISED_LOSS)
    return evidence if len(others) == len(readings) else run_evidence(policy, window, others)
