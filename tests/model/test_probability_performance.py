"""Metrics of probabilities, compared with scikit-learn on the rows themselves."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from stillsafe.model.probability_performance import mean_estimate, probability_metrics
from stillsafe.store.read.labels import OutcomeGroup


def _groups(probabilities: list[float], truths: list[int], counts: list[int]) -> list[OutcomeGroup]:
    """Labelled answers as the log has them: the answer, and its own probability."""
    return [
        OutcomeGroup("yes" if p >= 0.5 else "no", "yes" if y else "no", False, n, 1.0, max(p, 1 - p))
        for p, y, n in zip(probabilities, truths, counts, strict=True)
    ]


@pytest.fixture
def sample() -> tuple[list[float], list[int], list[int]]:
    """Calibrated probabilities, some of them equal, and labels."""
    random = np.random.default_rng(3)
    probabilities = random.beta(1, 2, 300).round(2)
    truths = (random.random(300) < probabilities).astype(int)
    return probabilities.tolist(), truths.tolist(), random.integers(1, 4, 300).tolist()


def test_the_metrics_of_two_classes_are_scikit_learns(sample: tuple[list[float], list[int], list[int]]) -> None:
    """Whichever class is positive; each within its interval."""
    p, y = (np.repeat(column, sample[2]) for column in sample[:2])
    inner = np.clip(p, 1e-6, 1 - 1e-6)
    metrics, _ = probability_metrics(_groups(*sample), "yes")
    assert {name: estimate.value for name, estimate in metrics.items()} == pytest.approx(
        {
            "log_loss": log_loss(y, inner),
            "brier_score": brier_score_loss(y, p),
            "roc_auc": roc_auc_score(y, p),
            "pr_auc": average_precision_score(y, p),
        }
    )
    others, _ = probability_metrics(_groups(*sample), "no")
    assert others["pr_auc"].value == pytest.approx(average_precision_score(1 - y, 1 - p))
    assert others["roc_auc"].value == pytest.approx(metrics["roc_auc"].value)
    for estimate in metrics.values():
        assert (estimate.low or 0) < estimate.value < (estimate.high or 0)


def test_calibration_has_every_row_once(sample: tuple[list[float], list[int], list[int]]) -> None:
    """Calibrated probabilities are near their shares, by the noise of so few rows."""
    _, bins = probability_metrics(_groups(*sample), "yes")
    assert sum(each.label_count for each in bins) == sum(sample[2])
    probabilities = [each.probability for each in bins]
    assert probabilities == sorted(probabilities)
    for each in bins:
        assert abs(each.share - each.probability) < 4 * np.sqrt(0.25 * 3 / each.label_count)


def test_with_more_classes_only_the_answers_calibration_is_known() -> None:
    """The log has no probability of the other classes."""
    groups = [OutcomeGroup("a", "a", False, 3, 1.0, 0.9), OutcomeGroup("b", "c", False, 1, 1.0, 0.95)]
    metrics, (only,) = probability_metrics(groups, None)
    assert metrics == {}
    assert (only.share, only.label_count) == (0.75, 4)


def test_the_area_has_an_interval_that_covers_the_truth_about_as_often_as_it_says() -> None:
    """Of 300 samples from two normal distributions a deviation apart, whose area is known."""
    random, hits, area = np.random.default_rng(5), 0, 0.7602499
    for _ in range(300):
        y = random.random(150) < 0.4
        p = 1 / (1 + np.exp(-random.normal(y, 1.0)))
        metrics, _ = probability_metrics(_groups(p.tolist(), y.tolist(), [1] * 150), "yes")
        hits += (metrics["roc_auc"].low or 0) <= area <= (metrics["roc_auc"].high or 0)
    assert 0.91 <= hits / 300 <= 0.98


def test_one_class_of_labels_has_no_area() -> None:
    """Log loss and Brier score are defined nevertheless; an answer without a probability leaves none."""
    metrics, _ = probability_metrics([OutcomeGroup("yes", "yes", False, 3, 1.0, 1.0)], "yes")
    assert set(metrics) == {"log_loss", "brier_score"}
    assert metrics["brier_score"].value == 0
    assert probability_metrics([OutcomeGroup("yes", "yes", True, 3, 1.0)], "yes") == ({}, ())
    assert probability_metrics([], "yes") == ({}, ())
    assert mean_estimate(np.array([2.0])).low is None
