"""Realised performance, compared with scikit-learn on the rows themselves."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, classification_report, mean_absolute_error

from stillsafe.core.evidence.metric import Metric, MetricDefinition
from stillsafe.model.label_performance import positive_class, realised_performance
from stillsafe.store.read.labels import OutcomeGroup


def _group(prediction: str | None, label: str | None, count: int, *, by_fallback: bool = False) -> OutcomeGroup:
    return OutcomeGroup(prediction, label, by_fallback, count, None if label is None else 60.0)


GROUPS = [
    _group("yes", "yes", 40),
    _group("yes", "no", 10),
    _group("no", "no", 25),
    _group("no", "yes", 5, by_fallback=True),
    _group(None, "yes", 3, by_fallback=True),
    _group("yes", None, 50),
    _group("no", None, 17),
]
ANSWERS = ["yes"] * 50 + ["no"] * 30
LABELS = ["yes"] * 40 + ["no"] * 35 + ["yes"] * 5


def test_a_classifiers_figures_are_scikit_learns() -> None:
    """On the answers that have labels."""
    record = realised_performance(GROUPS, ("no", "yes"))
    figures = record.overall
    assert figures is not None
    assert figures.metrics["accuracy"].value == pytest.approx(accuracy_score(LABELS, ANSWERS))
    assert figures.metrics["balanced_accuracy"].value == pytest.approx(balanced_accuracy_score(LABELS, ANSWERS))
    report = classification_report(LABELS, ANSWERS, output_dict=True)
    for name in ("yes", "no"):
        each = figures.classes[name]
        assert (each.precision, each.recall, each.f1) == pytest.approx(
            [report[name][key] for key in ("precision", "recall", "f1-score")]
        )
    assert figures.classes["yes"].label_count == 45


def test_model_and_fallback_are_told_apart_and_coverage_is_per_answer() -> None:
    """Requests without an answer count in neither."""
    record = realised_performance(GROUPS, ("no", "yes"))
    assert (record.prediction_count, record.label_count, record.abstention_count) == (150, 83, 3)
    assert record.coverage == pytest.approx(83 / 150)
    assert record.coverage_of_answers == pytest.approx({"yes": 50 / 100, "no": 30 / 47})
    assert record.delay_seconds == 60.0
    assert record.model is not None
    assert record.fallback is not None
    assert (record.model.label_count, record.fallback.label_count) == (75, 5)
    assert record.fallback.metrics["accuracy"].value == 0.0


def test_an_accuracy_interval_is_wilsons() -> None:
    """Compared with the published example: 81 of 263 is 0.308, from 0.255 to 0.366."""
    groups = [_group("a", "a", 81), _group("a", "b", 182)]
    overall = realised_performance(groups, ("a", "b")).overall
    assert overall is not None
    accuracy = overall.metrics["accuracy"]
    assert (accuracy.value, accuracy.low, accuracy.high) == pytest.approx((0.308, 0.2553, 0.3662), abs=5e-4)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """Of 400 samples from a known model."""
    random = np.random.default_rng(1)
    hits = 0
    for correct in random.binomial(200, 0.9, 400).tolist():
        overall = realised_performance([_group("a", "a", correct), _group("a", "b", 200 - correct)], ("a", "b")).overall
        assert overall is not None
        accuracy = overall.metrics["accuracy"]
        hits += (accuracy.low or 0) <= 0.9 <= (accuracy.high or 1)
    assert 0.92 <= hits / 400 <= 0.98


def test_the_owners_cost_is_the_mean_cost_of_an_answer() -> None:
    """With what an answer of the fallback costs in addition."""
    costs = MetricDefinition(Metric.EXPECTED_COST, costs=(("yes", "no", 50.0), ("no", "yes", 1.0)), fallback_cost=2.0)
    overall = realised_performance(GROUPS, ("no", "yes"), [costs]).overall
    assert overall is not None
    assert overall.metrics["expected_cost"].value == pytest.approx((10 * 1.0 + 5 * 52.0) / 80)


def test_a_regressors_figures_are_scikit_learns() -> None:
    """Error, bias and its share of the label, except where the label is 0."""
    groups = [_group("2.0", "1.0", 3), _group("5.0", "7.5", 1), _group("1.0", "0.0", 1), _group("9.0", None, 4)]
    overall = realised_performance(groups, ()).overall
    labels, answers = [1, 1, 1, 7.5, 0], [2, 2, 2, 5, 1]
    assert overall is not None
    metrics = {name: estimate.value for name, estimate in overall.metrics.items()}
    assert metrics == pytest.approx(
        {
            "mean_absolute_error": mean_absolute_error(labels, answers),
            "root_mean_squared_error": np.sqrt(np.mean(np.subtract(labels, answers) ** 2)),
            "bias": np.mean(np.subtract(answers, labels)),
            "mape": (3 + 2.5 / 7.5) / 4,
        }
    )
    assert overall.classes == {}


@pytest.mark.parametrize("groups", [[], [_group("yes", None, 7)], [_group(None, "yes", 1, by_fallback=True)]])
def test_without_a_labelled_answer_there_are_no_figures(groups: list[OutcomeGroup]) -> None:
    """And none of them is zero."""
    record = realised_performance(groups, ("no", "yes"))
    assert (record.overall, record.model, record.fallback) == (None, None, None)


def test_one_label_has_no_interval_of_a_mean() -> None:
    """A variance needs two."""
    overall = realised_performance([_group("1.0", "2.0", 1)], ()).overall
    assert overall is not None
    assert overall.metrics["bias"].low is None


def test_intervals_of_a_class_are_those_of_its_shares() -> None:
    """Precision and recall by Wilson; F1 by the share of hits among all that is the class; each holds its figure."""
    overall = realised_performance(GROUPS, ("no", "yes")).overall
    assert overall is not None
    for each in overall.classes.values():
        for name, (low, high) in each.intervals.items():
            assert 0 <= low < getattr(each, name) < high <= 1
    estimate = overall.metrics["balanced_accuracy"]
    recalls, sizes = [25 / 35, 40 / 45], [35, 45]
    reach = 1.959964 * np.sqrt(sum(r * (1 - r) / n for r, n in zip(recalls, sizes, strict=True))) / 2
    assert estimate.high == pytest.approx(estimate.value + reach)


def test_the_rarer_label_is_positive() -> None:
    """Of two that are equally rare the second; labels that are no class do not count."""
    assert positive_class([_group("yes", "yes", 2), _group("yes", "no", 3)], ("no", "yes")) == "yes"
    assert positive_class([_group("yes", "yes", 3), _group("yes", "no", 2)], ("no", "yes")) == "no"
    assert positive_class([_group("yes", "other", 3), _group("yes", None, 2)], (0, 1)) == "1"


def test_a_regressors_errors_have_intervals() -> None:
    """Of the root too: the roots of the ends of the mean square."""
    overall = realised_performance([_group("2.0", "1.0", 3), _group("5.0", "7.5", 2)], ()).overall
    assert overall is not None
    for estimate in overall.metrics.values():
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low <= estimate.value <= estimate.high
