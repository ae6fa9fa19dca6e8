"""Who answers, the model or the fallback, and why, in words."""

from stillsafe.core.evidence.advantage import advantage_margin, best_price, is_priced, run_advantage
from stillsafe.core.evidence.label_streak import DEGRADED, LabelStreak, runs_to_leave
from stillsafe.core.evidence.sentences import number_text, summary
from stillsafe.core.policy import Policy
from stillsafe.core.signals import SIGNALS, Evidence, Level, Reading, Signal
from stillsafe.core.state import Memory, Severity, State, recovery_runs_needed, severity_of


def fallback_outlook(policy: Policy, memory: Memory, readings: tuple[Reading, ...]) -> str:
    """Who answers during a CRITICAL incident and what that is expected to win; empty where nothing is priced.

    Args:
        policy: the rules' numbers and the prices.
        memory: after the run.
        readings: of the run.
    """
    severe_keys = [key for key, each in memory.streaks.items() if severity_of(policy, each) is Severity.CRITICAL]
    if not severe_keys or not all(is_priced(policy, key) for key in severe_keys):
        return ""
    _, advantage = run_advantage(policy, readings, memory.damaged_features)
    if memory.state is State.DEGRADED:
        gain = "" if advantage is None else f", expected to win {_amount(severe_keys[0], advantage)} back"
        return f" The fallback answers{gain}."
    estimate = next((reading for reading in readings if reading.key in severe_keys), None)
    price = best_price(policy.fallback_prices, memory.damaged_features)
    if estimate is None or estimate.corruption is None or price is None or policy.model_score is None:
        return " The model goes on answering, as nothing at hand is expected to do better."
    lead = _amount(estimate.key, policy.model_score - price.score)
    damage = _amount(estimate.key, estimate.corruption)
    balance = f"damage costs it {damage}, and in health it leads the best usable fallback by {lead}."
    if advantage is None or advantage <= 0:
        return f" The model goes on answering, as nothing at hand is expected to do better: {balance}"
    margin = advantage_margin(policy, readings, estimate, memory.damaged_features)
    if advantage <= margin:
        error = _amount(estimate.key, margin)
        return f" The model goes on answering, as what a bypass may win is within its error of {error}: {balance}"
    runs = policy.critical_runs
    return f" The model goes on answering until {runs} runs in a row expect a bypass to win beyond its error: {balance}"


def fallback_end(
    policy: Policy, previous: Memory, readings: tuple[Reading, ...], healthy_error: float | None = None
) -> str:
    """Why DEGRADED ended in WARNING, and what still deviates.

    Args:
        policy: the rules' numbers.
        previous: the memory before the run.
        readings: of the run.
        healthy_error: of the model, see `sentences.sentence`.
    """
    if previous.labels is not None and previous.labels.level == DEGRADED:
        return _label_end(policy, previous.labels, readings)
    runs = recovery_runs_needed(policy, previous)
    is_severe = any(reading.level is Level.SEVERE for reading in readings)
    cause = "in which the fallback was not expected to do better" if is_severe else "without a severe reading"
    deviating = tuple(reading for reading in readings if reading.evidence is Evidence.BAD)
    rest = f" What still deviates: {summary(deviating, healthy_error)}" if deviating else ""
    return f"The model answers again after {runs} consecutive runs {cause}.{rest}"


def _label_end(policy: Policy, labels: LabelStreak, readings: tuple[Reading, ...]) -> str:
    """Why a DEGRADED by labels ended in WARNING."""
    if labels.is_released:
        return "The model answers again: an operator released what labels had made DEGRADED."
    text = summary(tuple(reading for reading in readings if reading.evidence is Evidence.BAD))
    rest = f" What still deviates: {text}" if text else ""
    return (
        f"The model answers again after {runs_to_leave(policy, labels)} consecutive labelled runs in which it was not "
        f"severely worse, or the fallback no better.{rest}"
    )


def _amount(key: str, amount: float) -> str:
    """An amount in the unit of an estimated loss."""
    return number_text(SIGNALS[Signal(key)].unit, amount)
