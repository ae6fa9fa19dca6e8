"""A backtest in sentences, for the terminal, the report and `check`. Pure."""

from collections.abc import Iterator

from stillsafe.backtest.result import Backtest, InjectedStretch, fallback_worse
from stillsafe.core.evidence.impact import Metric
from stillsafe.core.state import State


def score_words(metric: Metric, score: float | None) -> str:
    """A score in words."""
    if score is None:
        return "unknown"
    return f"{score:.1%}" if metric is Metric.ACCURACY else f"{score:.4g}"


def difference_words(metric: Metric, difference: float) -> str:
    """A difference of two scores in words, with its sign."""
    return f"{100 * difference:+.1f} points" if metric is Metric.ACCURACY else f"{difference:+.4g}"


def headline(found: Backtest) -> str:
    """The backtest in one sentence."""
    if not found.conclusive_rate:
        return "Nothing can be said: no run had requests enough."
    if found.degraded_count:
        times = "once" if found.degraded_count == 1 else f"{found.degraded_count} times"
        return (
            f"The model would have been bypassed {times}, for {found.degraded_rate:.0%} of the time; "
            f"{found.alarm_rate:.0%} of the conclusive runs alarm."
        )
    if found.incidents:
        return f"There would have been warnings in {found.alarm_rate:.0%} of the conclusive runs, and no bypass."
    return "All calm: no alarm on this history."


def price_sentences(found: Backtest) -> Iterator[str]:
    """What the fallback would have cost or saved, in words."""
    price, metric = found.price, found.metric
    if price is None or metric is None:
        yield "Without labels nobody can say what the fallback would have cost or saved."
        return
    told = metric.value.replace("_", " ")
    if price.model_score is None or price.fallback_score is None or price.difference is None:
        yield (
            f"The fallback would have answered nothing, so it cost nothing. The model's {told} over the history: "
            f"{score_words(metric, price.total_model_score)}."
        )
        return
    model, fallback = score_words(metric, price.model_score), score_words(metric, price.fallback_score)
    worse = fallback_worse(metric, price.model_score, price.fallback_score)
    verdict = "cost more than it saved" if worse else "earned its keep"
    yield (
        f"The fallback {'cost and saved nothing to speak of' if model == fallback else verdict}: over the "
        f"{price.run_count} runs that it would have answered its {told} is {fallback}, the model's {model} "
        f"({difference_words(metric, price.difference)})."
    )
    if price.healthy_score is not None and price.lost is not None:
        lost = difference_words(metric, price.lost).lstrip("+-")
        moved = f"lost {lost}" if price.lost > 0 else f"lost nothing (it gained {lost})"
        yield (
            f"The model itself {moved} there against its calm runs ({score_words(metric, price.healthy_score)}). Over "
            f"the whole history: {score_words(metric, price.total_model_score)} by the model alone, "
            f"{score_words(metric, price.total_served_score)} as served."
        )


def injection_sentence(injection: InjectedStretch) -> str:
    """How soon the broken stretch was told, in words."""
    broken = f"Broken on purpose from run {injection.first_run} on: {', '.join(injection.faults)}."
    degraded = f"DEGRADED {_after(injection.runs_to_degraded)}"
    match injection.state_before:
        case State.NORMAL:
            return f"{broken} WARNING {_after(injection.runs_to_warning)}, {degraded}."
        case State.WARNING:
            return f"{broken} The state was WARNING already; {degraded}."
        case State.DEGRADED:
            return f"{broken} The state was DEGRADED already, so how soon it would have been told cannot be said."


def _after(runs: int | None) -> str:
    return "never" if runs is None else f"after {runs} {'run' if runs == 1 else 'runs'}"
