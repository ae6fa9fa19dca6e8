"""The sentences of a backtest, for the terminal, the report and `check`. Pure."""

from collections.abc import Iterator

from stillsafe.backtest.result import Backtest, InjectionOutcome
from stillsafe.backtest.summary import is_fallback_worse
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.state import State

_PERCENTAGES = (Metric.ACCURACY, Metric.BALANCED_ACCURACY, Metric.RECALL, Metric.PRECISION)


def score_words(metric: Metric, score: float | None) -> str:
    """Format a score: accuracy in per cent, an error in the unit of the predictions."""
    if score is None:
        return "unknown"
    return f"{score:.1%}" if metric in _PERCENTAGES else f"{score:.4g}"


def difference_words(metric: Metric, difference: float) -> str:
    """Format a difference of two scores with its sign: accuracy in points."""
    return f"{100 * difference:+.1f} points" if metric in _PERCENTAGES else f"{difference:+.4g}"


def headline(result: Backtest) -> str:
    """Summarise the backtest in one sentence."""
    if not result.conclusive_rate:
        return "No conclusion: no run had enough requests."
    if result.degraded_count:
        times = "once" if result.degraded_count == 1 else f"{result.degraded_count} times"
        return (
            f"The model would have been bypassed {times}, for {result.degraded_rate:.0%} of the time; "
            f"{result.alarm_rate:.0%} of the conclusive runs alarm."
        )
    if result.incidents:
        return f"There would have been warnings in {result.alarm_rate:.0%} of the conclusive runs, and no bypass."
    return "No alarm on this history."


def fallback_sentences(result: Backtest) -> Iterator[str]:
    """Compare the fallback with the model, in sentences; the first one alone is a summary."""
    comparison, metric = result.price, result.metric
    if comparison is None or metric is None:
        yield "Without labels the benefit of the fallback is unknown."
        return
    metric_name = metric.phrase
    model_score, fallback_score = comparison.model_score, comparison.fallback_score
    total_model = score_words(metric, comparison.total_model_score)
    if model_score is None or fallback_score is None or comparison.difference is None:
        yield (
            "The fallback would have answered no request, so it changes no score. The model's "
            f"{metric_name} over the history: {total_model}."
        )
        return
    model, fallback = score_words(metric, model_score), score_words(metric, fallback_score)
    worse = is_fallback_worse(metric, model_score, fallback_score)
    effect = "make no difference" if model == fallback else "make it worse" if worse else "improve on the model"
    yield (
        f"The fallback would {effect}: in the {comparison.run_count} runs that it would have answered, its "
        f"{metric_name} is {fallback}, the model's {model} ({difference_words(metric, comparison.difference)})."
    )
    if comparison.healthy_score is not None and comparison.lost is not None:
        amount = difference_words(metric, comparison.lost).lstrip("+-")
        change = "worse" if comparison.lost > 0 else "better"
        yield (
            f"In these runs the model is {amount} {change} than in its healthy runs "
            f"({score_words(metric, comparison.healthy_score)}). Over the whole history: {total_model} by the model "
            f"alone, {score_words(metric, comparison.total_served_score)} as served."
        )


def injection_sentence(injection: InjectionOutcome) -> str:
    """How soon the injected faults were detected."""
    start = f"Faults injected from run {injection.first_run} on: {', '.join(injection.faults)}."
    time_to_degraded = f"DEGRADED {_after_runs(injection.runs_to_degraded)}"
    match injection.state_before:
        case State.NORMAL:
            return f"{start} WARNING {_after_runs(injection.runs_to_warning)}, {time_to_degraded}."
        case State.WARNING:
            return f"{start} The state was already WARNING; {time_to_degraded}."
        case State.DEGRADED:
            return f"{start} The state was already DEGRADED, so the time to detection is unknown."


def _after_runs(count: int | None) -> str:
    return "never" if count is None else f"after {count} {'run' if count == 1 else 'runs'}"
