"""The expected advantage of the fallback over the model in one run, from prices that `init` measured on held-out rows.

Damage costs the model what the damage part of the estimated loss is. The fallback that reads no damaged feature loses
nothing by it, so it is ahead as soon as that loss exceeds the model's lead in health. Rows that are hard for the model
are hard for the fallback too, so a genuine shift counts for neither. Both numbers are estimates: the fallback answers
only where the difference is larger than its own error.
"""

import math
from collections.abc import Collection, Sequence

from stillsafe.core.evidence.impact_part import ImpactKind
from stillsafe.core.evidence.noise_limit import z_limit
from stillsafe.core.policy import Bypass, FallbackPrice, Policy
from stillsafe.core.signals import DAMAGE, METRIC_SIGNALS, Evidence, Level, Reading, Signal, reading_key

PRICED_KEYS = frozenset(signal.value for signal in METRIC_SIGNALS.values())
"""Keys of the readings whose bypass can be priced: the estimated losses."""


def is_priced(policy: Policy, key: str) -> bool:
    """Whether a severe reading bypasses the model only where that pays.

    Limits that the owner wrote, model errors and every other signal bypass at once.
    """
    pays = policy.bypass is Bypass.WHEN_IT_PAYS and policy.model_score is not None and bool(policy.fallback_prices)
    is_written = policy.harm_severe is not None or f"{key}_severe" in policy.written_limits
    return pays and key in PRICED_KEYS and not is_written


def best_price(prices: Sequence[FallbackPrice], damaged_features: Collection[str]) -> FallbackPrice | None:
    """The price of the best fallback that reads no damaged feature, or None without one."""
    usable_prices = [price for price in prices if not set(price.reads) & set(damaged_features)]
    return max(usable_prices, key=lambda price: price.score, default=None)


def expected_advantage(policy: Policy, corruption: float | None, damaged_features: Collection[str]) -> float | None:
    """What the fallback is expected to win per row, in the unit of the estimated loss; None where that is not known.

    Args:
        policy: has the held-out scores of the model and of the fallback.
        corruption: the damage part of the estimated loss.
        damaged_features: rules that read any of these do not answer.
    """
    price = best_price(policy.fallback_prices, damaged_features)
    if corruption is None or policy.model_score is None or price is None:
        return None
    return corruption - (policy.model_score - price.score)


def run_advantage(
    policy: Policy, readings: Collection[Reading], damaged_features: Collection[str]
) -> tuple[bool | None, float | None]:
    """Whether the fallback was expected to do better in a run, and by how much.

    At least what matters must be lost, and the advantage be larger than its error. An advantage that is not known
    counts as one: unknown is never safe. The first part is None where no estimate was judged, the second where no
    advantage is known.

    Args:
        policy: the rules' numbers and the prices.
        readings: of the run.
        damaged_features: of the open incident so far.
    """
    estimate = next((reading for reading in readings if reading.key in PRICED_KEYS), None)
    if estimate is None or estimate.evidence is Evidence.INSUFFICIENT:
        return None, None
    damage = [reading for reading in readings if reading.signal in DAMAGE and reading.evidence is Evidence.BAD]
    names = {*damaged_features, *(reading.feature for reading in damage if reading.feature is not None)}
    corruption = estimate.corruption if _is_comparable(policy, estimate) else None
    advantage = expected_advantage(policy, corruption, names)
    margin = advantage_margin(policy, readings, estimate, names)
    return estimate.level is Level.SEVERE and (advantage is None or advantage > margin), advantage


def advantage_margin(
    policy: Policy, readings: Collection[Reading], estimate: Reading, damaged_features: Collection[str]
) -> float:
    """What an advantage must exceed: so many standard errors of itself; 0 where the price has no known error.

    The error is of the price, of the study's losses, and of the share of the rows that broken relations show damaged.
    What moved predictions cost has no error of its own, since nothing was tried: it may be off by all of it.
    """
    price = best_price(policy.fallback_prices, damaged_features)
    if price is None or price.error is None:
        return 0.0
    z, by_key = z_limit(policy.false_alarm_rate, len(readings)), {reading.key: reading for reading in readings}
    errors = [price.error, estimate.standard_error or 0.0]
    for part in estimate.parts:
        relation = by_key.get(reading_key(Signal.BROKEN_RELATION_RATE, part.feature))
        if part.kind is ImpactKind.DAMAGE and part.share and relation is not None and relation.evidence is Evidence.BAD:
            errors.append(part.loss / part.share * (relation.noise or 0.0) / z)
    movement = math.fsum(part.loss for part in estimate.parts if part.kind is ImpactKind.MOVEMENT)
    return movement + policy.evidence.advantage_deviations * math.hypot(*errors)


def _is_comparable(policy: Policy, estimate: Reading) -> bool:
    """Whether a loss is in the unit of the prices, which are scores by the owner's metric."""
    if policy.metric is None:
        return True
    signals = {metric.value: signal for metric, signal in METRIC_SIGNALS.items()}
    return signals.get(policy.metric) is estimate.signal and estimate.metric in (None, policy.metric)
