"""Models loaded from a skops file and settings, for the tests of `model/`."""

from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

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
