"""The estimated loss of a window: what corrupted features cost, and what a genuine shift of the others costs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from stillsafe.core.evidence.corruption_loss import CorruptionLoss, corruption_loss
from stillsafe.core.evidence.impact import Corruption, DistributionShift, PerformanceImpact, total_variation
from stillsafe.core.evidence.impact_part import ImpactKind, ImpactPart
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.evidence.shift_loss import ShiftLoss, shift_loss
from stillsafe.core.policy import EVIDENCE, EvidencePolicy
from stillsafe.core.signals import DIGITS


@dataclass(frozen=True, slots=True)
class ImpactEstimate:
    """The estimated loss: accuracy lost, or the share by which the mean absolute error has grown.

    Attributes:
        corruption: loss by corrupted features.
        shift: loss by a genuine shift, negative where the model performs better.
        standard_error: of both together.
        parts: what the loss consists of. The parts add up to `total` where no tried pair or group corrects their sum;
            a part named `together` has the difference.
    """

    corruption: float
    shift: float
    standard_error: float = 0.0
    parts: tuple[ImpactPart, ...] = ()

    @property
    def total(self) -> float:
        """Both. A gain by a shift does not offset corruption."""
        return self.corruption + max(self.shift, 0.0)


def estimate_impact(
    impact: PerformanceImpact,
    shift: DistributionShift,
    corruptions: Mapping[str, Corruption],
    policy: EvidencePolicy = EVIDENCE,
) -> ImpactEstimate:
    """The loss that the window's distributions cost, given the corrupted features."""
    unit = max(impact.healthy_error, 1e-12) if impact.metric is Metric.MEAN_ABSOLUTE_ERROR else 1.0
    damage = corruption_loss(impact, shift, corruptions, policy)
    genuine = shift_loss(impact, shift, corruptions, policy)
    if abs(genuine.loss) <= policy.shift_error_factor * impact.shift_error:
        genuine = ShiftLoss(0.0, 0.0, {})
    return ImpactEstimate(
        damage.total / unit,
        genuine.loss / unit,
        math.hypot(damage.standard_error, genuine.standard_error) / unit,
        tuple(_parts(damage, genuine, shift, corruptions, unit)),
    )


def _parts(
    damage: CorruptionLoss,
    genuine: ShiftLoss,
    shift: DistributionShift,
    corruptions: Mapping[str, Corruption],
    unit: float,
) -> list[ImpactPart]:
    parts = [
        ImpactPart(ImpactKind.DAMAGE, name, round(corruptions[name].share, DIGITS), round(loss / unit, DIGITS))
        for name, loss in damage.features.items()
    ]
    # Features that were tried in pairs and groups cost more or less than the sum of their single losses.
    correction = damage.study - math.fsum(damage.features.values())
    if len(parts) > 1 and abs(correction) > 10**-DIGITS:
        share = max(corruption.share for corruption in corruptions.values())
        parts.append(ImpactPart(ImpactKind.DAMAGE, None, round(share, DIGITS), round(correction / unit, DIGITS)))
    if damage.movement > 0:
        movement = total_variation(shift.outputs["prediction"], shift.healthy_outputs["prediction"])
        loss = round(damage.movement / unit, DIGITS)
        parts.append(ImpactPart(ImpactKind.MOVEMENT, None, round(movement, DIGITS), loss))
    if genuine.by_feature:
        parts += [
            ImpactPart(ImpactKind.SHIFT, name, None, round(loss / unit, DIGITS))
            for name, loss in sorted(genuine.by_feature.items(), key=lambda item: (-abs(item[1]), item[0]))
        ]
    elif genuine.loss:
        parts.append(ImpactPart(ImpactKind.SHIFT, None, None, round(genuine.loss / unit, DIGITS)))
    return parts
