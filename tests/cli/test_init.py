"""`init` creates a service and prints what it found."""

from pathlib import Path

from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from skops import io

from stillsafe.cli.init import fallback_answers, impact_sentence
from stillsafe.core.evidence.impact import FeatureImpact, PerformanceImpact
from stillsafe.core.evidence.metric import Metric

from .commands import Command, document


def impact(metric: Metric, **losses: float) -> PerformanceImpact:
    features = {name: FeatureImpact(loss, ()) for name, loss in losses.items()}
    return PerformanceImpact(metric, labelled=True, healthy_error=2.0, all_permuted=1.0, features=features)


def test_the_most_important_features_come_first() -> None:
    """The sentence lists the largest losses, in the unit of the model's metric, and leaves out the smallest."""
    sentence = impact_sentence(impact(Metric.ACCURACY, age=0.031, noise=0.001, income=0.233))
    assert sentence.endswith(": income 23.3 points of accuracy, age 3.1 points of accuracy.")
    assert impact_sentence(impact(Metric.MEAN_ABSOLUTE_ERROR, rent=1.0)).endswith(": rent 50% more error.")


def test_a_model_without_important_features_is_described() -> None:
    """Where no single feature costs much, the sentence says that."""
    assert impact_sentence(impact(Metric.ACCURACY, noise=0.0)).startswith("No single feature costs")


def test_the_proposed_fallback_is_described() -> None:
    """The number of rules and the default answer are in the text."""
    assert fallback_answers(0, "'no'") == "it always answers 'no'"
    assert fallback_answers(1, "'no'") == "1 rule, evaluated on held-out rows, otherwise 'no'"
    assert fallback_answers(2, "7").startswith("2 rules")


def test_init_prints_the_schema_the_scores_and_the_next_commands(run: Command, tmp_path: Path) -> None:
    """The text and the JSON describe the service folder that was written."""
    tumours = load_breast_cancer(as_frame=True)
    features = tumours.data[["mean radius", "worst area"]]
    io.dump(LogisticRegression(max_iter=1000).fit(features[::2], tumours.target[::2]), tmp_path / "model.skops")
    features[1::2].assign(benign=tumours.target[1::2]).to_csv(tmp_path / "sample.csv", index=False)
    files = ["--model", str(tmp_path / "model.skops"), "--sample", str(tmp_path / "sample.csv"), "--label", "benign"]
    code, out, errors = run("init", *files, "--out", str(tmp_path / "a"))
    assert code == 0, errors
    for text in ("a classifier", "worst area", "Accuracy on the sample: model 0.", f"--config {tmp_path / 'a'}"):
        assert text in out
    service = document(run("init", *files, "--out", str(tmp_path / "b"), "--json")[1])
    assert (service["folder"], service["kind"]) == (str(tmp_path / "b"), "classifier")
    assert [feature["name"] for feature in service["features"]] == ["mean radius", "worst area"]
    assert 0.5 < service["model_score"] <= 1
