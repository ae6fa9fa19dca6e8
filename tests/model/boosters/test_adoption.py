"""Boosters inside pipelines, searches and ensembles are replaced, and the whole answers as before, bit for bit."""

import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils.validation import check_is_fitted

from stillsafe.model.boosters.adapter import BoosterModel
from stillsafe.model.boosters.adoption import adopt
from tests.model.boosters.tables import binary, cat, extreme, homes, light, numbers

TABLE = homes()


def one_hot(last: Any) -> Any:
    """A pipeline that encodes the city, sparse as OneHotEncoder does by default."""
    encoder = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["city"]), remainder="passthrough", sparse_threshold=1.0
    )
    return make_pipeline(encoder, last)


@pytest.mark.parametrize(
    "estimator",
    [
        one_hot(light()),
        one_hot(extreme()),
        one_hot(cat()),
        CalibratedClassifierCV(light(), cv=2),
        CalibratedClassifierCV(extreme(), cv=2, method="isotonic"),
        VotingClassifier([("l", light()), ("x", extreme())], voting="soft"),
        StackingClassifier([("l", light()), ("x", extreme())], LogisticRegression(), cv=2),
        BaggingClassifier(light(), n_estimators=2, random_state=0),
        GridSearchCV(extreme(), {"max_depth": [2, 3]}, cv=2),
    ],
    ids=lambda each: type(getattr(each, "steps", [[0, each]])[-1][1]).__name__ + "-" + type(each).__name__,
)
def test_the_whole_answers_as_before(estimator: Any) -> None:
    """Adapters take the places of the boosters, fitted or not, and no answer changes."""
    table = TABLE if hasattr(estimator, "steps") else numbers(TABLE)
    estimator.fit(table, binary(TABLE))
    probabilities, predictions = estimator.predict_proba(table), estimator.predict(table)
    replacement = adopt(pickle.loads(pickle.dumps(estimator)))  # noqa: S301 - its own bytes
    assert np.array_equal(replacement.predict_proba(table), probabilities)
    assert replacement.predict(table).tolist() == np.asarray(predictions).ravel().tolist()
    text = str(sorted(_types(getattr(replacement, "best_estimator_", replacement))))
    assert "stillsafe" in text
    assert not any(name in text for name in ("lightgbm.sklearn", "xgboost.sklearn", "catboost.core"))


def _types(part: Any, depth: int = 8) -> set[str]:
    """The types inside an estimator, boosters of adapters left out."""
    if depth == 0 or isinstance(part, BoosterModel | str | np.ndarray):
        return {f"{type(part).__module__}.{type(part).__name__}"}
    members = part if isinstance(part, list | tuple) else part.values() if isinstance(part, dict) else ()
    members = vars(part).values() if hasattr(part, "__dict__") else members
    inner = [_types(each, depth - 1) for each in members]
    return {f"{type(part).__module__}.{type(part).__name__}"}.union(*inner)


def test_subclasses_and_others_stay() -> None:
    """A class of the owner may answer otherwise than its base, so it is left alone, as is everything else."""

    class Own(type(light())):  # type: ignore[misc] # a class known at run time only
        """A classifier with answers of its own."""

    Own.__module__ = "owner"
    own = Own()
    plain = make_pipeline(LogisticRegression())
    assert adopt(own) is own
    assert adopt(plain) is plain


def test_an_unfitted_booster_is_not_fitted() -> None:
    """The place of an unfitted booster says so to scikit-learn."""
    from sklearn.exceptions import NotFittedError

    for estimator in (light(), extreme(), cat()):
        with pytest.raises(NotFittedError):
            check_is_fitted(adopt(estimator))


def test_a_booster_in_two_places_gets_one_adapter() -> None:
    """An ensemble names its members twice; they stay the same object."""
    voting = VotingClassifier([("l", light()), ("x", extreme())], voting="soft").fit(numbers(TABLE), binary(TABLE))
    replacement = adopt(voting)
    assert replacement.named_estimators_["l"] is replacement.estimators_[0]
