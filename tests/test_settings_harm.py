"""Laws of `[harm]`: a metric is complete or refused, and each gets only what it depends on."""

from typing import Any

import pytest
from pydantic import ValidationError

from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.settings_harm import Harm


def test_nothing_written_is_the_default() -> None:
    """Without a metric there is no definition: accuracy, or the mean absolute error."""
    assert Harm().definitions == ()


def test_a_metric_gets_what_it_depends_on() -> None:
    """A change of what a metric does not depend on is no other metric."""
    section = {"metric": "auc", "also": ["recall", "log_loss"], "positive": 1, "threshold": 0.2}
    definitions = Harm(**section).definitions  # type: ignore[arg-type] # as a settings file has it
    assert definitions == (
        MetricDefinition(Metric.AUC, 1),
        MetricDefinition(Metric.RECALL, 1, 0.2),
        MetricDefinition(Metric.LOG_LOSS),
    )


def test_costs_are_read_by_label_and_prediction() -> None:
    """The matrix and the costs of the fallback belong to the expected cost alone."""
    costs = {"yes": {"no": 50.0}, "no": {"yes": 1.0}}
    harm = Harm(metric="expected_cost", costs=costs, fallback_cost=0.1, no_answer_cost=2.0)
    assert harm.definitions[0].costs == (("yes", "no", 50.0), ("no", "yes", 1.0))
    assert (harm.definitions[0].fallback_cost, harm.definitions[0].no_answer_cost) == (0.1, 2.0)


@pytest.mark.parametrize(
    "section",
    [
        {"metric": "gini"},
        {"metric": "auc", "also": ["gini"]},
        {"also": ["recall"]},
        {"metric": "expected_cost"},
        {"metric": "expected_cost", "costs": {"yes": {"no": 0.0}}},
        {"metric": "expected_cost", "costs": {"yes": {"no": -1.0}}},
        {"metric": "auc", "moderate": 0.2, "severe": 0.1},
        {"metric": "auc", "severe": 0.0},
        {"metric": "recall", "threshold": 1.0},
        {"metric": "recall", "treshold": 0.5},
    ],
)
def test_what_is_incomplete_or_contradictory_is_refused(section: dict[str, Any]) -> None:
    """An unknown metric or key, a cost without a matrix, limits in the wrong order."""
    with pytest.raises(ValidationError):
        Harm(**section)
