"""The sentences are the same for the terminal, the report and `check`."""

from dataclasses import replace
from pathlib import Path

import pytest

from stillsafe.backtest.result import Backtest, InjectionOutcome
from stillsafe.backtest.text import difference_words, fallback_sentences, headline, injection_sentence, score_words
from stillsafe.core.evidence.metric import Metric
from stillsafe.core.state import State
from tests.backtest.histories import backtest_context, past, run_backtest, without_sizes


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Backtest:
    """A history on which the model would have been bypassed."""
    folder: Path = tmp_path_factory.mktemp("sentences")
    return run_backtest(without_sizes(past(3_000), 1_000, 3_000), backtest_context(folder), rows_per_run=250)


def test_the_headline_reports_the_worst(result: Backtest) -> None:
    """No conclusion comes before a bypass, a bypass before a warning, and a warning before no alarm."""
    assert headline(result).startswith("The model would have been bypassed once, for ")
    assert "3 times" in headline(replace(result, degraded_count=3))
    assert headline(replace(result, degraded_count=0)).endswith("no bypass.")
    assert headline(replace(result, degraded_count=0, incidents=())).startswith("No alarm")
    assert headline(replace(result, conclusive_rate=0.0)).startswith("No conclusion")


def test_scores_have_their_unit() -> None:
    """Accuracy is in per cent and points, an error in the unit of the predictions."""
    assert score_words(Metric.ACCURACY, 0.8123) == "81.2%"
    assert score_words(Metric.MEAN_ABSOLUTE_ERROR, 12.3456) == "12.35"
    assert score_words(Metric.ACCURACY, None) == "unknown"
    assert difference_words(Metric.ACCURACY, -0.034) == "-3.4 points"
    assert difference_words(Metric.MEAN_ABSOLUTE_ERROR, 1.5) == "+1.5"


@pytest.mark.parametrize(
    ("metric", "model", "fallback", "effect"),
    [
        (Metric.ACCURACY, 0.9, 0.6, "would make it worse"),
        (Metric.ACCURACY, 0.6, 0.9, "would improve on the model"),
        (Metric.ACCURACY, 0.6, 0.60001, "would make no difference"),
        (Metric.MEAN_ABSOLUTE_ERROR, 2.0, 3.0, "would make it worse"),
        (Metric.MEAN_ABSOLUTE_ERROR, 3.0, 2.0, "would improve on the model"),
    ],
)
def test_the_fallback_is_compared_in_the_direction_of_the_metric(
    result: Backtest, metric: Metric, model: float, fallback: float, effect: str
) -> None:
    """The sentence has both scores."""
    assert result.price is not None
    price = replace(result.price, model_score=model, fallback_score=fallback, difference=fallback - model)
    sentence = next(fallback_sentences(replace(result, metric=metric, price=price)))
    assert effect in sentence
    assert all(words in sentence for words in (score_words(metric, model), score_words(metric, fallback)))


@pytest.mark.parametrize(
    ("state_before", "detection"),
    [
        (State.NORMAL, "WARNING after 2 runs, DEGRADED never."),
        (State.WARNING, "The state was already WARNING; DEGRADED never."),
        (State.DEGRADED, "the time to detection is unknown"),
    ],
)
def test_the_time_to_detection_is_reported(state_before: State, detection: str) -> None:
    """A state that was reached before the faults has no time to detection."""
    sentence = injection_sentence(InjectionOutcome(("nulls:size",), 0.5, 7, state_before, 2, None))
    assert sentence.startswith("Faults injected from run 7 on: nulls:size.")
    assert detection in sentence
