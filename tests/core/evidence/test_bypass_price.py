"""The price of a bypass by labels: its size, its noise, and its words."""

import pytest

from stillsafe.core.evidence.bypass_price import bypass_price
from stillsafe.core.evidence.label_tally import AnswerTally
from stillsafe.core.evidence.metric import Metric, MetricDefinition

ACCURACY = MetricDefinition(Metric.ACCURACY)


def answers(right: int, wrong: int) -> AnswerTally:
    """Answers to rows with the label `yes`."""
    return AnswerTally(right + wrong, (("yes", "no", wrong), ("yes", "yes", right)))


def test_a_bypass_that_won_says_how_much() -> None:
    """Per request and in all, over the labelled runs together."""
    price = bypass_price(ACCURACY, [answers(60, 40), answers(140, 160)], [answers(85, 15), answers(255, 45)])
    assert price is not None
    assert (price.label_count, price.metric) == (400, "accuracy")
    assert [price.model, price.fallback, price.gain] == pytest.approx([0.5, 0.85, 0.35])
    assert price.sentence == (
        "By the labels of 400 requests that the fallback answered, its accuracy was 0.85, and the model's would have "
        "been 0.5: the bypass won 0.35 per request, 140 in all."
    )


def test_a_bypass_that_lost_or_that_chance_explains() -> None:
    """A loss is one too, and what may be chance is called so."""
    lost = bypass_price(ACCURACY, [answers(360, 40)], [answers(300, 100)])
    even = bypass_price(ACCURACY, [answers(90, 10)], [answers(88, 12)])
    assert lost is not None
    assert even is not None
    assert "the bypass lost 0.15 per request, 60 in all" in lost.sentence
    assert even.sentence.endswith("neither was clearly better.")


def test_the_cost_of_the_fallback_counts() -> None:
    """Where the metric is a cost, each of its answers may have one of its own."""
    costs = MetricDefinition(Metric.EXPECTED_COST, costs=(("yes", "no", 2.0),), fallback_cost=0.1)
    price = bypass_price(costs, [answers(50, 50)], [answers(90, 10)])
    assert price is not None
    assert [price.model, price.fallback, price.gain] == pytest.approx([1.0, 0.3, 0.7])


def test_a_regressor_has_sums() -> None:
    """Its errors add up over the runs."""
    error = MetricDefinition(Metric.MEAN_ABSOLUTE_ERROR)
    price = bypass_price(error, [AnswerTally(10, (), 40.0, 170.0)], [AnswerTally(10, (), 20.0, 45.0)])
    assert price is not None
    assert [price.model, price.fallback, price.gain] == pytest.approx([4.0, 2.0, 2.0])


def test_without_labels_there_is_no_price() -> None:
    """Nor with labels of one side alone."""
    assert bypass_price(ACCURACY, [], []) is None
    assert bypass_price(ACCURACY, [answers(1, 1)], []) is None
