"""Sentences with numbers, the same for the terminal, the report and `check`."""

from dataclasses import replace
from pathlib import Path

import pytest

from stillsafe.backtest.result import Backtest, InjectedStretch
from stillsafe.backtest.text import difference_words, headline, injection_sentence, price_sentences, score_words
from stillsafe.core.evidence.impact import Metric
from stillsafe.core.state import State
from tests.backtest.pasts import broken, judges, past, played


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Backtest:
    """A history that would have been bypassed."""
    folder: Path = tmp_path_factory.mktemp("sentences")
    return played(broken(past(3_000), 1_000, 3_000), judges(folder), rows_per_run=250)


def test_the_headline_says_the_worst(found: Backtest) -> None:
    """Nothing known is said before anything else, a bypass before a warning, and calm only where all is."""
    assert headline(found).startswith("The model would have been bypassed once, for ")
    assert "3 times" in headline(replace(found, degraded_count=3))
    assert headline(replace(found, degraded_count=0)).endswith("no bypass.")
    assert headline(replace(found, degraded_count=0, incidents=())).startswith("All calm")
    assert headline(replace(found, conclusive_rate=0.0)).startswith("Nothing can be said")


def test_scores_have_their_unit() -> None:
    """Accuracy in per cent and points, an error in the unit of the answers."""
    assert score_words(Metric.ACCURACY, 0.8123) == "81.2%"
    assert score_words(Metric.MEAN_ABSOLUTE_ERROR, 12.3456) == "12.35"
    assert score_words(Metric.ACCURACY, None) == "unknown"
    assert difference_words(Metric.ACCURACY, -0.034) == "-3.4 points"
    assert difference_words(Metric.MEAN_ABSOLUTE_ERROR, 1.5) == "+1.5"


@pytest.mark.parametrize(
    ("metric", "model", "fallback", "told"),
    [
        (Metric.ACCURACY, 0.9, 0.6, "cost more than it saved"),
        (Metric.ACCURACY, 0.6, 0.9, "earned its keep"),
        (Metric.ACCURACY, 0.6, 0.60001, "cost and saved nothing to speak of"),
        (Metric.MEAN_ABSOLUTE_ERROR, 2.0, 3.0, "cost more than it saved"),
        (Metric.MEAN_ABSOLUTE_ERROR, 3.0, 2.0, "earned its keep"),
    ],
)
def test_the_price_is_judged(found: Backtest, metric: Metric, model: float, fallback: float, told: str) -> None:
    """By the metric's own direction, with both numbers and their difference."""
    assert found.price is not None
    price = replace(found.price, model_score=model, fallback_score=fallback, difference=fallback - model)
    said = next(price_sentences(replace(found, metric=metric, price=price)))
    assert told in said
    assert all(words in said for words in (score_words(metric, model), score_words(metric, fallback)))


@pytest.mark.parametrize(
    ("before", "told"),
    [
        (State.NORMAL, "WARNING after 2 runs, DEGRADED never."),
        (State.WARNING, "The state was WARNING already; DEGRADED never."),
        (State.DEGRADED, "cannot be said"),
    ],
)
def test_the_broken_stretch_is_timed(before: State, told: str) -> None:
    """How soon it was told, unless the state had been there before."""
    said = injection_sentence(InjectedStretch(("nulls:size",), 0.5, 7, before, 2, None))
    assert said.startswith("Broken on purpose from run 7 on: nulls:size.")
    assert told in said
