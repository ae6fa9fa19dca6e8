"""Models loaded from a skops file and settings, for the tests of `model/`."""

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.preprocessing import StandardScaler

from stillsafe.model.confidence import scale_from
from stillsafe.model.load import load_model
from stillsafe.model.model import Model
from stillsafe.model.reference import Reference
from stillsafe.settings import parse
from tests.serving.services import document, sample, save_model, settings_of


def model_of(folder: Path, estimator: Any, **sections: Any) -> Model:
    """The estimator, saved and loaded as the service loads it."""
    return load_model(settings_of(save_model(estimator, folder), **sections))


def write_reference(folder: Path, estimator: Any) -> None:
    """A reference file with the estimator's confidence scale."""
    reference = Reference(confidence=scale_from(estimator, sample()))
    (folder / "reference.json").write_text(reference.to_json())


def features_of(folder: Path, features: list[dict[str, Any]]) -> Any:
    """The settings' features, checked."""
    return parse(document(folder / "model.skops") | {"features": features}, folder=folder).features


class BareClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """A classifier that answers without any score."""

    def fit(self, _inputs: Any, labels: Any) -> "BareClassifier":
        """Learn the classes."""
        self.classes_ = np.unique(labels)
        return self

    def predict(self, inputs: Any) -> Any:
        """The first class."""
        return np.repeat(self.classes_[:1], len(inputs))


class PlainModel:
    """A model without a base class of scikit-learn that does not say what it is."""

    def predict(self, inputs: Any) -> Any:
        """The number of the row."""
        return np.arange(float(len(inputs)))


class NamedRegressor(BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """A regressor as older libraries have them: without tags, and its fitted attributes have names of any kind."""

    _estimator_type = "regressor"

    def fit(self, _inputs: Any, answers: Any) -> "NamedRegressor":
        """Learn the mean."""
        self.mean = float(np.mean(answers))
        return self

    def __sklearn_is_fitted__(self) -> bool:
        """Whether it is, which the name of an attribute does not show."""
        return hasattr(self, "mean")

    def predict(self, inputs: Any) -> Any:
        """The mean, and a little of the first column."""
        return self.mean + np.nan_to_num(np.asarray(inputs, dtype=object)[:, 0].astype(float)) / 100


class LateTaggedClassifier(BaseEstimator, ClassifierMixin):  # type: ignore[misc] # scikit-learn has no types
    """A classifier whose base classes stand in the order in which scikit-learn reads no tags."""


class LateTaggedRegressor(BaseEstimator, RegressorMixin):  # type: ignore[misc] # scikit-learn has no types
    """A regressor whose base classes stand in the order in which scikit-learn reads no tags."""


class OddTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc] # scikit-learn has no types
    """A transformer of another library, in which scikit-learn's names for attributes mean something else."""

    def fit(self, inputs: Any, _answers: Any = None) -> "OddTransformer":
        """Set the attributes."""
        self.feature_names_in_ = np.array(list(inputs.columns), dtype=object)
        self.n_features_in_ = len(inputs.columns)
        self.transformers_ = {name: [StandardScaler] for name in inputs.columns}
        self.steps = dict.fromkeys(inputs.columns, "encode")
        self.categories_ = {name: ["a", "b"] for name in inputs.columns}
        self.is_categorical_ = None
        self.estimators_ = {"estimator": 3}
        self.columns_ = list(inputs.select_dtypes(["number", "bool"]).columns)
        return self

    def transform(self, inputs: Any) -> Any:
        """The columns with numbers, without missing values."""
        return inputs[self.columns_].astype(float).fillna(0.0)
