"""The threshold with which a classifier decides is known, and the confidence is that of the answer."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from stillsafe.errors import ConfigurationError, ModelError
from stillsafe.model.boosters.adoption import adopt
from stillsafe.model.confidence import ConfidenceMethod, ConfidenceScale
from stillsafe.model.decision_threshold import DecisionThreshold, decision_threshold
from tests.init.services import init_service, people, predictions_of
from tests.model.boosters.tables import cat

NUMBERS = ["age", "visits"]
TABLE = people()
LABELS = TABLE["stays"]


def trained_estimator(estimator: Any) -> Any:
    """The estimator, trained on the numbers of the table."""
    return estimator.fit(TABLE[NUMBERS], LABELS)


@pytest.mark.parametrize(
    ("estimator", "threshold"),
    [
        (FixedThresholdClassifier(LogisticRegression(), threshold=0.2), DecisionThreshold(0.2, "yes", "predict_proba")),
        (
            FixedThresholdClassifier(LogisticRegression(), threshold=0.3, pos_label="no"),
            DecisionThreshold(0.3, "no", "predict_proba"),
        ),
        (
            make_pipeline(StandardScaler(), FixedThresholdClassifier(LogisticRegression(), threshold=0.2)),
            DecisionThreshold(0.2, "yes", "predict_proba"),
        ),
        (FixedThresholdClassifier(LinearSVC()), DecisionThreshold(0.0, "yes", "decision_function")),
        (FixedThresholdClassifier(LogisticRegression()), DecisionThreshold(0.5, "yes", "predict_proba")),
        (LogisticRegression(), None),
    ],
)
def test_the_threshold_is_read_from_the_estimator(estimator: Any, threshold: DecisionThreshold | None) -> None:
    """Value, class and score are those with which scikit-learn decides."""
    assert decision_threshold(trained_estimator(estimator), ("no", "yes")) == threshold
    assert decision_threshold(estimator, ("a", "b", "c")) is None


def test_a_tuned_threshold_is_the_best_one_that_it_found() -> None:
    """`TunedThresholdClassifierCV` has chosen its threshold in training."""
    labels = (LABELS == "yes").astype(int)
    estimator = TunedThresholdClassifierCV(LogisticRegression(), cv=2).fit(TABLE[NUMBERS], labels)
    threshold = decision_threshold(estimator, (0, 1))
    assert threshold == DecisionThreshold(estimator.best_threshold_, 1, "predict_proba")


def test_the_threshold_of_catboost_is_read() -> None:
    """CatBoost keeps a threshold in its model."""
    estimator = trained_estimator(cat())
    assert decision_threshold(adopt(estimator), ("no", "yes")) is None
    estimator.set_probability_threshold(0.25)
    assert decision_threshold(adopt(estimator), ("no", "yes")) == DecisionThreshold(0.25, "yes", "predict_proba")


@pytest.mark.parametrize("threshold", [0.05, 0.95])
def test_the_confidence_is_that_of_the_answer(threshold: float, tmp_path: Path) -> None:
    """Where a threshold decides against the likeliest class, the confidence is the probability of the answer."""
    estimator = trained_estimator(FixedThresholdClassifier(LogisticRegression(), threshold=threshold))
    created_service = init_service(estimator, TABLE, tmp_path, trust_joblib=True)
    rows: list[Any] = TABLE[NUMBERS].head(60).to_dict("records")
    answers = predictions_of(created_service.folder, *rows)
    assert [answer["prediction"] for answer in answers] == estimator.predict(TABLE[NUMBERS].head(60)).tolist()
    confidences = [answer["confidence"] for answer in answers]
    assert confidences == [answer["probabilities"][answer["prediction"]] for answer in answers]
    assert min(confidences) < 0.5


def test_references_of_earlier_versions_keep_their_confidence() -> None:
    """A scale without the field has the top probability, as its baseline has."""
    assert not ConfidenceScale(ConfidenceMethod.CLASS_PROBABILITY).of_answer


@pytest.mark.parametrize("weights", [None, [2, 1, 1]])
def test_votes_are_the_confidence_of_a_majority(weights: list[int] | None, tmp_path: Path) -> None:
    """An ensemble that votes by majority is served; its confidence is the share of the votes for the answer."""
    members = [("a", LogisticRegression()), ("b", DecisionTreeClassifier(max_depth=1)), ("c", LinearSVC())]
    estimator = trained_estimator(VotingClassifier(members, voting="hard", weights=weights))
    created_service = init_service(estimator, TABLE, tmp_path, trust_joblib=True)
    assert created_service.method is ConfidenceMethod.VOTE_SHARE
    head = TABLE[NUMBERS].head(60)
    rows: list[Any] = head.to_dict("records")
    answers = predictions_of(created_service.folder, *rows)
    votes = np.array([member.predict(head) for member in estimator.estimators_]).T
    classes = np.array(["no", "yes"])
    shares = [
        np.average(classes[row] == answer["prediction"], weights=weights)
        for row, answer in zip(votes, answers, strict=True)
    ]
    assert [answer["prediction"] for answer in answers] == estimator.predict(head).tolist()
    assert np.allclose([answer["confidence"] for answer in answers], shares)
    assert len(set(shares)) > 1


def test_an_anomaly_detector_is_served_with_its_flag(tmp_path: Path) -> None:
    """It answers -1 for an outlier and 1 otherwise, as scikit-learn does; the confidence is the rank of its margin."""
    estimator = IsolationForest(n_estimators=20, contamination=0.1, random_state=0).fit(TABLE[NUMBERS])
    created_service = init_service(estimator, TABLE[NUMBERS], tmp_path, trust_joblib=True)
    assert created_service.method is ConfidenceMethod.MARGIN_RANK
    head = TABLE[NUMBERS].head(60)
    rows: list[Any] = head.to_dict("records")
    answers = predictions_of(created_service.folder, *rows)
    assert [answer["prediction"] for answer in answers] == estimator.predict(head).tolist()
    margins = np.abs(estimator.decision_function(head))
    order = np.argsort(margins)
    assert (np.diff(np.array([answer["confidence"] for answer in answers])[order]) >= -1e-9).all()


def test_labels_of_a_detector_are_not_mixed_up(tmp_path: Path) -> None:
    """Labels with 1 for an outlier mean the opposite of the detector's 1, so they are refused with the remedy."""
    estimator = IsolationForest(n_estimators=5, random_state=0).fit(TABLE[NUMBERS])
    table = TABLE[NUMBERS].assign(fraud=(TABLE["age"] > 80).astype(int))
    with pytest.raises(ConfigurationError, match="Recode the label column"):
        init_service(estimator, table, tmp_path, trust_joblib=True, label="fraud")


def test_what_is_not_served_is_refused_with_a_way_out(tmp_path: Path) -> None:
    """Clusters, several outputs and detectors of their own sample each get the wrapper that helps."""
    from sklearn.cluster import KMeans
    from sklearn.multioutput import MultiOutputClassifier
    from sklearn.neighbors import LocalOutlierFactor

    inputs = TABLE[NUMBERS]
    outputs = np.column_stack([TABLE["age"] > 50, TABLE["visits"] > 5]).astype(int)
    remedies = {
        "KNeighborsClassifier": KMeans(3, n_init=1).fit(inputs),
        "one model per output": MultiOutputClassifier(LogisticRegression()).fit(inputs, outputs),
        "novelty=True": LocalOutlierFactor().fit(inputs),
    }
    for number, (remedy, estimator) in enumerate(remedies.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(ModelError, match=remedy):
            init_service(estimator, TABLE, folder, trust_joblib=True)
