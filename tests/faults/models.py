"""A model that fails on command: a feature value selects the failure."""

import time
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

RAISES, PREDICTS_NAN, BLOCKS = 101.0, 102.0, 103.0
BLOCKED_SECONDS = 3.0


class Fickle(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Predicts that a small `mean radius` is benign, and fails at three special values."""

    def fit(self, inputs: Any, answers: Any) -> "Fickle":
        """Store the classes and the columns."""
        self.classes_ = np.unique(answers)
        self.feature_names_in_ = np.array(list(inputs.columns), dtype=object)
        self.n_features_in_ = inputs.shape[1]
        return self

    def predict_proba(self, inputs: Any) -> Any:
        """A step at a radius of 15, or a failure; shape (rows, 2)."""
        radius = np.asarray(inputs["mean radius"], dtype=float)
        if (radius == RAISES).any():
            raise RuntimeError("failure on command")
        if (radius == BLOCKS).any():
            time.sleep(BLOCKED_SECONDS)
        benign = np.where(radius < 15, 0.9, 0.2)
        benign[radius == PREDICTS_NAN] = np.nan
        return np.column_stack([1 - benign, benign])

    def predict(self, inputs: Any) -> Any:
        """The class with the higher probability."""
        return self.classes_[np.argmax(self.predict_proba(inputs), axis=1)]
