"""From a baseline and a window to readings: how far each signal is from healthy, and whether that matters.

A signal deviates only where the difference exceeds both the policy's effect, so that it matters, and the noise limit
(`evidence/noise_limit.py`): what sampling, the baseline's variation from chunk to chunk and the number of readings in
the run explain. So the same policy is right at 50 rows and at 500,000.
"""

import math

from stillsafe.core.baseline import Baseline
from stillsafe.core.evidence.diagnosis import diagnosis_readings
from stillsafe.core.evidence.measures import (
    has_enough_rows,
    is_continuous,
    measure_reading,
    measure_run,
    silence_reading,
)
from stillsafe.core.policy import EvidencePolicy, Policy
from stillsafe.core.signals import (
    METRIC_SIGNALS,
    OUTPUT_SIGNALS,
    Evidence,
    Reading,
    Signal,
    insufficient,
    reading_key,
)
from stillsafe.core.window import Window


def read_signals(
    policy: Policy, baseline: Baseline, window: Window, seconds_since_last: float | None = None
) -> tuple[Reading, ...]:
    """Every reading of one run, in a fixed order; `INSUFFICIENT` where there is too little data.

    Based on `window.fresh`. A window with too few rows, or with too few fresh ones, gives no evidence; nor does a
    silence soon after the last conclusive run, which has judged it already.

    Args:
        policy: the rules' numbers.
        baseline: the healthy period of the window's model version.
        window: the window.
        seconds_since_last: time since the end of the last conclusive run's window, or None without one.
    """
    run = measure_run(policy, baseline, window)
    baseline, tally, shift, z = run.baseline, run.tally, run.shift, run.z
    readings = {m.key: measure_reading(policy, m, baseline, z) for m in run.measures}
    if shift is not None:
        readings |= diagnosis_readings(policy, baseline, tally, shift, readings, z)
    silence = silence_reading(policy, baseline, window, seconds_since_last)
    signals = _expected_signals(policy.evidence, baseline)
    return (*(readings.get(reading_key(s, f)) or insufficient(s, f, tally.judged_count) for s, f in signals), silence)


def run_evidence(policy: Policy, window: Window, readings: tuple[Reading, ...]) -> Evidence:
    """Evidence of a whole run: BAD if any reading is; else OK only where there were enough rows to judge."""
    readings = () if window.clock_jump else readings
    if any(reading.evidence is Evidence.BAD for reading in readings):
        return Evidence.BAD
    is_enough = bool(readings) and math.isfinite(window.fresh.confidence_sum) and has_enough_rows(policy, window)
    return Evidence.OK if is_enough else Evidence.INSUFFICIENT


def leaves_predictions(policy: Policy, window: Window) -> bool:
    """Whether a window has new predictions that are too few to judge the model by: a later run judges them."""
    return window.fresh.prediction_count > 0 and not has_enough_rows(policy, window)


def _expected_signals(evidence: EvidencePolicy, baseline: Baseline) -> list[tuple[Signal, str | None]]:
    pairs: list[tuple[Signal, str | None]] = []
    if baseline.confidence_count:
        pairs += [(Signal.AVG_CONFIDENCE, None), (Signal.LOW_CONFIDENCE_RATE, None)]
    pairs += [(signal, None) for signal in (Signal.REPEATED_ROW_RATE, Signal.REFUSAL_RATE, Signal.MODEL_ERROR_RATE)]
    for name, feature in sorted(baseline.features.items()):
        pairs.append((Signal.MISSING_RATE, name))
        if name in baseline.clock:
            pairs.append((Signal.CLOCK_CONTRADICTION_RATE, name))
            continue
        if feature.is_categorical:
            pairs.append((Signal.UNSEEN_CATEGORY_RATE, name))
        elif feature.minimum is not None:
            pairs.append((Signal.OUT_OF_RANGE_RATE, name))
        if is_continuous(evidence, feature):
            pairs.append((Signal.REPEATED_VALUE_RATE, name))
        if feature.bin_counts:
            pairs.append((Signal.DISTRIBUTION_CHANGE, name))
        if baseline.joint is not None and name in baseline.joint.features:
            pairs.append((Signal.BROKEN_RELATION_RATE, name))
    pairs += [(signal, None) for output, signal in OUTPUT_SIGNALS.items() if output in baseline.outputs]
    if baseline.harm is not None:
        signals = (METRIC_SIGNALS[each.metric] for each in (baseline.harm, *baseline.harm.also))
        pairs += [(signal, None) for signal in dict.fromkeys(signals)]
    return pairs
