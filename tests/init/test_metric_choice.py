"""Laws of the proposed metric: it follows the balance of the classes, says why, and the owner's word goes first."""

from typing import Any

import numpy as np
import pytest

from stillsafe.core.evidence.metric import Metric
from stillsafe.core.fallback import Answer
from stillsafe.core.schema import Schema
from stillsafe.core.score import Score
from stillsafe.errors import ConfigurationError
from stillsafe.init.metric_choice import MetricChoice, choose_metric, default_warning
from stillsafe.model.confidence import ConfidenceMethod, ConfidenceScale
from stillsafe.model.model import Model, ModelKind

COUNT = 2_000
SCALE = ConfidenceScale(ConfidenceMethod.CLASS_PROBABILITY)


class RankingEstimator:
    """An estimator with probabilities."""

    def predict_proba(self, rows: Any) -> None:
        """Never called here."""


def model(classes: tuple[Answer, ...], kind: ModelKind = ModelKind.CLASSIFIER) -> Model:
    return Model("1", kind, classes, Schema(()), RankingEstimator(), SCALE)


def sample(rare: Answer, common: Answer, share: float, recall: float) -> tuple[list[Score], list[Answer | None]]:
    """Rows with a share of the rare class, of which the model finds a share."""
    labels = [rare if number < share * COUNT else common for number in range(COUNT)]
    hit_count = int(share * COUNT * recall)
    scores = [
        Score(rare if n < hit_count else common, 0.9, {str(common): 1 - share, str(rare): share}, None)
        for n in range(COUNT)
    ]
    return scores, list(labels)


@pytest.mark.parametrize(("rare", "common"), [(1, 0), (0, 1), ("fraud", "ok"), (True, False)])
def test_a_rare_class_is_ranked_and_found(rare: Answer, common: Answer) -> None:
    """The AUC of the rarer class is proposed and its recall beside it; what accuracy cannot see is said."""
    for share in (0.02, 0.05):
        choice = choose_metric(model((common, rare)), *sample(rare, common, share, 0.5), {})
        assert [each.metric for each in choice.definitions] == [Metric.AUC, Metric.RECALL]
        assert {each.positive for each in choice.definitions} == {rare}
        assert f"{share:.1%}" in choice.reason
        assert choice.section == {"metric": "auc", "also": ["recall"], "positive": rare}


def test_a_threshold_that_finds_hardly_anything_is_said() -> None:
    """Where the model finds nothing at its threshold, recall is no metric, and the owner is asked for the threshold."""
    choice = choose_metric(model((0, 1)), *sample(1, 0, 0.05, 0.0), {})
    assert [each.metric for each in choice.definitions] == [Metric.AUC]
    assert "threshold" in choice.warnings[0]


def test_balanced_classes_and_numbers_stay_as_they_are() -> None:
    """Without a rare class, accuracy; of a regressor, the mean absolute error."""
    assert choose_metric(model((0, 1)), *sample(1, 0, 0.3, 0.9), {}) == MetricChoice()
    numbers = [Score(1.0, 0.5, None, None)] * COUNT
    assert choose_metric(model((), ModelKind.REGRESSOR), numbers, [1.0] * COUNT, {}) == MetricChoice()


def test_too_few_rare_rows_are_said() -> None:
    """Ten rows measure no metric: accuracy stays, with a warning that it is blind and what to do."""
    choice = choose_metric(model((0, 1)), *sample(1, 0, 0.005, 0.5), {})
    assert not choice.definitions
    assert "larger sample" in choice.warnings[0]


def test_a_rare_class_of_several_is_said() -> None:
    """Of many classes the owner decides which one counts."""
    scores, labels = sample(1, 0, 0.05, 0.5)
    labels[-400:] = [2] * 400
    choice = choose_metric(model((0, 1, 2)), scores, labels, {})
    assert not choice.definitions
    assert "balanced_accuracy" in choice.warnings[0]


def test_without_labels_the_probabilities_show_the_balance() -> None:
    """The mean probability of a class stands for its share."""
    scores, _ = sample(1, 0, 0.05, 0.5)
    assert choose_metric(model((0, 1)), scores, None, {}).section["positive"] == 1


def test_the_owner_decides() -> None:
    """A metric that the owner names is taken as it is; classes may be written as text."""
    scores, labels = sample(1, 0, 0.3, 0.9)
    choice = choose_metric(model((0, 1)), scores, labels, {"metric": "recall", "positive": "0"})
    assert [(each.metric, each.positive) for each in choice.definitions] == [(Metric.RECALL, 0)]
    costs = {"1": {"0": 50.0}, "0": {"1": 1.0}}
    cost = choose_metric(model((0, 1)), scores, labels, {"metric": "expected_cost", "costs": costs})
    assert cost.definitions[0].costs == (("1", "0", 50.0), ("0", "1", 1.0))


@pytest.mark.parametrize(
    "section",
    [
        {"metric": "mape"},
        {"metric": "recall", "positive": "maybe"},
        {"metric": "expected_cost", "costs": {"maybe": {"0": 1.0}}},
    ],
)
def test_what_does_not_fit_the_model_is_refused(section: dict[str, Any]) -> None:
    """A metric of another kind of model, or a class that the model does not have, is an error with a remedy."""
    with pytest.raises(ConfigurationError):
        choose_metric(model((0, 1)), *sample(1, 0, 0.3, 0.9), section)


def test_a_default_that_lets_every_positive_pass_is_said() -> None:
    """The majority as the default answer is no safe answer where the rare class counts."""
    choice = choose_metric(model((0, 1)), *sample(1, 0, 0.05, 0.5), {})
    assert "safe_class" in next(default_warning(choice, 0))
    assert not list(default_warning(choice, 1))
    assert not list(default_warning(choice, 0, safe_class=1))
    assert not list(default_warning(MetricChoice(), 0))


def test_the_balance_is_that_of_the_known_labels() -> None:
    """A row without a usable label counts for no class."""
    scores, labels = sample(1, 0, 0.05, 0.5)
    unknown: list[Answer | None] = [None] * 5_000
    choice = choose_metric(model((0, 1)), [*scores, *[scores[-1]] * 5_000], [*labels, *unknown], {})
    assert "5.0%" in choice.reason
    assert np.isclose(len(choice.definitions), 2)
