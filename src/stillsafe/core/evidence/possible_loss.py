"""What an unusual value could cost at most, so that a change without worth is recorded and no alarm.

A change is an alarm where it is unusual and of a size that could cost something. Some signals are alarms by themselves:
the confidence of the predictions, missing, unseen and out-of-range values, refusals, model errors. The others are
priced by the study at `init`: damage by what such values cost when they were tried, a genuine shift by the errors on
such rows, moved predictions by what swapped answers cost. Without a study every deviation is an alarm.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from stillsafe.core.evidence.corruption_loss import feature_loss, unexplained_movement
from stillsafe.core.evidence.impact import Corruption, DistributionShift, PerformanceImpact
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.policy import EvidencePolicy, Policy
from stillsafe.core.signals import METRIC_SIGNALS, Evidence, Level, Reading, Signal

PRICED_SIGNALS = frozenset(
    {
        Signal.DISTRIBUTION_CHANGE,
        Signal.REPEATED_VALUE_RATE,
        Signal.BROKEN_RELATION_RATE,
        Signal.CONFIDENCE_CHANGE,
        Signal.PREDICTION_CHANGE,
    }
)
"""Signals that are an alarm only where what they show could cost something."""
_DAMAGE = (Signal.REPEATED_VALUE_RATE, Signal.BROKEN_RELATION_RATE)


def minor_changes(
    policy: Policy,
    impact: PerformanceImpact | None,
    shift: DistributionShift,
    genuine: frozenset[str],
    readings: Mapping[str, Reading],
) -> dict[str, Reading]:
    """The deviations whose possible loss is below what matters, each as a change without an alarm.

    Args:
        policy: the rules' numbers.
        impact: of the model; without it there are none.
        shift: of the window's distributions.
        genuine: features whose distribution shifted along with the associated features.
        readings: of the run, by key.
    """
    estimates = [readings[signal.value] for signal in METRIC_SIGNALS.values() if signal.value in readings]
    # While harm is done, each damage counts: rules that read such a feature are skipped.
    if impact is None or not estimates or any(reading.level is Level.SEVERE for reading in readings.values()):
        return {}
    estimate = estimates[0]
    prices = _Prices(impact, shift, genuine, estimate, policy.evidence)
    return {
        key: replace(reading, evidence=Evidence.OK, level=Level.NONE, is_change=True)
        for key, reading in readings.items()
        if reading.evidence is Evidence.BAD
        and reading.signal in PRICED_SIGNALS
        and not policy.is_written(reading.signal, reading.feature)
        and prices.possible_loss(reading) < (estimate.moderate_limit or 0.0)
    }


def possible_loss(
    policy: Policy,
    impact: PerformanceImpact,
    shift: DistributionShift,
    genuine: frozenset[str],
    estimate: Reading,
    reading: Reading,
) -> float:
    """The most that a reading may cost, in the unit of the estimated loss; see `minor_changes`."""
    return _Prices(impact, shift, genuine, estimate, policy.evidence).possible_loss(reading)


class _Prices:
    """What the readings of one run could cost, in the unit of the estimated loss."""

    def __init__(
        self,
        impact: PerformanceImpact,
        shift: DistributionShift,
        genuine: frozenset[str],
        estimate: Reading,
        policy: EvidencePolicy,
    ) -> None:
        self.impact, self.shift, self.genuine, self.policy = impact, shift, genuine, policy
        self.unit = max(impact.healthy_error, 1e-12) if impact.metric is Metric.MEAN_ABSOLUTE_ERROR else 1.0
        # The effects of the study and the shares of the window are means over rows, each with its sampling error.
        self.shift_error = policy.possible_loss_deviations * impact.effect_sd * math.sqrt(shift.variance_factor)
        error = policy.possible_loss_deviations * (estimate.standard_error or 0.0)
        self.damage = (estimate.corruption or 0.0) + error if estimate.corruption else 0.0

    def possible_loss(self, reading: Reading) -> float:
        """The upper side of what a reading may cost; infinite where the study has nothing about it."""
        name, share = reading.feature, (reading.value or 0.0) - (reading.reference or 0.0)
        if name is None:
            return self._output_loss("confidence" if reading.signal is Signal.CONFIDENCE_CHANGE else "prediction")
        if name not in self.impact.features or name not in self.shift.features:
            return float("inf")
        if reading.signal is Signal.DISTRIBUTION_CHANGE and name in self.genuine:
            return self._shift_loss(name)
        loss, error = feature_loss(self.impact, self.shift, name, Corruption(share, extreme=False), self.policy)
        own = (loss + self.policy.possible_loss_deviations * error) / self.unit
        return max(own, self.damage) if reading.signal in _DAMAGE else max(own, self._shift_loss(name))

    def _shift_loss(self, name: str) -> float:
        now, healthy = self.shift.clipped_features[name], self.shift.healthy[name]
        effects = [each.get(name, ()) for each in (self.impact.effects, self.impact.effects_alone)]
        losses = [float((now - healthy) @ np.array(effect)) for effect in effects if len(effect) == len(now)]
        return (max(losses, default=0.0) + self.shift_error) / self.unit

    def _output_loss(self, output: str) -> float:
        now, effect = self.shift.outputs[output], self.impact.output_effects.get(output, ())
        if len(effect) != len(now):
            return float("inf")
        by_rows = float((now - self.shift.healthy_outputs[output]) @ np.array(effect))
        movement_loss = unexplained_movement(self.impact, self.shift, self.policy)
        return max(by_rows + self.shift_error, movement_loss) / self.unit
